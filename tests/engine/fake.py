"""A kernel in memory, with the interface of host.kernel.Kernel, that does what a test tells it to.

It interprets requests as rtnetlink does as far as the engine can tell the difference. Faults are planned by the number
of the request, counted from 1 over all sends: refuse[k] = errno, lose[k] = whether the request was carried out before
its answer was lost (OSError), hold[k] = an Event to wait for before it is carried out.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from kokofast.engine.observe import interface_of
from kokofast.host.kernel import Handle, Kernel
from kokofast.plan.observed import Namespace
from kokofast.plan.ownership import lab_of
from kokofast.wire.addr import AF_INET6, IFA_F_PERMANENT, RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR
from kokofast.wire.link import IFF_LOWER_UP, IFF_UP, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK
from kokofast.wire.message import NLM_F_REPLACE, KernelError, Message, Request
from kokofast.wire.route import RT_TABLE_MAIN, RTM_DELROUTE, RTM_GETROUTE, RTM_NEWROUTE, RTPROT_KERNEL
from kokofast.wire.tc import RTM_GETQDISC, RTM_GETTFILTER
from tests.engine.fake_filters import CHANGES, FakeFilters

if TYPE_CHECKING:
    from kokofast.wire.attributes import Resolve

BOOT = "00000000-fake-boot"
PATIENCE = 20.0  # a test that would hang for ever fails instead

Identity = tuple[int, int]

_AT_CREATION = ("address", "broadcast", "mtu", "txqlen")


class FakeLink:
    """An interface. addresses maps (family, packed, prefixlen) to IFA_PROTO."""

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name
        self.group = 0
        self.alias = ""
        self.kind = ""
        self.mac = bytes(6)
        self.broadcast = b"\xff" * 6
        self.mtu = 1500
        self.txqlen = 1000
        self.queues = 1
        self.up = False
        self.peer: tuple[FakeNamespace, int] | None = None
        self.addresses: dict[tuple[int, bytes, int], bytes] = {}
        self.control = FakeFilters()

    def state(self) -> dict[str, object]:
        """Everything that can be seen of it, to be compared."""
        peer = None if self.peer is None else (self.peer[0].identity, self.peer[1])
        return {**self.__dict__, "peer": peer, "addresses": dict(sorted(self.addresses.items()))}


class FakeNamespace:
    """A network namespace: its interfaces by index, where IPv6 is off, and whether a process lives in it, or something
    that nobody sees holds it."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.links: dict[int, FakeLink] = {1: FakeLink(1, "lo")}
        self.ipv6_off = False
        self.ipv6_on: set[str] = set()
        self.inhabited = False
        self.held = False
        self.routes: list[int] = []  # the interfaces that have one, of IPv6

    def by_name(self, name: str) -> FakeLink | None:
        return next((link for link in self.links.values() if link.name == name), None)

    def add(self, name: str, *, index: int | None = None, group: int = 0, alias: str = "") -> FakeLink:
        """An interface of somebody else."""
        link = FakeLink(index if index is not None else max(self.links) + 1, name)
        link.group, link.alias = group, alias
        self.links[link.index] = link
        return link

    def state(self) -> dict[str, object]:
        return {link.name: link.state() for link in self.links.values()}


