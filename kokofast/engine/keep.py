"""Keep a lab under trio: the parts of a watch, put together."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from kokofast.drivers.senses import TrioSenses
from kokofast.drivers.trio_driver import TrioDriver
from kokofast.engine.watch import DestroyedError, Watch
from kokofast.host.files import read_file
from kokofast.host.kernel import LinuxKernel
from kokofast.host.listener import HeardKernel, Listener
from kokofast.host.lock import Keeper
from kokofast.topology import FILE_BYTES_MAX
from kokofast.watching.events import Event
from kokofast.watching.judge import groups_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from kokofast.topology.model import Topology


def rereader(path: str, data: bytes, load: Callable[[bytes], Topology]) -> Callable[[], Topology | None]:
    """Return a function that reads the file again: None if that has not changed. data is its content so far."""
    before = data

    def read() -> Topology | None:
        nonlocal before
        now = read_file(path, FILE_BYTES_MAX, waits=False)
        if now == before:
            return None
        found = load(now)
        before = now
        return found

    return read


async def keep_lab(
    topology: Topology,
    report: Callable[[Event], object],
    *,
    runtime_timeout: float,
    file: str | None = None,
    read: Callable[[], Topology | None] = lambda: None,
    prune: bool = False,
    once: float | None = None,
    rereads: Callable[[Callable[[], None]], object] | None = None,
) -> bool:
    """Keep a lab until the caller's scope is cancelled; see kokofast.watch().

    file is the path of the topology's file, None if there is none; read reads it again.
    """
    keeper: Keeper | None = Keeper(topology.name)
    try:
        if keeper is not None and not keeper.acquire():
            raise BlockingIOError(f"another watch keeps the lab {topology.name}")
    except BlockingIOError:
        raise
    except OSError as error:
        why = f"{error.filename}: {error.strerror}; a destroy of the lab by another run is not noticed"
        report(Event("note", topology.name, {"message": why}))
        keeper = None
    try:
        with closing(Listener(groups_for(topology))) as listener:
            senses = TrioSenses(listener, file)
            if rereads is not None:
                rereads(senses.read_file)
            async with senses.listening():
                watch = Watch(
                    topology,
                    TrioDriver(),
                    senses,
                    lambda is_heard: HeardKernel(listener) if is_heard else LinuxKernel(),
                    report,
                    keeper=keeper,
                    load=read,
                    prune=prune,
                    runtime_timeout=runtime_timeout,
                )
                watch.reload()  # an edit since the first reading was not heard of
                try:
                    await watch.run(once=once)
                except DestroyedError:
                    report(Event("destroyed", topology.name, {}))
                    return False
                return watch.is_whole
    finally:
        if keeper is not None:
            keeper.release()
