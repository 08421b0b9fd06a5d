"""A kernel in memory that answers as Linux does, and does what a test tells it to.

It interprets requests as rtnetlink does as far as the engine can tell the difference; test_fake_is_true.py compares.
Faults are planned by the number of the request, counted from 1 over all sends: refuse[k] = errno or the whole refusal,
lose[k] = whether the request was carried out before its answer was lost (OSError), hold[k] = an Event to wait for
before it is carried out.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from kokofast.host.kernel import Handle
from kokofast.host.sysctls import NetSysctls
from kokofast.wire.addr import AF_INET, AF_INET6, RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR
from kokofast.wire.ethtool import ETHTOOL
from kokofast.wire.link import (
    AF_BRIDGE,
    RTM_DELLINK,
    RTM_DELLINKPROP,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_NEWLINKPROP,
    RTM_SETLINK,
)
from kokofast.wire.message import NLM_F_ECHO, KernelError, Message, Request
from kokofast.wire.neigh import NTF_SELF, NUD_PERMANENT, RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH
from kokofast.wire.route import RTM_DELROUTE, RTM_GETROUTE, RTM_NEWROUTE
from kokofast.wire.tc import RTM_GETQDISC, RTM_GETTFILTER
from tests.engine.fake_filters import CHANGES
from tests.engine.fake_frames import FakeFrames
from tests.engine.fake_links import FakeLink, FakeLinks, FakeNamespace, Identity
from tests.wire.decoded import row_of

if TYPE_CHECKING:
    from kokofast.host.kernel import Trace
    from kokofast.wire.attributes import Resolve

T = TypeVar("T")

__all__ = ["BOOT", "FakeKernel", "FakeLink", "FakeNamespace", "Identity"]

BOOT = "00000000-fake-boot"
IPV6_OFF = "ipv6: IPv6 is disabled on this device"
PATIENCE = 20.0  # a test that would hang for ever fails instead

# What kernels may come without, and the one of the tests does. A test that needs them takes them out.
LACKS = ("matchall", "prio", "netem")


class LostAnswer(OSError):
    """A request was carried out, and nobody hears of it."""


class FakeKernel:
    """namespaces has the files that lead to a namespace, claims those that a killed run left without one."""

    trace: Trace | None = None
    waits: Callable[[str], object] | None = None

    def __init__(self, *names: str, budget: int = 1000) -> None:
        self.budget = budget
        self.namespaces: dict[str, FakeNamespace] = {}
        self.claims: dict[str, str] = {}
        self.refuse: dict[int, int | KernelError] = {}
        self.lose: dict[int, bool] = {}
        self.hold: dict[int, threading.Event] = {}
        self.refuse_to_make: dict[int, OSError] = {}
        self.before: Callable[[Request], None] | None = None  # a look at each request, to meddle
        self.refuse_if: Callable[[Request], None] | None = None  # raises KernelError
        self.before_sysctl: Callable[[str, str], None] | None = None  # may raise
        self.held = threading.Event()
        self.requests: list[Request] = []
        self.sends = 0
        self.generic_dumps = 0
        self.whole = 1 << 20  # how many requests may go by one send
        self.made: list[str] = []
        self.removed: list[str] = []
        self.sysctls: list[tuple[str, str]] = []
        self.closed = False
        self.frames: list[FakeFrames] = []
        self.before_frame: Callable[[FakeLink], None] | None = None  # a look at each frame that is sent, to meddle
        self.unwatchable = False
        self.watched: set[Identity] = set()
        self._count = 0
        self._numbers = 0
        self._world = threading.RLock()
        self._fds: dict[int, FakeNamespace] = {}
        self._of: dict[Identity, FakeNamespace] = {}
        self.rtnl = FakeLinks()
        self.rtnl.lacks.update(LACKS)
        self._scratch_handle = self._handle("(scratch)", self._new())
        for name in names:
            self.namespaces[f"/run/netns/{name}"] = self._new()
        self.namespaces["/proc/self/ns/net"] = self._new()

    # What tests look at

    def __getitem__(self, name: str) -> FakeNamespace:
        return self.namespaces[f"/run/netns/{name}"]

    def state(self) -> dict[str, object]:
        """All namespaces and what is in them, and all claims."""
        seen: dict[str, object] = {path: (item.identity, item.state()) for path, item in self.namespaces.items()}
        return {**seen, **self.claims}

    def count_from_here(self) -> None:
        """The next request is number 1."""
        self._count = 0
        self.requests.clear()
        self.sends = 0

    def fail(self, number: int, fault: int | bool) -> None:
        """Let this request be refused with an errno, or its answer be lost: of a request carried out (True) or not."""
        planned: dict[int, Any] = self.lose if isinstance(fault, bool) else self.refuse
        planned[number] = fault

    def links_of(self, name: str) -> list[str]:
        return sorted(link.name for link in self[name].links.values() if link.name != "lo")

    # The interface of Kernel

    @property
    def capacity(self) -> int:
        return self.budget

    def expect(self, namespaces: int) -> None:
        pass

    def boot_id(self) -> str:
        return BOOT

    def open_all(self, paths: Sequence[str]) -> list[Handle | OSError]:
        return [self._open_one(path) for path in paths]

    def _open_one(self, path: str) -> Handle | OSError:
        if path in self.claims:
            return OSError(errno.EINVAL, "not a network namespace", path)
        if path not in self.namespaces:
            return FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return self._handle(path, self.namespaces[path])

    @contextlib.contextmanager
    def using(self, handles: Sequence[Handle], *, to_ask: bool = True) -> Iterator[None]:
        for handle in handles:
            assert handle.fd in self._fds, f"{handle} is used after it was given up"
        yield

    def rewind(self) -> None:
        pass

    def forget(self, handle: Handle) -> None:
        if handle.fd is not None:
            self._fds.pop(handle.fd, None)

    def watch(self, handles: Sequence[Handle]) -> None:
        if self.unwatchable:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.watched.update(handle.identity for handle in handles)

    def watches(self, handle: Handle) -> bool:
        return handle.identity in self.watched

    def reach(self, handle: Handle) -> None:
        assert self.unwatchable or handle.identity in self.watched

    def outlived(self, handles: Sequence[Handle], *, patient: bool = True) -> list[Handle]:
        assert all(handle.identity in self.watched and handle.fd not in self._fds for handle in handles if patient)
        living = [handle for handle in handles if self._of[handle.identity].held or self._of[handle.identity].inhabited]
        for handle in living:
            assert handle.fd is not None
            self._fds[handle.fd] = self._of[handle.identity]
        return living

    def scratch(self) -> Handle:
        return self._scratch_handle

    def close(self) -> None:
        self.closed = True

    def open_frames(self, handles: Sequence[Handle], program: bytes) -> FakeFrames:
        self.frames.append(FakeFrames([self._of[handle.identity] for handle in handles], self))
        return self.frames[-1]

    def nsid(self, handle: Handle, other: Handle) -> int | None:
        return self._of[handle.identity].nsids.get(other.identity)

    def load_ipv6(self) -> None:
        pass

    def with_sysctls(self, handles: Sequence[Handle], job: Callable[[int, NetSysctls], T]) -> list[T | OSError]:
        results: list[T | OSError] = []
        for place, handle in enumerate(handles):
            try:
                results.append(job(place, FakeNetSysctls(self, self._of[handle.identity])))
            except OSError as error:
                results.append(error)
        return results

    def write_sysctl(self, handle: Handle, path: str, value: str) -> str:
        return FakeNetSysctls(self, self._of[handle.identity]).write(path, value)

    def write_in(self, namespace: FakeNamespace, path: str, value: str) -> str:
        with self._world:
            if self.before_sysctl is not None:
                self.before_sysctl(path, value)
            before = namespace.sysctls.read(path)
            if before != value:
                self.sysctls.append((path, value))
                namespace.sysctls.write(path, value)
            return before

    def make(self, jobs: Sequence[tuple[str, str]]) -> list[Handle | OSError | KernelError]:
        with self._world:
            return [self._make(name, alias) for name, alias in jobs]

    def _make(self, name: str, alias: str) -> Handle | OSError | KernelError:
        path = f"/run/netns/{name}"
        if (refusal := self.refuse_to_make.pop(len(self.made) + 1, None)) is not None:
            return refusal
        if path in self.namespaces or self.claims.get(path, alias) != alias:
            return FileExistsError(errno.EEXIST, "File exists", path)
        self.claims.pop(path, None)
        self.made.append(name)
        made = self.namespaces[path] = self._new()
        made.links[1].alias = alias
        made.links[1].up = True
        return self._handle(path, made)

    def misled(self, handle: Handle) -> OSError | None:
        there = self.namespaces.get(handle.path)
        if there is not None and there.identity == handle.identity:
            return None
        return OSError(errno.ESTALE, "the name leads elsewhere by now", handle.path)

    def replace(self, name: str) -> FakeNamespace:
        """Somebody else deletes a namespace, which lives on while it is held, and makes another of its name."""
        made = self.namespaces[f"/run/netns/{name}"] = self._new()
        return made

    def give_name(self, name: str, handle: Handle, claim: str) -> None:
        with self._world:
            path = f"/run/netns/{name}"
            if path in self.namespaces:
                raise FileExistsError(errno.EEXIST, "File exists", path)
            self.namespaces[path] = self._of[handle.identity]
            self.removed.remove(name)

    def remove(self, name: str, expected: Identity | None) -> None:
        path = f"/run/netns/{name}"
        with self._world:
            if expected is None:
                self.claims.pop(path, None)
                return
            if path not in self.namespaces:
                return
            if self.namespaces[path].identity != expected:
                raise OSError(errno.ESTALE, "the name leads to another namespace by now", path)
            gone = self.namespaces.pop(path)
            self.removed.append(name)
            if not gone.inhabited and not gone.held:
                for link in list(gone.links.values()):
                    self._unlink(gone, link)

    def send(
        self, handle: Handle, requests: Sequence[Request], resolve: Resolve | None = None, *, whole: bool = False
    ) -> list[KernelError | None]:
        if whole and len(requests) > self.whole:
            raise OSError(errno.EMSGSIZE, "Message too long")
        self.sends += 1
        answers: list[KernelError | None] = []
        lost: OSError | None = None
        for request in requests:
            try:
                answers.append(self._one(self._of[handle.identity], request, resolve))
            except LostAnswer as error:  # the kernel goes on all the same
                lost = error
        if lost is not None:
            raise lost
        return answers

    def send_generic(
        self, handle: Handle, requests: Sequence[Request], resolve: Resolve | None = None
    ) -> list[KernelError | None]:
        if "ethtool" in self.rtnl.lacks:
            return [KernelError(errno.EOPNOTSUPP, "there is no ethtool netlink") for _ in requests]
        return self.send(handle, requests, resolve)

    def dump_generic(self, handle: Handle, request: Request) -> list[Message]:
        if "ethtool" in self.rtnl.lacks:
            raise KernelError(errno.EOPNOTSUPP, "there is no ethtool netlink")
        self.generic_dumps += 1
        return self.dump(handle, request)

    def dump(self, handle: Handle, request: Request) -> list[Message]:
        with self._world:
            return [_as_asked(request, message) for message in self._dump(self._of[handle.identity], request)]

    def _dump(self, namespace: FakeNamespace, request: Request) -> list[Message]:
        links = list(namespace.links.values())
        if request.type == RTM_GETLINK:
            return [self.rtnl.show(namespace, link) for link in links]
        if request.type == ETHTOOL:
            return [self.rtnl.show_features(link) for link in links]
        if request.type == RTM_GETNEIGH:
            return [_entry(link.index, host) for link in links for host in link.remotes]
        if request.type == RTM_GETROUTE:
            return list(namespace.routes.show(request.header))
        if request.type == RTM_GETQDISC:
            return [message for link in links for message in link.control.show_qdiscs(link.index)]
        if request.type == RTM_GETTFILTER:
            index, parent, info = (_number(request, name) for name in ("index", "parent", "info"))
            found = namespace.links.get(index)
            return [] if found is None else found.control.show_filters(index, parent, info)
        assert request.type == RTM_GETADDR, request
        wanted = {name: _number(request, name) for name in ("family", "index")}
        shown = [message for link in links for message in link.addresses.show(link.index)]
        return [one for one in shown if all(wanted[name] in (0, one.header[name]) for name in wanted)]

    def ask(self, handle: Handle, request: Request) -> list[Message]:
        assert request.type in (RTM_GETLINK, RTM_GETQDISC), request
        with self._world:
            namespace, index = self._of[handle.identity], _number(request, "index")
            link = namespace.links.get(index)
            if link is None:
                raise KernelError(errno.ENODEV)
            if request.type == RTM_GETLINK:
                return [_as_asked(request, self.rtnl.show(namespace, link))]
            found = link.control.ask_qdisc(index, _number(request, "parent"))
            return [_as_asked(request, message) for message in found] if request.flags & NLM_F_ECHO else []

    # How requests are carried out

    def _new(self) -> FakeNamespace:
        self._numbers += 1
        namespace = FakeNamespace((4, self._numbers))
        self._of[namespace.identity] = namespace
        return namespace

    def _handle(self, path: str, namespace: FakeNamespace) -> Handle:
        self._numbers += 1
        handle = Handle(path, namespace.identity, self._numbers)
        self._fds[self._numbers] = namespace
        return handle

    def _one(self, namespace: FakeNamespace, request: Request, resolve: Resolve | None) -> KernelError | None:
        with self._world:
            self._count += 1
            number = self._count
            self.requests.append(request)
            if self.before is not None:
                self.before(request)
        gate = self.hold.pop(number, None)
        if gate is not None:
            self.held.set()
            assert gate.wait(PATIENCE), f"nobody lets request {number} go on"
        with self._world:
            code = self.refuse.pop(number, None)
            if code is not None:
                return code if isinstance(code, KernelError) else KernelError(code)
            carried_out = self.lose.pop(number, None)
            if carried_out is False:
                raise OSError(errno.ENOBUFS, "No buffer space available")
            answer: KernelError | None = None
            try:
                if self.refuse_if is not None:
                    self.refuse_if(request)
                header, attributes = _resolved(request.header, resolve), _resolved(request.attributes, resolve)
                self._carry_out(namespace, request, header, attributes)
            except KernelError as error:
                answer = error
            self._revive_routes()
            if carried_out:
                raise LostAnswer(errno.ETIMEDOUT, "the answer was lost")
            return answer

    def _carry_out(
        self, namespace: FakeNamespace, request: Request, header: dict[str, Any], attributes: dict[str, Any]
    ) -> None:
        if request.type == RTM_NEWLINK:
            self.rtnl.create(namespace, header, attributes, self._fds.__getitem__)
        elif request.type == RTM_DELLINK:
            self.rtnl.delete(namespace, header, attributes)
        elif request.type == RTM_SETLINK:
            self.rtnl.set(namespace, header, attributes)
        elif request.type == ETHTOOL:
            self.rtnl.set_features(namespace, attributes)
        elif request.type in (RTM_NEWLINKPROP, RTM_DELLINKPROP):
            self.rtnl.name(namespace, header, attributes, adds=request.type == RTM_NEWLINKPROP)
        elif request.type in (RTM_NEWNEIGH, RTM_DELNEIGH):
            self.rtnl.forward(namespace, header, attributes, adds=request.type == RTM_NEWNEIGH)
        elif request.type == RTM_NEWROUTE:
            namespace.routes.add(header, attributes, request.flags)
        elif request.type == RTM_DELROUTE:
            namespace.routes.remove(header, attributes)
        elif request.type in CHANGES:
            link = namespace.links.get(header["index"])
            if link is None:
                raise KernelError(errno.ENODEV)
            lacks, targets = self.rtnl.lacks, namespace.links
            link.control.carry_out(request.type, header, attributes, request.flags, lacks=lacks, indexes=targets)
        else:
            self._change_address(namespace, request, header, attributes)

    def _revive_routes(self) -> None:
        """IPv6 hears of an interface that is up when it has carrier."""
        for namespace in self._of.values():
            for index in namespace.routes.dead():
                link = namespace.links.get(index)
                is_ready = link is not None and link.up and link.has_ipv6 and namespace.is_ipv6_on(link)
                if link is not None and is_ready and self.rtnl.carrier(namespace, link):
                    namespace.routes.revive(index, AF_INET6)

    def _change_address(
        self, namespace: FakeNamespace, request: Request, header: dict[str, Any], attributes: dict[str, Any]
    ) -> None:
        assert request.type in (RTM_NEWADDR, RTM_DELADDR), request
        is_ipv6, length = header["family"] == AF_INET6, header["prefixlen"]
        if request.type == RTM_NEWADDR and length > (128 if is_ipv6 else 32):
            raise KernelError(errno.EINVAL, f"{'ipv6' if is_ipv6 else 'ipv4'}: Invalid prefix length")
        link = namespace.links.get(header["index"])
        if link is None:
            text = "ipv6: Unable to find the interface" if is_ipv6 else "ipv4: Device not found"
            raise KernelError(errno.ENODEV, text)
        if request.type == RTM_DELADDR:
            if is_ipv6 and not link.has_ipv6:
                raise KernelError(errno.ENXIO, IPV6_OFF)
            if not is_ipv6 and not link.has_ipv4:
                raise KernelError(errno.ENODEV, "ipv4: Device not found")
            promote = ("ipv4", "promote_secondaries") in link.sysctls
            link.addresses.remove(header, attributes, promote=promote)
            if not is_ipv6 and not link.addresses.of(AF_INET):  # fib_inetaddr_event()
                namespace.lose(link, "ipv4", is_gone=False)
            return
        if not (link.has_ipv6 if is_ipv6 else link.has_ipv4):
            raise KernelError(errno.EINVAL if is_ipv6 else errno.ENOBUFS)
        if is_ipv6 and not namespace.is_ipv6_on(link):
            raise KernelError(errno.EACCES, IPV6_OFF)
        kind = self.rtnl.kind_of(link)
        link.addresses.add(header, attributes, request.flags, lambda key: kind.check_ip(self.rtnl, link, key))
        if not is_ipv6 and link.up:
            namespace.routes.revive(link.index, AF_INET)

    def _unlink(self, namespace: FakeNamespace, link: FakeLink) -> None:
        self.rtnl.unlink(namespace, link)


def _resolved(values: Mapping[Any, Any], resolve: Resolve | None) -> dict[str, Any]:
    def inside(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: inside(item) for name, item in value.items()}
        return value if isinstance(value, (int, str, bytes, list)) or resolve is None else resolve(value)

    return {name: inside(value) for name, value in values.items()}


def _number(request: Request, name: str) -> int:
    value = request.header.get(name, 0)
    assert isinstance(value, int)
    return value


def _as_asked(request: Request, message: Message) -> Any:
    """The message without what the request does not want decoded, or its row."""
    if request.rows is not None:
        return row_of(request.rows, message)
    if request.where is not None and not request.where(message.header):
        message.attributes = {}
    if request.only is not None:
        message.attributes = {name: value for name, value in message.attributes.items() if name in request.only}
    return message


def _entry(index: int, host: tuple[bytes, int]) -> Message:
    header = {"family": AF_BRIDGE, "index": index, "state": NUD_PERMANENT, "flags": NTF_SELF, "type": 0}
    attributes: dict[Any, Any] = {"lladdr": bytes(6), "dst": host[0], **({"ifindex": host[1]} if host[1] else {})}
    return Message(RTM_NEWNEIGH, 0, 0, 0, header, attributes)


class FakeNetSysctls(NetSysctls):
    def __init__(self, kernel: FakeKernel, namespace: FakeNamespace) -> None:
        self._kernel = kernel
        self._namespace = namespace

    def write(self, path: str, value: str) -> str:
        return self._kernel.write_in(self._namespace, path, value)

    def read(self, paths: Iterable[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                found[path] = self._namespace.sysctls.read(path)
        return found

    def read_everywhere(self, family: str, key: str) -> dict[str, str]:
        names = ["default", *(link.name for link in self._namespace.links.values())]
        return self.read(f"{family}/conf/{name}/{key}" for name in names)
