"""Where the epochs of play come from: a file, a folder, or standard input."""

from __future__ import annotations

import errno
import os
import re
import select
from typing import TYPE_CHECKING

from kokofast.cli.command import INVALID, STDIN, CommandError
from kokofast.cli.output import clean
from kokofast.cli.results import count
from kokofast.engine.player import change
from kokofast.host.files import read_file
from kokofast.timeline.read import Reader
from kokofast.topology.change import CHANGES
from kokofast.topology.live import LiveTopology
from kokofast.topology.problems import PROBLEMS_MAX, Problem, TopologyError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from kokofast.drivers import Driver
    from kokofast.timeline.epoch import Epoch
    from kokofast.topology.model import Topology

LINE_BYTES_MAX = 64 << 20
POLL_SECONDS = 0.05
CHUNK = 1 << 16
NO_EPOCH = "there is no epoch in it"


def is_stored(path: str) -> bool:
    """Whether a timeline can be read twice: to be checked, and to be played."""
    return os.path.isfile(path) or os.path.isdir(path)


class Texts:
    """The texts of the epochs in a file, or in the files of a folder, each with its place. Raises CommandError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.title = clean(path) if path != STDIN else "stdin"

    def __iter__(self) -> Iterator[tuple[bytes, str]]:
        try:
            if self.path != STDIN and os.path.isdir(self.path):
                yield from self._of_folder()
            else:
                yield from self._of_file()
        except OSError as error:
            raise CommandError(INVALID, Problem(self.title, error.strerror or str(error))) from None

    def _of_folder(self) -> Iterator[tuple[bytes, str]]:
        names = [name for name in os.listdir(self.path) if name.endswith(".json")]
        if not names:
            raise OSError(errno.ENOENT, "there is no epoch in this folder: no file's name ends in .json")
        # epoch-10 comes after epoch-9.
        for name in sorted(names, key=lambda one: [(not part.isdigit(), part.zfill(20)) for part in _parts(one)]):
            path = os.path.join(self.path, name)
            try:
                yield read_file(path, LINE_BYTES_MAX, waits=False), clean(path)
            except OSError as error:
                raise CommandError(INVALID, Problem(clean(path), error.strerror or str(error))) from None

    def _of_file(self) -> Iterator[tuple[bytes, str]]:
        with open(0 if self.path == STDIN else self.path, "rb", closefd=self.path != STDIN) as file:
            number = 0
            while line := file.readline(LINE_BYTES_MAX + 1):
                number += 1
                if not line.isspace():
                    yield line, f"{self.title}:{number}"


def _parts(name: str) -> list[str]:
    return re.split(r"([0-9]+)", name)


def _epoch(reader: Reader, data: bytes, place: str) -> Epoch:
    """Return the epoch of a text. Raises TopologyError."""
    if len(data) > LINE_BYTES_MAX:
        raise TopologyError([Problem(place, f"is longer than {LINE_BYTES_MAX >> 20} MiB")])
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise TopologyError([Problem(place, f"not UTF-8: byte 0x{data[error.start]:02x}")]) from None
    return reader.read(text, place)


def epochs_in(path: str) -> Iterator[Epoch | TopologyError]:
    """Yield the epochs of a timeline, or what is wrong with them. Raises CommandError."""
    reader, count = Reader(), 0
    for data, place in Texts(path):
        count += 1
        try:
            yield _epoch(reader, data, place)
        except TopologyError as error:
            yield error
    if not count:
        yield TopologyError([Problem(Texts(path).title, NO_EPOCH)])


class Check:
    """A look at a whole timeline before it is played: each epoch on the lab as the ones before leave it.

    Raises CommandError with all problems.
    """

    def __init__(self, topology: Topology, options: argparse.Namespace) -> None:
        self._live = LiveTopology(topology)
        self.lines: list[dict[str, object]] = []  # for a dry run: what would be done
        self.epochs = 0
        self.end: float | None = None  # the time of the last epoch that is played
        problems: list[Problem] = []
        reader = Reader()
        plays = False
        for data, place in Texts(options.timeline):
            self.epochs += 1
            try:
                epoch = _epoch(reader, data, place)
                change(self._live, epoch)
            except TopologyError as error:
                problems += error.problems
                if len(problems) >= PROBLEMS_MAX:
                    break
                continue
            if options.until is None or epoch.at is None or epoch.at <= options.until:
                plays = True
                self.end = epoch.at if epoch.at is not None else self.end
            if options.dry_run:
                self._note(epoch)
        if not self.epochs:
            problems.append(Problem(Texts(options.timeline).title, NO_EPOCH))
        if problems:
            raise CommandError(INVALID, *problems)
        if not plays:
            raise CommandError(INVALID, "--until ends before the first epoch: nothing would be played")

    def forget(self) -> None:
        """Free the lab as the timeline leaves it: it takes as much memory as the lab."""
        del self._live

    def _note(self, epoch: Epoch) -> None:
        counts = {name: len(found) for name in CHANGES if (found := epoch.changes.get(name))}
        line: dict[str, object] = {"at": epoch.at, "changes": counts}
        if epoch.commands:
            line["run"] = [{"node": command.node, "command": list(command.arguments)} for command in epoch.commands]
        self.lines.append(line)


class Stored:
    """The epochs of a file or folder. epochs is how many it had when it was checked."""

    def __init__(self, path: str, epochs: int) -> None:
        self._left = epochs
        texts = Texts(path)
        self.title = texts.title
        self._texts = iter(texts)
        self._reader = Reader()
        self.last = self.step = 0.0

    def is_ready(self) -> bool:
        """See Source."""
        return True

    async def next(self) -> Epoch | TopologyError | None:
        """See Source."""
        try:
            found = next(self._texts, None)
        except CommandError as error:  # it was removed since it was checked
            self._left = 0
            return TopologyError([one for one in error.errors if isinstance(one, Problem)])
        if found is None:
            left, self._left = self._left, 0
            words = f"it ends {count(left, 'epoch')} too early: it was changed since it was checked"
            return TopologyError([Problem(self.title, words)]) if left > 0 else None
        self._left -= 1
        try:
            epoch = _epoch(self._reader, *found)
        except TopologyError as error:  # it was changed since it was checked
            return error
        if epoch.at is not None:
            self.last, self.step = epoch.at, epoch.at - self.last
        return epoch


class Live:
    """The epochs that another program writes to our standard input, as they come."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._reader = Reader(is_live=True)
        self._data = bytearray()
        self._searched = 0  # bytes of it without a line's end
        self._has_ended = False
        self._line = 0
        self._found: Epoch | TopologyError | None = None  # the next one

    def is_ready(self) -> bool:
        """See Source."""
        self._take_line()
        while self._found is None and not self._has_ended and select.select([0], [], [], 0)[0]:
            part = os.read(0, CHUNK)
            self._has_ended = not part
            self._data += part
            self._take_line()
            if not self._data:  # empty lines without end must not keep a signal from being seen
                break
        return self._found is not None or self._has_ended

    async def next(self) -> Epoch | TopologyError | None:
        """See Source."""
        while not self.is_ready():
            await self._driver.sleep(0)  # raises when a signal has come
            select.select([0], [], [], POLL_SECONDS)
        found, self._found = self._found, None
        return found

    def _take_line(self) -> None:
        """Read the next epoch, if its line is there to its end."""
        while self._found is None and self._data:
            end = self._data.find(b"\n", self._searched)
            self._searched = len(self._data)
            if end < 0 and not self._has_ended and self._searched <= LINE_BYTES_MAX:
                return
            end = self._searched if end < 0 else end
            line = bytes(self._data[:end])
            del self._data[: end + 1]
            self._searched = 0
            self._line += 1
            if line and not line.isspace():
                try:
                    self._found = _epoch(self._reader, line, f"stdin:{self._line}")
                except TopologyError as error:
                    self._found = error
