"""koko's command line under faults: whichever call fails, the link is there or nothing is; what is left is told."""

from __future__ import annotations

import errno
import random
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from kokofast.koko.command import run
from tests.conftest import SETTLE_SECONDS
from tests.faults.injection import FAILS, Fault, Faults, injected
from tests.faults.test_injection import essence, faults_of
from tests.faults.witness import State, difference
from tests.faults.world import World
from tests.kernel.conftest import until

OK, FAILED, INVALID, PARTIAL = 0, 1, 2, 3


def koko(argv: list[str]) -> int:
    """The exit code of a command line, which as a process of its own would keep the signals."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    try:
        return run(argv)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class Link:
    """One link by koko's command line, in namespaces with interfaces of others."""

    def __init__(self, world: World, counts: Counter[str], capfd: pytest.CaptureFixture[str], line: str) -> None:
        self.world = world
        self.counts = counts
        self.capfd = capfd
        self.argv = line.format(a=world.a, b=world.b, w=world.w).split()
        self.before = world.witness.state()

    def make(self, faults: Faults) -> tuple[int, State, list[str]]:
        """Exit code, what is there then, and what was said."""
        with injected(faults):
            code = koko(self.argv)
        self.counts["faults injected"] += len(faults.hit)
        output, errors = self.capfd.readouterr()
        assert output == ""
        lines = errors.splitlines()
        assert all(line.startswith("kokofast: ") for line in lines), f"{faults}: {errors}"
        assert bool(lines) == (code != OK), f"{faults}: {code}, {errors}"
        return code, self.world.witness.state(), lines

    def remove(self) -> None:
        assert koko(["-N", f"{self.world.a},k0"]) == OK, self.capfd.readouterr().err
        try:
            until(lambda: not difference(self.before, self.world.witness.state()), "it is gone", SETTLE_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"left: {difference(self.before, self.world.witness.state())}") from error
        self.capfd.readouterr()


LINES = [
    "-n {a},k0,10.7.0.1/24,2001:db8:7::1/64 -n {b},k0,10.7.0.2/24",
    "-n {a},k0,mirror:both:eth0 -n {w},k0",
]


@pytest.fixture(params=LINES, ids=["addresses", "mirror"])
def link(
    world: World,
    chance: random.Random,
    counts: Counter[str],
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Iterator[Link]:
    seed, _ = capfd.readouterr()
    yield Link(world, counts, capfd, request.param)
    print(seed)


def test_whichever_call_fails_it_is_all_or_nothing(link: Link, chance: random.Random, long: bool) -> None:
    whole = Faults()
    code, complete, _ = link.make(whole)
    assert code == OK
    link.remove()
    for number, point in enumerate(whole.passed, 1):
        ways = faults_of(point)
        for fault in ways if long else [chance.choice(ways)]:
            faults = Faults({number: fault})
            code, after, lines = link.make(faults)
            assert number in faults.hit
            if code == OK:
                assert essence(after) == essence(complete), f"{faults}: {difference(complete, after)}"
                link.remove()
                continue
            assert code in (FAILED, INVALID), f"{faults}: {lines}"
            assert not difference(link.before, after), f"{faults}: {lines}, {difference(link.before, after)}"


def test_what_cannot_be_taken_back_is_told(link: Link, chance: random.Random, long: bool) -> None:
    whole = Faults()
    link.make(whole)
    link.remove()
    lasting = Fault(FAILS, errno.EPERM)
    begin = next(number for number, point in enumerate(whole.passed, 1) if point.changes())
    numbers = range(begin, len(whole.passed) + 1)
    for first in numbers if long else sorted(chance.sample(numbers, 5)):
        fault = chance.choice(faults_of(whole.passed[first - 1]))
        once = Faults({first: fault})
        code, _, _ = link.make(once)
        if code == OK:
            link.remove()
            continue
        later = range(first + 1, len(once.passed) + 1)
        for second in chance.sample(later, min(12, len(later))):
            faults = Faults({first: fault}, forever=(second, lasting))
            code, after, lines = link.make(faults)
            left = [line for line in lines if line.startswith("kokofast: could not be taken back: ")]
            changed = difference(link.before, after)
            assert (code, bool(left)) == ((PARTIAL, True) if changed else (FAILED, False)), (
                f"{faults}: {lines} {changed}"
            )
            link.world.remove_bare_qdisc()
            if any(key[:2] == ("a", "k0") for key in changed):
                link.remove()
            assert not difference(link.before, link.world.witness.state())