class FakeKernel(Kernel):
    """namespaces has the files that lead to a namespace, claims those that a killed run left without one."""

    def __init__(self, *names: str, budget: int = 1000) -> None:
        self.budget = budget
        self.namespaces: dict[str, FakeNamespace] = {}
        self.claims: dict[str, str] = {}
        self.refuse: dict[int, int] = {}
        self.lose: dict[int, bool] = {}
        self.hold: dict[int, threading.Event] = {}
        self.refuse_to_make: dict[int, OSError] = {}
        self.before: Callable[[Request], None] | None = None  # a look at each request, to meddle
        self.held = threading.Event()
        self.requests: list[Request] = []
        self.sends = 0
        self.whole = 1 << 20  # how many requests may go by one send
        self.made: list[str] = []
        self.removed: list[str] = []
        self.sysctls: list[tuple[str, str]] = []
        self.closed = False
        self.unwatchable = False
        self.watched: set[Identity] = set()
        self._count = 0
        self._numbers = 0
        self._world = threading.RLock()
        self._fds: dict[int, FakeNamespace] = {}
        self._of: dict[Identity, FakeNamespace] = {}
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

    def nsid(self, handle: Handle, other: Handle) -> int | None:
        raise OSError(errno.EOPNOTSUPP, "not told here")

    def write_sysctl(self, handle: Handle, path: str, value: str) -> str:
        self.sysctls.append((path, value))
        if path.endswith("/disable_ipv6") and value == "0":
            self._of[handle.identity].ipv6_on.add(path.split("/")[2])
        return "0"

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
        return [self._one(self._of[handle.identity], request, resolve) for request in requests]

    def dump(self, handle: Handle, request: Request) -> list[Message]:
        namespace = self._of[handle.identity]
        with self._world:
            if request.type == RTM_GETLINK:
                return [_link_message(link) for link in namespace.links.values()]
            if request.type == RTM_GETROUTE:
                return [_route_message(index) for index in namespace.routes]
            if request.type == RTM_GETQDISC:
                return [
                    message for link in namespace.links.values() for message in link.control.show_qdiscs(link.index)
                ]
            if request.type == RTM_GETTFILTER:
                index, parent, info = (cast("int", request.header.get(name, 0)) for name in ("index", "parent", "info"))
                return (
                    namespace.links[index].control.show_filters(index, parent, info) if index in namespace.links else []
                )
            assert request.type == RTM_GETADDR, request
            return [
                _address_message(link.index, key, proto)
                for link in namespace.links.values()
                for key, proto in link.addresses.items()
            ]

    def ask(self, handle: Handle, request: Request) -> list[Message]:
        assert request.type in (RTM_GETLINK, RTM_GETQDISC), request
        with self._world:
            index = request.header["index"]
            assert isinstance(index, int)
            link = self._of[handle.identity].links.get(index)
            if link is None:
                raise KernelError(errno.ENODEV)
            if request.type == RTM_GETQDISC:
                return link.control.show_qdiscs(index, cast("int", request.header["parent"]))
            return [_link_message(link)]

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
                return KernelError(code)
            carried_out = self.lose.pop(number, None)
            if carried_out is False:
                raise OSError(errno.ENOBUFS, "No buffer space available")
            answer = self._carry_out(namespace, request, _resolved(request.header, resolve), resolve)
            if carried_out:
                raise OSError(errno.ETIMEDOUT, "the answer was lost")
            return answer

    def _carry_out(
        self, namespace: FakeNamespace, request: Request, header: dict[str, Any], resolve: Resolve | None
    ) -> KernelError | None:
        attributes = _resolved(request.attributes, resolve)
        if request.type == RTM_NEWLINK:
            return self._create(header, attributes, resolve)
        if request.type == RTM_DELLINK:
            return self._delete(namespace, header, attributes)
        if request.type == RTM_DELROUTE:
            if attributes["oif"] not in namespace.routes:
                return KernelError(errno.ESRCH)
            namespace.routes.remove(attributes["oif"])
            return None
        link = namespace.links.get(header["index"])
        if link is None:
            return KernelError(errno.ENODEV)
        if request.type in CHANGES:
            return link.control.carry_out(request.type, header, attributes)
        if request.type == RTM_SETLINK:
            return self._set(link, header, attributes)
        assert request.type in (RTM_NEWADDR, RTM_DELADDR), request
        key = header["family"], attributes["local"], header["prefixlen"]
        if request.type == RTM_DELADDR:
            return None if link.addresses.pop(key, None) is not None else KernelError(errno.EADDRNOTAVAIL)
        if header["family"] == AF_INET6 and namespace.ipv6_off and link.name not in namespace.ipv6_on:
            return KernelError(errno.EACCES, "IPv6 is disabled on this device")
        if key in link.addresses and not request.flags & NLM_F_REPLACE:
            return KernelError(errno.EEXIST)
        link.addresses[key] = attributes["proto"]
        return None

    def _create(
        self, header: dict[str, Any], attributes: dict[str, Any], resolve: Resolve | None
    ) -> KernelError | None:
        peer = dict(attributes["linkinfo"]["data"]["peer"])
        peer_header = _resolved(peer.pop("header"), resolve)
        ends = [(header, attributes), (peer_header, _resolved(peer, resolve))]
        made: list[tuple[FakeNamespace, FakeLink]] = []
        for position, (head, fields) in enumerate(ends):
            namespace = self._fds[fields["net_ns_fd"]]
            within = ("linkinfo", "data", "peer") if position else ()
            if not 68 <= fields.get("mtu", 1500) <= 65535:
                return KernelError(errno.EINVAL, "MTU must be between 68 and 65535", (*within, "mtu"))
            if head["index"] in namespace.links:
                return KernelError(errno.EBUSY if position else errno.EEXIST)  # as Linux 6.18 does
            if namespace.by_name(fields["ifname"]) is not None:
                return KernelError(errno.EEXIST)
            link = FakeLink(head["index"], fields["ifname"])
            link.kind = attributes["linkinfo"]["kind"]
            link.group = fields["group"]
            link.queues = fields.get("num_tx_queues", 2)
            self._set(link, {"change": 0}, {name: fields[name] for name in _AT_CREATION if name in fields})
            seen = interface_of(_link_message(link))
            assert lab_of(seen, Namespace(namespace.identity), BOOT) == "", f"{fields} does not bear our mark"
            made.append((namespace, link))
        for namespace, link in made:
            namespace.links[link.index] = link
        made[0][1].peer = made[1][0], made[1][1].index
        made[1][1].peer = made[0][0], made[0][1].index
        return None

    @staticmethod
    def _set(link: FakeLink, header: dict[str, Any], attributes: dict[str, Any]) -> KernelError | None:
        for name, value in attributes.items():
            setattr(link, {"ifalias": "alias", "address": "mac"}.get(name, name), value)
        if header.get("change", 0) & IFF_UP:
            link.up = bool(header["flags"] & IFF_UP)
        return None

    def _delete(
        self, namespace: FakeNamespace, header: dict[str, Any], attributes: dict[str, Any]
    ) -> KernelError | None:
        if header.get("index"):
            doomed = [link for link in namespace.links.values() if link.index == header["index"]]
        else:
            doomed = [link for link in namespace.links.values() if link.group == attributes["group"]]
        for link in doomed:
            self._unlink(namespace, link)
        return None if doomed else KernelError(errno.ENODEV)

    def _unlink(self, namespace: FakeNamespace, link: FakeLink) -> None:
        namespace.links.pop(link.index, None)
        if link.peer is not None:
            link.peer[0].links.pop(link.peer[1], None)


