"""Whichever system call or netlink request of a run fails: all or nothing, and what is left is told exactly.

The short form lets every call fail once, in one of the ways that it can, and samples the rest. The long form lets every
call fail in every way; and behind these, for each sequence of calls by which a run is taken back, every call of it.
KOKOFAST_SEED=N repeats a choice.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import os
import random
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pytest

from kokofast.cli.batch import exit_code
from kokofast.cli.command import PARTIAL
from kokofast.drivers.inline import InlineDriver, drive
from kokofast.engine import tear_down
from kokofast.engine.result import Result
from kokofast.host.kernel import LinuxKernel
from kokofast.host.watch import Watch
from kokofast.ops import ifindex, routes
from kokofast.ops.ifindex import Indexes
from kokofast.plan.observed import Namespace
from kokofast.plan.ownership import alias_of, cookie_of
from kokofast.topology.model import Topology
from kokofast.wire.tc import TC_H_MIN_EGRESS, TC_H_MIN_INGRESS
from tests.faults.injection import (
    FAILS,
    LOST,
    RECEIVE,
    REQUEST,
    SEND,
    SHORT,
    SOCKET,
    TRUNCATED,
    Fault,
    Faults,
    Point,
    Sent,
    injected,
)
from tests.faults.rows import LINKS, rows_of
from tests.faults.witness import State, difference
from tests.faults.world import GENEROUS, TIGHT, World, has_clsact
from tests.kernel.conftest import run
from tests.runs import apply, destroy

# How calls can fail. Not with what says that it is done already, or that there is nothing: that would be a lie, not a
# fault (ENODEV to a deletion, ENOENT to an unlink).
_CODES = {
    SEND: ("ENOBUFS", "ENOMEM", "EPERM", "EINTR", "EAGAIN"),
    SOCKET: ("EMFILE", "ENOMEM", "EPERM", "ENOBUFS"),
    "setns": ("EPERM", "ENOMEM", "EUSERS"),
    "unshare": ("EPERM", "ENOSPC", "ENOMEM"),
    "mount": ("EPERM", "ENOMEM", "EBUSY", "ENODEV"),
    "umount2": ("EPERM", "EBUSY", "ENOMEM"),
    "open": ("EMFILE", "ENFILE", "EACCES", "ENOMEM", "EINTR"),
    "link": ("EPERM", "ENOSPC", "EROFS", "ENOMEM"),
    "unlink": ("EPERM", "EBUSY", "EROFS"),
    "write": ("ENOSPC", "EIO", "EINTR"),
    "read": ("EIO", "EINTR"),
    "pwrite": ("EROFS", "EPERM", "EINTR"),
    "fstat": ("ENOMEM", "EIO"),
    "stat": ("ENOMEM", "EACCES", "EIO"),
    "makedirs": ("EROFS", "EACCES", "ENOSPC"),
}
_REFUSALS = ("EPERM", "ENOBUFS", "ENOMEM", "EINTR", "EAGAIN", "EBUSY", "EEXIST", "ENODEV", "EINVAL")
_REFUSED = tuple(code for code in _REFUSALS if code not in ("ENODEV", "EINVAL"))  # dumps and deletions
_RECEIVES = (
    Fault(LOST, errno.ENOBUFS),
    Fault(LOST, errno.EAGAIN),  # after the time limit
    Fault(LOST, errno.EINTR),
    Fault(FAILS, errno.ENOBUFS),
    Fault(FAILS, errno.ENOMEM),
    Fault(SHORT),
    Fault(TRUNCATED),
)
BEREFT = ": its parent, or what it mirrors, was not made"
_TAKING_BACK = ("EPERM", "ENOBUFS", "ENOMEM", "EBUSY")


def faults_of(point: Point, *, refusals: tuple[str, ...] = _REFUSALS) -> list[Fault]:
    """The ways in which a call can fail."""
    if point.call == RECEIVE:
        return list(_RECEIVES)
    if point.call == REQUEST:
        codes = refusals if point.what.startswith(("RTM_NEW", "RTM_SET")) else _REFUSED
    else:
        codes = _CODES[point.call]
    return [Fault(FAILS, getattr(errno, code)) for code in codes]


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletions in the same order every time, so that a number means the same call in each run."""
    monkeypatch.setattr(tear_down, "DELETE_WORKERS", 1)
    monkeypatch.setattr(tear_down, "REMOVE_THREADS", 1)

    def wait(self: Watch, found: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        # How often it is asked depends on RCU: long enough afterwards once is enough, and the same in each run.
        time.sleep(0.15)
        return self.living(list(found))

    monkeypatch.setattr(Watch, "wait", wait)


@pytest.fixture(autouse=True)
def _same_indexes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interfaces get the same numbers in each run, so that a request tells which one it is about."""
    begin = Indexes.__init__

    def begin_at_the_next(self: Indexes, observed: Sequence[Namespace | None]) -> None:
        begin(self, observed)
        numbers = itertools.count(1000, 1000)
        monkeypatch.setattr(ifindex, "_random_index", lambda: next(numbers))
        for ns, namespace in enumerate(observed):
            if namespace is not None:
                self._next[ns] = 1 + max(interface.ifindex for interface in namespace.interfaces.values())

    monkeypatch.setattr(Indexes, "__init__", begin_at_the_next)


class Outcome:
    """What became of a run under faults, and of the machine."""

    def __init__(self, faults: Faults, result: Result, before: State, after: State) -> None:
        self.faults = faults
        self.result = result
        self.after = after
        self.changed = difference(before, after)

    def __str__(self) -> str:
        errors = "; ".join(map(str, self.result.errors))
        return (
            f"[{self.faults}] {self.result.status}: {errors}; left: {self.result.left}; changed: {sorted(self.changed)}"
        )


class Runs:
    """Runs the file of a world under faults, each time from the same beginning."""

    def __init__(self, world: World, counts: Counter[str], budget: int = GENEROUS, *, by_command: bool = False) -> None:
        self.world = world
        self.by_command = by_command  # as the command line has it of a short plan: without an event loop
        self.counts = counts
        self.budget = budget
        self.before: State = {}
        self.whole: State = {}
        self.complete: frozenset[object] = frozenset()
        self.topology: Topology = world.wanted()

    async def begin(self) -> list[Point]:
        """Runs it without a fault; returns the calls that it takes."""
        self.before = await self.world.prepare()
        outcome = await self.run(Faults())
        assert (outcome.result.status, outcome.result.errors) == ("applied", [])
        self.whole = outcome.after
        self.complete = essence(self.whole)
        self.before = await self.world.prepare()
        return outcome.faults.passed

    async def run(self, faults: Faults, *, keep_going: bool = False, jobs: int = 1) -> Outcome:
        """One run. Whatever comes of it, it does not raise, and loses no descriptor."""
        descriptors = len(os.listdir("/proc/self/fd"))
        kernel = LinuxKernel(self.budget)
        try:
            with injected(faults):
                if self.by_command:
                    result = drive(apply(self.topology, kernel=kernel, driver=InlineDriver(), keep_going=keep_going))
                else:
                    result = await apply(self.topology, kernel=kernel, jobs=jobs, keep_going=keep_going)
        except BaseException as error:
            error.add_note(str(faults))
            raise
        finally:
            kernel.close()
        outcome = Outcome(faults, result, self.before, self.world.witness.state())
        self.counts["faults injected"] += len(faults.hit)
        self.counts["strangers compared"] += 1
        assert len(os.listdir("/proc/self/fd")) == descriptors, f"descriptors were lost: {outcome}"
        return outcome

    async def check_all_or_nothing(self, outcome: Outcome, *, same_indexes: bool = True) -> None:
        """Either nothing happened, and the error has its place in the file; or everything did.
        same_indexes: interfaces have the same numbers in each run."""
        result = outcome.result
        assert outcome.faults.hit, f"it never came: {outcome}"
        assert result.left == [], str(outcome)
        if result.status == "applied":
            assert result.errors == [], str(outcome)
            await self.check_complete(outcome)
            return
        assert result.status in ("rolled_back", "invalid"), str(outcome)
        self.counts["left over"] += len(outcome.changed)
        assert not outcome.changed, str(outcome)
        assert result.errors, str(outcome)
        for error in result.errors:
            assert error.source.startswith("$.links["), str(outcome)
            assert error.message, str(outcome)
        self.check_rows(outcome, same_indexes=same_indexes)

    def check_rows(self, outcome: Outcome, *, same_indexes: bool = True) -> None:
        """The errors are about the rows that the requests which failed were about; and say with which errno."""
        for number, sent in outcome.faults.about.items():
            rows = rows_of(sent, self.topology, self.world.places, self.whole if same_indexes else None)
            if rows is None:
                continue
            assert rows, f"a request that is about nothing: {outcome}"
            self.counts["rows named"] += 1
            errors = [error for error in outcome.result.errors if not error.message.endswith(BEREFT)]
            named = {int(error.source.removeprefix("$.links[").partition("]")[0]) for error in errors}
            assert named <= rows, f"it was about {sorted(rows)}: {outcome}"
            fault = outcome.faults.came[number]
            if outcome.faults.hit[number].call == REQUEST:
                assert {error.errno for error in errors} == {fault.errno}, str(outcome)

    async def check_complete(self, outcome: Outcome) -> None:
        """The machine is as after a run without faults. Begins again."""
        again = await self.run(Faults())
        assert (again.result.status, again.result.errors) == ("unchanged", []), f"{outcome}\nthen {again}"
        assert essence(again.after) == self.complete, f"{outcome}: {essence(again.after) ^ self.complete}"
        self.before = await self.world.prepare()


def essence(state: State) -> frozenset[object]:
    """What counts of a state, without the numbers that differ from run to run."""
    ifla_mtu, ifla_txqlen, ifla_ifalias, ifla_group, ifla_broadcast = 4, 13, 20, 27, 2
    found: set[object] = set()
    for key, value in state.items():
        if key[0] == "name":
            found.add(key)
        elif key[2] == "link" and isinstance(value, tuple):
            kept = (ifla_mtu, ifla_txqlen, ifla_ifalias, ifla_group, ifla_broadcast)
            found.add((*key, value[2] & 1, *(value[3].get(number) for number in kept)))
        elif key[2] == "filter" and isinstance(value, tuple):
            # The last byte of a cookie says whether the qdisc is ours; whether it goes shows when all is gone.
            found |= {(*key[:3], key[3].split()[0], cookie[:-1]) for _, cookie, _ in value[1]}
        elif key[2] == "qdisc" or (key[2] == "address" and not key[3][2:].startswith(r"\xfe\x80")):
            found.add(key)
    return frozenset(found)


@pytest.mark.parametrize(
    ("budget", "by_command"),
    [(GENEROUS, False), (TIGHT, False), (GENEROUS, True)],
    ids=["plenty of descriptors", "few of them", "without an event loop"],
)
async def test_whichever_call_fails_it_is_all_or_nothing(
    world: World, budget: int, by_command: bool, counts: Counter[str], chance: random.Random, long: bool
) -> None:
    runs = Runs(world, counts, budget, by_command=by_command)
    points = await runs.begin()
    assert len(points) > 150
    numbers = list(range(1, len(points) + 1))
    if not long and budget == TIGHT:
        # What is new with few descriptors is that namespaces are closed and opened again.
        numbers = chance.sample(numbers, 15)
    elif not long and by_command:
        numbers = chance.sample(numbers, 40)
    for number in numbers:
        faults = faults_of(points[number - 1])
        for fault in faults if long else [chance.choice(faults)]:
            await runs.check_all_or_nothing(await runs.run(Faults({number: fault})))
    await world.clear()


async def test_with_keep_going_what_stands_on_a_failed_link_fails_too(world: World, counts: Counter[str]) -> None:
    runs = Runs(world, counts)
    await runs.begin()
    peer = bytes((10, 1, 0, 1))  # in c, where vx0's parent has its other end

    def refuse(point: Point, sent: Sent | None) -> Fault | None:
        wanted = point.what == "RTM_NEWADDR" and sent is not None and peer in sent.data
        return Fault(FAILS, errno.EPERM) if wanted else None

    outcome = await runs.run(Faults(whenever=refuse), keep_going=True)
    assert (outcome.result.status, outcome.result.left) == ("partial", [])
    refused, lost = outcome.result.errors
    assert refused.source.startswith("$.links[2].endpoints[1]")
    assert lost.source == "$.links[4]"
    assert lost.message.endswith(BEREFT)
    assert outcome.result.links["failed"] == 2
    assert parts_of(world, essence(outcome.after), 4) == parts_of(world, essence(runs.before), 4)
    await world.clear()


async def test_with_several_workers_too(world: World, counts: Counter[str], chance: random.Random, long: bool) -> None:
    """Their calls mix in another way each time: what a number means is seen when it comes."""
    runs = Runs(world, counts)
    points = await runs.begin()
    numbers = chance.choices(range(1, len(points) + 1), k=300 if long else 10)
    missed = 0
    for number in numbers:
        outcome = await runs.run(Faults(whenever=at(number, chance)), jobs=3)
        if outcome.faults.hit:
            await runs.check_all_or_nothing(outcome, same_indexes=False)
        else:  # one of the last calls: workers that answer at the same time take fewer
            missed += 1
            assert (outcome.result.status, outcome.result.errors) == ("applied", [])
            await runs.check_complete(outcome)
    assert missed <= len(numbers) // 10
    await world.clear()


def at(number: int, chance: random.Random) -> Callable[[Point, Sent | None], Fault | None]:
    """The call of that number fails, in a way that it can."""
    counter = itertools.count(1)

    def fail(point: Point, _: Sent | None) -> Fault | None:
        return chance.choice(faults_of(point)) if next(counter) == number else None

    return fail


def changing(points: list[Point]) -> int:
    """The number of the first call that can change anything."""
    return next(number for number, point in enumerate(points, 1) if point.changes())


@pytest.mark.parametrize("by_command", [False, True], ids=["from the library", "without an event loop"])
async def test_with_keep_going_a_link_is_there_or_not(
    world: World, by_command: bool, counts: Counter[str], chance: random.Random, long: bool
) -> None:
    runs = Runs(world, counts, by_command=by_command)
    points = await runs.begin()
    numbers = list(range(changing(points), len(points) + 1))
    for number in numbers if long else sorted(chance.sample(numbers, 8)):
        outcome = await runs.run(Faults({number: chance.choice(faults_of(points[number - 1]))}), keep_going=True)
        result = outcome.result
        assert result.left == [], str(outcome)
        if result.status == "applied":
            await runs.check_complete(outcome)
            continue
        assert result.status == "partial", str(outcome)
        assert result.errors, str(outcome)
        runs.check_rows(outcome)
        whole = [
            parts_of(world, essence(outcome.after), link) == parts_of(world, runs.complete, link) for link in LINKS
        ]
        gone = [
            parts_of(world, essence(outcome.after), link) == parts_of(world, essence(runs.before), link)
            for link in LINKS
        ]
        assert all(one or other for one, other in zip(whole, gone, strict=True)), str(outcome)
        assert whole.count(False) == result.links["failed"], str(outcome)
        again = await runs.run(Faults())
        assert again.result.status == "applied", f"{outcome}\nthen {again}"
        assert essence(again.after) == runs.complete, f"{outcome}: {essence(again.after) ^ runs.complete}"
        runs.before = await world.prepare()
    await world.clear()


def parts_of(world: World, seen: frozenset[object], link: int) -> set[object]:
    """What there is of a link: its interfaces, and its filters on others."""
    cookie = cookie_of(world.lab, alias_of(world.lab, world.wanted().links[link]))[:-1]
    return {key for key in seen if isinstance(key, tuple) and (key[:2] in LINKS[link] or cookie in key)}


def titles(world: World) -> dict[tuple[str, str], str]:
    """How result.left names what an interface is part of."""
    topology = world.wanted()
    names = {"a": world.a, "b": world.b, "w": world.w, "c": world.c, "d": world.d}
    found = {}
    for link, ends in LINKS.items():
        for place, ifname in ends:
            old = link in (0, 1)
            title = f"{names[place]}:{ifname}" if old else f"link {topology.links[link].title()}"
            found[place, ifname] = title
    # What is not the lab's is touched for a mirror only; a macvlan leaves its traces on its parent.
    found["a", "eth0"] = f"the mirror of {world.a}:eth0"
    found["b", "eth1"] = found["b", "mv0"]
    return found


def name_of(world: World, names: dict[tuple[str, str], str], key: tuple[str, ...]) -> str:
    if key[0] == "name":
        return f"namespace {key[1]}"
    if key[0] in ("c", "d"):  # what is in it goes with it
        return f"namespace {world.c if key[0] == 'c' else world.d}"
    return names[key[0], key[1]]


def check_left(world: World, outcome: Outcome) -> None:
    """What the run says is left, and nothing else, is what is there."""
    names = titles(world)
    there = {name_of(world, names, key) for key in outcome.changed}
    told = {
        one
        for one in {*names.values(), *(f"namespace {name}" for name in (world.c, world.d))}
        if any(line.startswith(f"{one}: ") for line in outcome.result.left)
    }
    assert told == there, f"told {told}, there {there}: {outcome}"
    assert bool(outcome.result.left) == bool(there), str(outcome)
    if there:
        assert outcome.result.status == "partial", str(outcome)
        options = argparse.Namespace(dry_run=False, exit_code=False)
        assert exit_code(outcome.result, options, interrupted=False) == PARTIAL
    else:
        assert outcome.result.status == "rolled_back", str(outcome)


async def second_faults(
    world: World,
    counts: Counter[str],
    chance: random.Random,
    make: Callable[[int, Fault, int, Point], Faults],
    firsts: int | None,
    seconds: int | None,
) -> None:
    """Runs that fail, and fail again while they are taken back: firsts moments of the first, seconds of the second
    failure. None for all first failures that are taken back in ways of their own, and for all calls of these ways."""
    runs = Runs(world, counts)
    points = await runs.begin()
    numbers = list(range(changing(points), len(points) + 1))
    if firsts is None:
        chosen = [(number, fault) for number in numbers for fault in faults_of(points[number - 1])]
    else:
        some = sorted(chance.sample(numbers, firsts))
        chosen = [(number, chance.choice(faults_of(points[number - 1]))) for number in some]
    ways: set[tuple[Point, ...]] = set()
    for number, fault in chosen:
        once = await runs.run(Faults({number: fault}))
        await runs.check_all_or_nothing(once)
        if once.result.status != "rolled_back":
            continue
        way = tuple(point if point.call == REQUEST else Point(point.call) for point in once.faults.passed[number:])
        if firsts is None and way in ways:
            continue
        ways.add(way)
        later = list(range(number + 1, len(once.faults.passed) + 1))
        for second in later if seconds is None or seconds >= len(later) else sorted(chance.sample(later, seconds)):
            point = once.faults.passed[second - 1]
            outcome = await runs.run(make(number, fault, second, point))
            if second > len(outcome.faults.passed):  # the run before has repeated a dump that was disturbed
                assert changes_of(outcome) == changes_of(once), str(outcome)
                await runs.check_all_or_nothing(outcome)
                counts["second moments that did not come"] += 1
                continue
            assert outcome.faults.passed[second - 1].call == point.call, f"it came in another order: {outcome}"
            check_left(world, outcome)
            if outcome.changed:
                runs.before = await world.prepare(told=True)
    counts["ways of taking back"] += len(ways)
    await world.clear()


def changes_of(outcome: Outcome) -> list[Point]:
    """The calls of a run that change something; of what is no request, without descriptors."""
    changes = (point for point in outcome.faults.passed if point.changes())
    return [point if point.call == REQUEST else Point(point.call) for point in changes]


@pytest.mark.usefixtures("one_by_one")
async def test_a_second_fault_while_taking_back(
    world: World, counts: Counter[str], chance: random.Random, long: bool
) -> None:
    def make(number: int, fault: Fault, second: int, point: Point) -> Faults:
        return Faults({number: fault, second: chance.choice(faults_of(point, refusals=_TAKING_BACK))})

    await second_faults(world, counts, chance, make, *((None, 40) if long else (5, 4)))


@pytest.mark.usefixtures("one_by_one")
async def test_what_cannot_be_taken_back_is_told(
    world: World, counts: Counter[str], chance: random.Random, long: bool
) -> None:
    def make(number: int, fault: Fault, second: int, point: Point) -> Faults:
        lasting = Fault(FAILS, getattr(errno, chance.choice(_TAKING_BACK)))
        return Faults({number: fault}, forever=(second, lasting))

    await second_faults(world, counts, chance, make, *((None, 12) if long else (6, 2)))


def refuse_filters(*hooks: int) -> Callable[[Point, Sent | None], Fault | None]:
    """The kernel takes no filter of these hooks."""
    parent_at = 28  # in the message: struct nlmsghdr, struct tcmsg

    def refuse(point: Point, sent: Sent | None) -> Fault | None:
        if point.what != "RTM_NEWTFILTER" or sent is None:
            return None
        (parent,) = struct.unpack_from("=I", sent.data, parent_at)
        return Fault(FAILS, errno.ENOSPC) if parent & 0xFFFF in hooks else None

    return refuse


@pytest.mark.parametrize("theirs", [False, True], ids=["our qdisc", "their qdisc"])
@pytest.mark.parametrize(
    ("direction", "hook"),
    [
        ("ingress", TC_H_MIN_INGRESS),
        ("egress", TC_H_MIN_EGRESS),
        ("both", TC_H_MIN_INGRESS),
        ("both", TC_H_MIN_EGRESS),
    ],
)
async def test_a_refused_mirror_filter_leaves_the_qdisc_as_it_was(
    world: World, counts: Counter[str], direction: str, hook: int, theirs: bool
) -> None:
    runs = Runs(world, counts)
    runs.topology = world.mirrored(direction)
    if theirs:
        assert run(["tc", "-n", world.a, "qdisc", "add", "dev", "eth0", "clsact"]).returncode == 0
    runs.before = world.witness.state()
    outcome = await runs.run(Faults(whenever=refuse_filters(hook)))
    assert outcome.result.status == "rolled_back", str(outcome)
    assert not outcome.changed, str(outcome)
    assert has_clsact(outcome.after) == theirs
    (error,) = outcome.result.errors
    assert (error.source, error.errno) == ("$.links[0].endpoints[0].mirror", errno.ENOSPC)
    assert (await runs.run(Faults())).result.status == "applied"
    if theirs:
        world.strangers = runs.before
    await world.clear()


async def test_a_qdisc_that_stays_behind_a_refused_filter_is_told(world: World, counts: Counter[str]) -> None:
    refuse = refuse_filters(TC_H_MIN_INGRESS, TC_H_MIN_EGRESS)
    runs = Runs(world, counts)
    runs.topology = world.mirrored("both")
    runs.before = world.witness.state()
    stays = Fault(FAILS, errno.EPERM)
    outcome = await runs.run(
        Faults(whenever=lambda point, sent: stays if point.what == "RTM_DELQDISC" else refuse(point, sent))
    )
    assert outcome.result.status == "partial"
    (left,) = outcome.result.left
    assert left.startswith(f"the mirror of {world.a}:eth0: ")
    assert {key[:3] for key in outcome.changed} == {("a", "eth0", "qdisc")}
    world.remove_bare_qdisc()
    assert not difference(runs.before, world.witness.state())


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("hub", [False, True], ids=["links", "links of a hub"])
async def test_whichever_call_of_destroy_fails_what_is_left_is_told(
    world: World, counts: Counter[str], chance: random.Random, long: bool, hub: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hub:  # as if these few were thousands
        monkeypatch.setattr(routes, "MANY", 2)

    async def run(faults: Faults) -> Result:
        kernel = LinuxKernel(GENEROUS)
        try:
            with injected(faults):
                return await destroy(world.lab, kernel=kernel)
        finally:
            kernel.close()

    runs = Runs(world, counts)
    await runs.begin()
    await runs.run(Faults())
    whole = Faults()
    result = await run(whole)
    assert (result.status, result.errors) == ("destroyed", [])
    assert hub == any(point.what == "RTM_DELROUTE" for point in whole.passed)
    await world.clear()
    # Into how many other namespaces it looks before, nobody knows.
    begin = next(number for number, point in enumerate(whole.passed, 1) if point.changes())
    numbers = range(begin, len(whole.passed) + 1)
    surveyed = [number for number in range(1, begin) if whole.passed[number - 1].call != "read"]
    chosen = [*chance.sample(surveyed, min(len(surveyed), 60 if long else 3))]
    chosen += numbers if long else chance.sample(numbers, min(7, len(numbers)))
    for number in chosen:
        await world.prepare()
        applied = await runs.run(Faults())
        assert applied.result.status == "applied"
        ways = faults_of(whole.passed[number - 1], refusals=_TAKING_BACK)
        faults = Faults({number: chance.choice(ways)})
        result = await run(faults)
        counts["faults injected"] += len(faults.hit)
        state = world.witness.state()
        gone = essence(state) == essence(world.strangers) or lowered(state) == essence(world.strangers)
        assert result.errors or gone, f"{faults}: {result.status}, {difference(world.strangers, state)}"
        assert (result.status == "partial") == bool(result.errors), str(faults)
        await world.clear()


def lowered(state: State) -> frozenset[object]:
    """The essence of a state, had the mirror into a tunnel not lowered an MTU."""
    ifla_mtu = 4
    restored = dict(state)
    value = state["a", "eth0", "link"]
    assert isinstance(value, tuple)
    restored["a", "eth0", "link"] = (*value[:3], {**value[3], ifla_mtu: (1500).to_bytes(4, "little")})
    return essence(restored)
