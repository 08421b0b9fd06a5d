from __future__ import annotations

import errno
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio

from kokofast.drivers import Stopped
from kokofast.drivers.inline import InlineDriver, drive
from kokofast.engine import scene
from kokofast.engine.scene import Scene
from kokofast.engine.tear_down import REMOVE_CHUNK
from kokofast.host.kernel import Handle
from kokofast.host.netlink import UnreadableError
from kokofast.ops.dumps import Patience
from kokofast.plan.ownership import APART, group_of
from kokofast.wire.addr import RTM_GETADDR
from kokofast.wire.link import RTM_DELLINK, RTM_GETLINK
from kokofast.wire.message import Message, Request
from kokofast.wire.tc import RTM_GETQDISC
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel, FakeNamespace
from tests.engine.labs import BEFORE, MIXED, chain, lab, star
from tests.runs import StopWhen, apply, destroy, inspect


def deletions(kernel: FakeKernel) -> list[Request]:
    return [request for request in kernel.requests if request.type == RTM_DELLINK]


async def apply_and_count(kernel: FakeKernel, *labs: object) -> None:
    for topology in labs:
        assert (await apply(topology, kernel=kernel)).status == "applied"  # type: ignore[arg-type]
    kernel.count_from_here()


async def test_what_was_made_goes_and_what_was_there_stays(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    before = kernel.state()
    await apply_and_count(kernel, lab(BEFORE))
    await apply_and_count(kernel, lab(MIXED))
    result = await destroy("lab", kernel=kernel)
    assert (result.status, result.errors) == ("destroyed", [])
    assert result.links == {"removed": 4, "failed": 0}
    assert result.namespaces == {"removed": 2, "failed": 0}
    assert sorted(kernel.removed) == ["c", "d"]
    assert kernel.state() == before


async def test_a_second_destroy_finds_nothing(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    await apply_and_count(kernel, chain(3))
    await destroy("lab", kernel=kernel)
    kernel.count_from_here()
    result = await destroy("lab", kernel=kernel)
    assert result.status == "unchanged"
    assert kernel.requests == []


async def test_links_between_namespaces_that_go_need_no_request(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    await apply_and_count(kernel, chain(9))
    await destroy("lab", kernel=kernel)
    assert deletions(kernel) == []
    assert len(kernel.removed) == 10


async def test_a_namespace_that_goes_is_asked_for_its_interfaces_and_no_more(make_kernel: KernelFactory) -> None:
    asked: list[tuple[str, int]] = []

    class Kernel(FakeKernel):
        def dump(self, handle, request):  # type: ignore[no-untyped-def]
            asked.append((handle.path.rpartition("/")[2], request.type))
            return super().dump(handle, request)

    kernel = make_kernel("stays")
    topology = lab([{"endpoints": ["stays:e0", "n0:e0"]}, {"endpoints": ["n0:e1", "n1:e0"]}])
    await apply_and_count(kernel, topology)
    kernel.__class__ = Kernel
    await destroy("lab", kernel=kernel)
    assert sorted(kernel.removed) == ["n0", "n1"]
    assert [type for name, type in asked if name in ("n0", "n1")] == [RTM_GETLINK] * 2
    # Mirrors of ours may be on anybody's interface.
    assert RTM_GETQDISC in [type for name, type in asked if name == "stays"]
    assert RTM_GETADDR not in [type for _, type in asked]


async def test_removed_namespaces_are_held_until_the_last_has_lost_its_name(make_kernel: KernelFactory) -> None:
    order: list[str] = []

    class Kernel(FakeKernel):
        def remove(self, name, expected):  # type: ignore[no-untyped-def]
            order.append("remove")
            super().remove(name, expected)

        def forget(self, handle):  # type: ignore[no-untyped-def]
            order.append("forget")
            super().forget(handle)

    kernel = make_kernel()
    await apply_and_count(kernel, chain(200))
    kernel.__class__ = Kernel
    await destroy("lab", kernel=kernel)
    assert order == ["remove"] * 201 + ["forget"] * 201


async def test_names_are_removed_by_several_threads_at_a_time(make_kernel: KernelFactory) -> None:
    together = threading.Barrier(2)

    class Kernel(FakeKernel):
        def remove(self, name, expected):  # type: ignore[no-untyped-def]
            together.wait(timeout=20)
            super().remove(name, expected)

    kernel = make_kernel()
    await apply_and_count(kernel, chain(9))
    kernel.__class__ = Kernel
    assert (await destroy("lab", kernel=kernel)).namespaces == {"removed": 10, "failed": 0}


async def test_namespaces_that_stay_are_asked_by_group_and_only_every_second(make_kernel: KernelFactory) -> None:
    kernel = make_kernel(*(f"n{i}" for i in range(11)))
    await apply_and_count(kernel, chain(10))
    result = await destroy("lab", kernel=kernel)
    assert result.links == {"removed": 10, "failed": 0}
    assert len(deletions(kernel)) <= 6
    assert all("group" in request.attributes or request.header.get("index") for request in deletions(kernel))
    assert all(kernel.links_of(f"n{i}") == [] for i in range(11))


async def test_only_this_lab(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    await apply_and_count(kernel, lab([{"endpoints": ["a:x0", "new:e0"]}], name="other"))
    before = kernel.state()
    await apply_and_count(kernel, star(5))
    assert (await destroy("lab", kernel=kernel)).links["removed"] == 5
    assert kernel.state() == before
    result = await destroy(None, kernel=kernel)
    assert (result.links["removed"], result.namespaces["removed"]) == (1, 1)
    assert kernel.links_of("a") == []


IMITATIONS = {
    "the group alone": {"group": group_of("lab")},
    "the alias alone": {"alias": "kokofast:lab:a:s0--b:s0"},
    "the alias of one lab and the group of another": {"group": group_of("other"), "alias": "kokofast:lab:x--y"},
    "another alias": {"group": group_of("lab"), "alias": "uplink"},
    "half an alias": {"group": group_of("lab"), "alias": "kokofast:"},
    "an alias without a lab": {"group": group_of("lab"), "alias": "kokofast::x--y"},
}


@pytest.mark.parametrize("imitation", IMITATIONS.values(), ids=list(IMITATIONS))
async def test_strangers_stay(make_kernel: KernelFactory, imitation: dict[str, object]) -> None:
    kernel = make_kernel("a", "b")
    for name in ("a", "b"):
        kernel[name].add("s0", index=40, **imitation)  # type: ignore[arg-type]
    before = kernel.state()
    await apply_and_count(kernel, star(4))
    for victim in ("lab", None, "other"):
        await destroy(victim, kernel=kernel)
    if imitation.get("group") == group_of("lab"):
        assert all(request.attributes.get("group") != group_of("lab") for request in deletions(kernel))
    assert kernel.state() == before


@pytest.mark.parametrize("whose", ["", "kokofast:", "kokofast:lab:x", "kokofast:lab:namespace2", "router"])
async def test_a_namespace_that_only_looks_like_ours_stays(make_kernel: KernelFactory, whose: str) -> None:
    kernel = make_kernel("a", "b")
    kernel["a"].links[1].alias = whose
    await apply_and_count(kernel, star(2))
    await destroy(None, kernel=kernel)
    assert kernel.removed == []
    assert kernel.links_of("a") == []


async def test_a_stranger_that_joins_the_group_at_the_last_moment_stays(make_kernel: KernelFactory) -> None:
    class Kernel(FakeKernel):
        looks = 0

        def dump(self, handle, request):  # type: ignore[no-untyped-def]
            # After the survey, at the last look before the deletion.
            if handle.identity == self["a"].identity and self.surveyed and self["a"].by_name("late") is None:
                self["a"].add("late", index=99, group=group_of("lab"))
            return super().dump(handle, request)

        surveyed = False

    kernel = make_kernel("a", "b")
    await apply_and_count(kernel, star(4))
    kernel.__class__ = Kernel

    def progress(stage: str, done: int, total: int) -> None:
        kernel.surveyed = stage == "survey" and done == total  # type: ignore[attr-defined]

    result = await destroy("lab", kernel=kernel, progress=progress)
    assert result.links == {"removed": 4, "failed": 0}
    assert kernel.links_of("a") == ["late"]
    assert [request.attributes["group"] for request in deletions(kernel)] == [group_of("lab") | APART]


class Thief(FakeKernel):
    """Before each exchange of a deletion someone takes an interface of ours away, and one of theirs gets its index."""

    stolen: list[str]
    steals = False

    def _steal(self) -> None:
        name = f"theirs{len(self.stolen)}"
        for namespace in (self["a"], self["c"]):
            ours = [link for link in namespace.links.values() if link.name.startswith("e")]
            if self.steals and ours:
                self._unlink(namespace, ours[0])
                namespace.add(name, index=ours[0].index)
                self.stolen.append(name)
                return

    def dump(self, handle, request):  # type: ignore[no-untyped-def]
        self._steal()
        return super().dump(handle, request)

    def ask(self, handle, request):  # type: ignore[no-untyped-def]
        self._steal()
        return super().ask(handle, request)

    def send(self, handle, requests, resolve=None, *, whole=False):  # type: ignore[no-untyped-def]
        if "group" in requests[-1].attributes:  # between the look at one interface and its deletion it would succeed
            self._steal()
        return super().send(handle, requests, resolve, whole=whole)


@pytest.mark.parametrize("beside", ["nobody", "a stranger in the group"])
@pytest.mark.parametrize("lab_name", ["lab", None], ids=["one lab", "all labs"])
async def test_an_index_that_another_interface_has_by_now(
    make_kernel: KernelFactory, beside: str, lab_name: str | None
) -> None:
    kernel = make_kernel("a", "b", "c", "d")
    if beside == "a stranger in the group":
        kernel["a"].add("s0", group=group_of("lab"))
    pairs = [*(("a", "b") for _ in range(9)), ("c", "d")]
    topology = lab([{"endpoints": [f"{one}:e{n}", f"{other}:e{n}"]} for n, (one, other) in enumerate(pairs)])
    await apply_and_count(kernel, topology)
    kernel.__class__ = Thief
    kernel.stolen = []  # type: ignore[attr-defined]

    def progress(stage: str, done: int, total: int) -> None:
        kernel.steals = stage == "survey" and done == total  # type: ignore[attr-defined]

    result = await destroy(lab_name, kernel=kernel, jobs=1, progress=progress)
    assert (result.status, result.errors) == ("destroyed", [])
    stolen = kernel.stolen  # type: ignore[attr-defined]
    assert stolen
    left = {link for name in "abcd" for link in kernel.links_of(name)}
    assert left - {"s0"} == set(stolen)


async def test_links_of_an_inhabited_namespace_are_deleted_explicitly(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a")
    await apply_and_count(kernel, lab([{"endpoints": ["a:e0", "c:e0"]}, {"endpoints": ["c:e1", "d:e0"]}]))
    inhabited = kernel["c"]
    inhabited.inhabited = True
    result = await destroy("lab", kernel=kernel)
    assert result.links == {"removed": 2, "failed": 0}
    assert sorted(kernel.removed) == ["c", "d"]
    assert list(inhabited.links) == [1]
    assert kernel.links_of("a") == []
    assert result.notes == ["namespace c has lost its name, but lives on until the processes in it end"]


class Hindered(FakeKernel):
    """A namespace whose interfaces change so fast that no dump of them is consistent."""

    def dump(self, handle, request):  # type: ignore[no-untyped-def]
        found = super().dump(handle, request)
        if handle.identity == self["tenant"].identity and request.type == RTM_GETLINK:
            raise UnreadableError(errno.EBUSY, "too fast", found)
        return found


async def test_a_namespace_that_its_owner_hinders_us_to_read_is_a_note(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b", "tenant")
    await apply_and_count(kernel, lab([{"endpoints": ["a:e0", "b:e0"]}]))
    kernel.__class__ = Hindered
    kernel.namespaces["/proc/7/ns/net"] = kernel["tenant"]
    unseen: dict[str, OSError] = {}
    notes: list[str] = []
    assert len(await inspect("lab", kernel=kernel, unseen=unseen, notes=notes)) == 1
    assert unseen == {}
    result = await destroy("lab", kernel=kernel)
    assert (result.status, result.errors) == ("destroyed", [])
    assert (
        result.notes == notes == ["namespace tenant was passed over: too fast; nothing of the lab lab was seen in it"]
    )


@pytest.mark.parametrize("sign", ["a mark", "the file", "the namespace's mark"])
async def test_where_the_lab_is_known_to_be_a_hindrance_is_an_error(make_kernel: KernelFactory, sign: str) -> None:
    kernel = make_kernel("a", "tenant")
    topology = lab([{"endpoints": ["a:e0", "tenant:e0"]}])
    if sign == "a mark":
        await apply_and_count(kernel, topology)
    elif sign == "the namespace's mark":
        kernel["tenant"].links[1].alias = "kokofast:lab:namespace"
    kernel.__class__ = Hindered
    unseen: dict[str, OSError] = {}
    await inspect("lab", kernel=kernel, unseen=unseen)
    assert set(unseen) == (set() if sign == "the file" else {"tenant"})
    result = await destroy("lab", kernel=kernel, topology=topology if sign == "the file" else None)
    assert result.status == "partial"
    assert [str(failure) for failure in result.errors] == ["tenant: the namespace cannot be looked into: too fast"]
    assert [note for note in result.notes if "passed over" in note] == []


async def test_a_link_to_a_namespace_without_a_name_goes_with_its_other_end(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    await apply_and_count(kernel, star(3))
    hidden = kernel.namespaces.pop("/run/netns/b")
    result = await destroy("lab", kernel=kernel)
    assert result.links["removed"] == 3
    assert list(hidden.links) == [1]


async def test_claims_of_this_lab_go(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a")
    kernel.claims = {
        "/run/netns/mine": "kokofast:lab:namespace",
        "/run/netns/other": "kokofast:other:namespace",
    }
    result = await destroy("lab", kernel=kernel)
    assert result.status == "destroyed"
    assert result.namespaces["removed"] == 1
    assert list(kernel.claims) == ["/run/netns/other"]
    await destroy(None, kernel=kernel)
    assert kernel.claims == {}


async def test_a_claim_that_cannot_be_removed_is_told(make_kernel: KernelFactory) -> None:
    class Kernel(FakeKernel):
        def remove(self, name: str, expected: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

    kernel = make_kernel()
    kernel.claims = {"/run/netns/mine": "kokofast:lab:namespace"}
    kernel.__class__ = Kernel
    result = await destroy("lab", kernel=kernel)
    assert result.status == "partial"
    assert [(error.source, error.errno) for error in result.errors] == [("mine", errno.EROFS)]
    assert result.namespaces == {"removed": 0, "failed": 1}


async def test_a_refused_deletion_is_told_and_the_others_are_made(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b", "c", "d")
    await apply_and_count(kernel, lab([{"endpoints": ["a:e0", "b:e0"]}, {"endpoints": ["c:e0", "d:e0"]}]))
    kernel.refuse = dict.fromkeys((1, 2), errno.EPERM)  # what fails is tried once more
    result = await destroy("lab", kernel=kernel, jobs=1)
    assert result.status == "partial"
    assert result.links == {"removed": 1, "failed": 1}
    (error,) = result.errors
    assert error.errno == errno.EPERM
    assert error.source in {"a", "b", "c", "d"}


@pytest.mark.parametrize("gone", [errno.ENODEV, errno.ENOENT])
async def test_what_is_gone_already_is_not_an_error(make_kernel: KernelFactory, gone: int) -> None:
    kernel = make_kernel("a", "b")
    await apply_and_count(kernel, star(3))
    kernel.refuse[1] = gone
    result = await destroy("lab", kernel=kernel)
    assert result.errors == []


@pytest.mark.parametrize("after", range(2, 12))
async def test_half_made_links_are_found_and_counted(make_kernel: KernelFactory, after: int) -> None:
    kernel = make_kernel("a", "b")
    topology = star(3)

    class Killed(BaseException):
        pass

    def kill(_: Request) -> None:
        if len(kernel.requests) > after:
            raise Killed

    kernel.before = kill
    with pytest.RaisesGroup(Killed, allow_unwrapped=True, flatten_subgroups=True):
        await apply(topology, kernel=kernel, jobs=1)
    kernel.before = None
    assert kernel.links_of("a")
    count = len(kernel.links_of("a"))
    assert len(await inspect(kernel=kernel)) == count
    if after == 2:
        assert [link.lab for link in await inspect(kernel=kernel)] == [""] * count
    await destroy("another", kernel=kernel)
    assert kernel.links_of("a")
    result = await destroy("lab", kernel=kernel)
    assert result.links == {"removed": count, "failed": 0}
    assert kernel.links_of("a") == []


async def test_the_file_leads_to_namespaces_that_nothing_else_does(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a")
    kernel.namespaces["/somewhere/ns"] = kernel._new()
    nodes = {"far": {"path": "/somewhere/ns"}, "near": {"path": "/somewhere/ns"}}
    topology = lab([{"endpoints": ["far:e0", "near:e1"]}], nodes=nodes)
    await apply_and_count(kernel, topology)
    assert (await destroy("lab", kernel=kernel)).status == "unchanged"
    assert (await destroy("lab", topology=topology, kernel=kernel)).links["removed"] == 1


async def test_nodes_of_an_unsupported_kind_do_not_stop_destroy(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    await apply_and_count(kernel, star(1))
    topology = lab([{"endpoints": ["x:e0", "a:e0"]}], nodes={"x": {"docker": "one"}})
    assert (await destroy("lab", topology=topology, kernel=kernel)).links["removed"] == 1


async def test_inspect(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    kernel["a"].add("s0", group=group_of("lab"))
    await apply_and_count(kernel, lab(BEFORE), lab([{"endpoints": ["a:x", "b:x"]}], name="other"))
    seen = await inspect("lab", kernel=kernel)
    (found,) = [link.as_dict() for link in seen]
    assert (found["lab"], found["type"]) == ("lab", "veth")
    ends = found["endpoints"]
    assert isinstance(ends, list)
    assert sorted((end["node"], end["interface"], end["mtu"], end["up"]) for end in ends) == [
        ("a", "e0", 1400, True),
        ("b", "e0", 1400, True),
    ]
    assert sorted(address for end in ends for address in end["addresses"]) == [
        "10.0.0.1/24",
        "10.0.0.2/24",
        "2001:db8::1/64",
    ]
    assert sorted(link.lab for link in await inspect(kernel=kernel)) == ["lab", "other"]
    assert kernel.requests == []


async def test_links_of_namespaces_that_cannot_be_removed_are_deleted_and_counted(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel()
    await apply_and_count(kernel, chain(4))
    remove = kernel.remove

    def refuse(name: str, expected: tuple[int, int] | None) -> None:
        if name in ("n1", "n2", "n3"):
            raise PermissionError(errno.EACCES, "not yours")
        remove(name, expected)

    monkeypatch.setattr(kernel, "remove", refuse)
    result = await destroy("lab", kernel=kernel)
    assert (result.status, sorted(error.source for error in result.errors)) == ("partial", ["n1", "n2", "n3"])
    assert {error.message for error in result.errors} == {"the namespace cannot be removed: not yours"}
    assert (result.links, result.namespaces) == ({"removed": 4, "failed": 0}, {"removed": 2, "failed": 3})
    assert [kernel.links_of(name) for name in ("n1", "n2", "n3")] == [[], [], []]
    # n0 and n4 took their links along; what is between the others took one request, in n2.
    assert len(deletions(kernel)) == 1


async def test_links_that_cannot_be_deleted_either_are_not_counted_as_removed(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel()
    await apply_and_count(kernel, chain(2))

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "not yours")

    monkeypatch.setattr(kernel, "remove", refuse)
    kernel.refuse = dict.fromkeys(range(1, 20), errno.EPERM)
    result = await destroy("lab", kernel=kernel)
    assert (result.links, result.namespaces) == ({"removed": 0, "failed": 2}, {"removed": 0, "failed": 3})
    assert len(result.errors) == 5
    kernel.refuse = {}


async def test_inspect_tells_what_it_cannot_see(make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = make_kernel()
    await apply_and_count(kernel, chain(2))
    open_all = kernel.open_all

    def refuse(paths: Sequence[str]) -> list[Handle | OSError]:
        denied = PermissionError(errno.EPERM, "Operation not permitted")
        return [denied if path.endswith("/n2") else item for path, item in zip(paths, open_all(paths), strict=True)]

    monkeypatch.setattr(kernel, "open_all", refuse)
    unseen: dict[str, OSError] = {}
    assert len(await inspect("lab", kernel=kernel, unseen=unseen)) == 2
    assert {name: error.errno for name, error in unseen.items()} == {"n2": errno.EPERM}


async def test_links_in_namespaces_that_something_holds_are_deleted(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    await apply_and_count(kernel, chain(6))
    held = [kernel[f"n{number}"] for number in (2, 3, 4)]
    for namespace in held:
        namespace.held = True
    result = await destroy("lab", kernel=kernel)
    assert (result.status, result.errors) == ("destroyed", [])
    assert (result.links, result.namespaces) == ({"removed": 6, "failed": 0}, {"removed": 7, "failed": 0})
    assert [note for note in result.notes if "lives on" in note] == [
        note for name in ("n2", "n3", "n4") for note in result.notes if f"namespace {name} " in note
    ]
    assert [sorted(namespace.links) for namespace in held] == [[1]] * 3
    # What else ends takes its links along: only those between two that are held are asked for.
    assert len(deletions(kernel)) == 1


async def test_where_nothing_tells_what_is_held_links_are_deleted_first(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    await apply_and_count(kernel, chain(6))
    kernel.unwatchable = True
    held = kernel["n3"]
    held.held = True
    result = await destroy("lab", kernel=kernel)
    assert (result.status, result.errors) == ("destroyed", [])
    assert (result.links, result.namespaces) == ({"removed": 6, "failed": 0}, {"removed": 7, "failed": 0})
    assert list(held.links) == [1]
    assert kernel.requests.index(deletions(kernel)[-1]) == len(kernel.requests) - 1


async def test_what_is_taken_back_leaves_no_link_in_what_something_holds(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    made: list[FakeNamespace] = []

    def hold(request: Request) -> None:
        if not made:
            made.extend(kernel[name] for name in kernel.made)
            for namespace in made:
                namespace.held = True

    kernel.before = hold
    kernel.refuse[6] = errno.EPERM
    result = await apply(chain(3), kernel=kernel)
    assert made
    assert [list(namespace.links) for namespace in made] == [[1]] * len(made)
    assert (result.status, result.left) == ("rolled_back", [])
    assert len([line for line in result.notes if "lives on" in line]) == len(made)


async def test_who_is_stopped_leaves_no_link_in_what_has_lost_its_name(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    await apply_and_count(kernel, chain(REMOVE_CHUNK + 20))
    held = [kernel[f"n{number}"] for number in range(REMOVE_CHUNK + 21)]
    for namespace in held:
        namespace.held = True
    token = trio.lowlevel.current_trio_token()
    with trio.CancelScope() as scope:
        take_name = kernel.remove

        def stop(name: str, expected: tuple[int, int] | None) -> None:
            trio.from_thread.run_sync(scope.cancel, trio_token=token)
            take_name(name, expected)

        kernel.remove = stop  # type: ignore[method-assign]
        await destroy("lab", kernel=kernel)
    assert scope.cancelled_caught
    _assert_stopped_early_and_clean(kernel, held)


async def test_who_is_stopped_sends_no_further_deletion_of_a_chunk(make_kernel: KernelFactory) -> None:
    kernel = make_kernel(*(f"n{number}" for number in range(21)))
    await apply_and_count(kernel, chain(20))
    with pytest.raises(Stopped):
        drive(destroy("lab", kernel=kernel, driver=InlineDriver(StopWhen(lambda: bool(deletions(kernel))))))
    assert len(deletions(kernel)) == 1


async def test_so_does_a_run_without_an_event_loop(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    await apply_and_count(kernel, chain(REMOVE_CHUNK + 20))
    held = [kernel[f"n{number}"] for number in range(REMOVE_CHUNK + 21)]
    for namespace in held:
        namespace.held = True
    kernel.removed.clear()
    with pytest.raises(Stopped):
        drive(destroy("lab", kernel=kernel, driver=InlineDriver(StopWhen(lambda: bool(kernel.removed)))))
    _assert_stopped_early_and_clean(kernel, held)


def _assert_stopped_early_and_clean(kernel: FakeKernel, held: list[FakeNamespace]) -> None:
    nameless = [namespace for namespace in held if namespace not in kernel.namespaces.values()]
    assert 0 < len(nameless) < len(held)
    peers = [link.peer[0] for namespace in nameless for link in namespace.links.values() if link.peer is not None]
    # What has its other end in a namespace with a name is found by the next destroy.
    assert [peer for peer in peers if peer in nameless] == []


async def test_of_many_namespaces_one_of_each_link_is_watched(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    await apply_and_count(kernel, chain(130))
    held = [kernel[f"n{number}"] for number in range(50, 80)]
    for namespace in held:
        namespace.held = True
    result = await destroy("lab", kernel=kernel)
    assert (result.status, result.errors) == ("destroyed", [])
    assert (result.links, result.namespaces) == ({"removed": 130, "failed": 0}, {"removed": 131, "failed": 0})
    assert [sorted(namespace.links) for namespace in held] == [[1]] * 30
    assert len(kernel.watched) <= 66


def move(kernel: FakeKernel, ifname: str, origin: str, target: str) -> None:
    """As ``ip link set netns``: number, marks and peer stay."""
    link = kernel[origin].by_name(ifname)
    assert link is not None
    del kernel[origin].links[link.index]
    kernel[target].links[link.index] = link
    if link.peer is not None:
        other, index = link.peer
        other.links[index].peer = kernel[target], link.index


def after_the_look(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Has something happen when destroy has looked at all, and deleted nothing yet."""
    look = scene.scan

    async def look_and_act(*arguments: Any, **options: Any) -> Scene:
        found = await look(*arguments, **options)
        act()
        return found

    monkeypatch.setattr("kokofast.engine.destroy.scan", look_and_act)


@pytest.mark.parametrize("create", [False, True], ids=["namespaces that stay", "one that goes"])
async def test_a_link_that_was_moved_since_the_look_is_looked_for_again(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch, create: bool
) -> None:
    kernel = make_kernel("a", "b", "c", "d") if not create else make_kernel("b", "c", "d")
    topology = lab([{"endpoints": ["a:e0", "b:e0"]}, {"endpoints": ["a:e1", "b:e1"]}])
    await apply_and_count(kernel, topology)

    def move_both() -> None:
        move(kernel, "e0", "a", "c")
        move(kernel, "e0", "b", "d")

    after_the_look(monkeypatch, move_both)
    result = await destroy("lab", kernel=kernel)
    assert (result.status, result.errors) == ("destroyed", [])
    assert result.links == {"removed": 2, "failed": 0}
    assert kernel.links_of("c") == kernel.links_of("d") == kernel.links_of("b") == []


async def test_a_link_that_is_moved_on_and_on_is_not_counted_as_removed(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel("a", "b", "c", "d")
    await apply_and_count(kernel, lab([{"endpoints": ["a:e0", "b:e0"]}]))
    steps = itertools.cycle([("a", "b", "c", "d"), ("c", "d", "a", "b")])
    look = scene.scan

    async def look_and_move(*arguments: object, **options: object) -> Scene:
        found = await look(*arguments, **options)  # type: ignore[arg-type]
        a, b, c, d = next(steps)
        move(kernel, "e0", a, c)
        move(kernel, "e0", b, d)
        return found

    for module in ("destroy", "tear_down"):
        monkeypatch.setattr(f"kokofast.engine.{module}.scan", look_and_move)
    result = await destroy("lab", kernel=kernel)
    assert result.status == "partial"
    assert result.links == {"removed": 0, "failed": 1}
    (error,) = result.errors
    assert "it was moved to another namespace during its deletion" in error.message
    assert kernel.links_of("a") == kernel.links_of("b") == ["e0"]


async def test_a_link_that_was_moved_and_then_ended_by_itself_is_gone(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the namespace of one end is removed, and the kernel ends both ends meanwhile."""
    kernel = make_kernel("a", "b", "c", "d")
    await apply_and_count(kernel, lab([{"endpoints": ["a:e0", "b:e0"]}]))
    look = scene.scan
    looks = 0

    async def look_and_act(*arguments: object, **options: object) -> Scene:
        nonlocal looks
        looks += 1
        found = await look(*arguments, **options)  # type: ignore[arg-type]
        if looks == 1:
            move(kernel, "e0", "a", "c")
            move(kernel, "e0", "b", "d")
        elif looks == 2:
            for name in "cd":
                link = kernel[name].by_name("e0")
                assert link is not None
                del kernel[name].links[link.index]
        return found

    for module in ("destroy", "tear_down"):
        monkeypatch.setattr(f"kokofast.engine.{module}.scan", look_and_act)
    result = await destroy("lab", kernel=kernel)
    assert (result.links, result.errors, looks) == ({"removed": 1, "failed": 0}, [], 3)


async def test_a_link_that_somebody_deleted_since_the_look_is_gone(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel("a", "b")
    await apply_and_count(kernel, lab([{"endpoints": ["a:e0", "b:e0"]}]))

    def delete() -> None:
        for name in "ab":
            link = kernel[name].by_name("e0")
            assert link is not None
            del kernel[name].links[link.index]

    after_the_look(monkeypatch, delete)
    result = await destroy("lab", kernel=kernel)
    assert result.links == {"removed": 1, "failed": 0}
    assert result.errors == []


async def test_no_second_look_where_all_was_found(make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = make_kernel(*"abcdef")
    links: list[dict[str, object]] = [
        {"endpoints": [f"{a}:{b}", f"{b}:{a}"]} for a, b in itertools.combinations("abcdef", 2)
    ]
    await apply_and_count(kernel, lab(links))
    monkeypatch.setattr("kokofast.engine.tear_down.scan", None)
    result = await destroy("lab", kernel=kernel)
    assert result.links == {"removed": 15, "failed": 0}


async def test_the_look_for_what_others_would_lose_has_an_end(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel("a", "b")
    await apply_and_count(kernel, lab([{"endpoints": ["a:e0", "b:e0"]}]))
    kernel["a"].add("mv0", group=group_of("other"), alias="kokofast:other:a:mv0")
    asked: list[Request] = []
    dump = kernel.dump

    def note(handle: Handle, request: Request) -> list[Message]:
        asked.append(request)
        return dump(handle, request)

    monkeypatch.setattr(kernel, "dump", note)
    assert (await destroy("lab", kernel=kernel)).status == "destroyed"
    *looks, _ = [request.accept for request in asked if request.type == RTM_GETLINK]  # the last one: of the deletion
    assert len(looks) == 4
    assert all(isinstance(getattr(accept, "__self__", None), Patience) for accept in looks)