def _resolved(values: Mapping[Any, Any], resolve: Resolve | None) -> dict[str, Any]:
    known = (int, str, bytes, dict)
    return {
        name: value if isinstance(value, known) or resolve is None else resolve(value) for name, value in values.items()
    }


def _link_message(link: FakeLink) -> Message:
    attributes: dict[str, Any] = {
        "ifname": link.name,
        "group": link.group,
        "address": link.mac,
        "broadcast": link.broadcast,
        "mtu": link.mtu,
        "txqlen": link.txqlen,
        "num_tx_queues": link.queues,
    }
    if link.alias:
        attributes["ifalias"] = link.alias
    if link.kind:
        attributes["linkinfo"] = {"kind": link.kind}
    if link.peer is not None:
        attributes["link"] = link.peer[1]
    flags = IFF_UP | IFF_LOWER_UP if link.up else 0
    return Message(RTM_NEWLINK, 0, 0, 0, {"index": link.index, "flags": flags}, attributes)


def _route_message(index: int) -> Message:
    header = {
        **{"family": AF_INET6, "dst_len": 64, "src_len": 0, "table": RT_TABLE_MAIN},
        **{"protocol": RTPROT_KERNEL, "flags": 4},
    }
    return Message(RTM_NEWROUTE, 0, 0, 0, header, {"dst": b"\xfe\x80" + bytes(14), "oif": index, "priority": 256})


def _address_message(index: int, key: tuple[int, bytes, int], proto: bytes) -> Message:
    family, packed, prefixlen = key
    attributes: dict[str, Any] = {"local": packed, "flags": IFA_F_PERMANENT}
    if proto:
        attributes["proto"] = proto
    return Message(RTM_NEWADDR, 0, 0, 0, {"family": family, "prefixlen": prefixlen, "index": index}, attributes)
