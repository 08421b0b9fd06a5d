"""The fake kernel of the engine's tests answers as the kernel that runs here.

Both get the same requests, drawn by chance from a seed: their answers and all that they show have to be the same.
Kinds that the kernel here does not have are taken from the fake, too.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from kokofast.host.kernel import Handle, LinuxKernel
from kokofast.host.namespaces import make_scratch
from kokofast.ops import routers
from kokofast.ops.dumps import ADDRESSES, LINKS
from kokofast.ops.link_local import MODES
from kokofast.ops.remotes import list_remotes
from kokofast.wire import neigh, tc
from kokofast.wire.addr import AF_INET, AF_INET6, IFA_F_NODAD, RT_SCOPE_LINK, RTM_DELADDR, RTM_NEWADDR
from kokofast.wire.link import AF_BRIDGE, IFF_LOWER_UP, IFF_UP, RTM_DELLINK, RTM_NEWLINK, RTM_SETLINK
from kokofast.wire.message import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_ECHO,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    KernelError,
    Message,
    Request,
)
from kokofast.wire.route import RTM_DELROUTE, RTM_NEWROUTE, RTPROT_KOKOFAST, pack_hops, unpack_hops
from kokofast.wire.rows import Rows
from tests.engine.fake import FakeKernel, FakeLink, FakeNamespace
from tests.engine.fake_filters import CLASSIFIERS, MIRRED, QDISCS
from tests.engine.fake_kinds import KINDS
from tests.engine.fake_links import CHOSEN_MAC
from tests.engine.fake_routes import Route
from tests.vm.marker import IN_GUEST

if TYPE_CHECKING:
    from kokofast.host.kernel import Kernel

pytestmark = pytest.mark.usefixtures("requires_root")

SPACES = 3
REQUESTS = 80
SEEDS = range(8)
PATIENCE_SECONDS = 3  # carrier is passed on a moment later (net/core/link_watch.c)

# An older kernel has fewer words for a refusal, and looks for a collision where the request is sent from: only errno is
# compared there, and links are made where their request is sent from. Compared with are 6.18 and the guest's 6.1.
IS_OLD = tuple(map(int, os.uname().release.split(".")[:2])) < (6, 15)

assert isinstance(LINKS.rows, Rows)
SHOWN = Request(LINKS.type, LINKS.header, LINKS.attributes, only=LINKS.rows.only)  # as messages

NEW = NLM_F_CREATE | NLM_F_EXCL
NAMES = ("e0", "e1", "e2", "e3", "e4", "e5")
MTUS = (10, 68, 1000, 1300, 1450, 1500, 1501, 9000, 65535, 65536)
MACS = (b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02", b"\x02\0\0\0\0\x03")
BAD_MACS = (b"\x01\0\0\0\0\x01", bytes(6), b"\x02\0\0")
GROUPS = (0, 77, 78)
HOOKS = (tc.CLSACT_HANDLE | tc.TC_H_MIN_INGRESS, tc.CLSACT_HANDLE | tc.TC_H_MIN_EGRESS)
IPV4 = (b"\x0a\0\0\x01", b"\x0a\0\0\x02", b"\x0a\0\0\x81", b"\xc0\0\x02\x01")
IPV6 = tuple(b"\x20\x01\x0d\xb8" + bytes(11) + bytes((last,)) for last in (1, 2, 3))
SYSCTLS = (
    *("ipv4/conf/{}/promote_secondaries", "ipv6/conf/{}/keep_addr_on_down", "ipv6/conf/{}/disable_ipv6"),
    *("ipv4/conf/{}/forwarding", "ipv6/conf/{}/forwarding", "ipv4/ip_forward", "ipv6/conf/all/forwarding"),
    *("ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6", "ipv4/conf/{}/nosuch", "ipv4/nosuch"),
    *("ipv4/conf/all/accept_redirects",),
)
FIRST = {
    **dict.fromkeys(("ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/all/disable_ipv6"), "0"),
    "ipv4/conf/all/accept_redirects": "1",
}
NETWORKS = {  # with those of the addresses, which the kernel has routes to
    AF_INET: ((b"\xc6\x33\x64\0", 24), (b"\xcb\0\x71\x80", 25), (bytes(4), 0), (b"\x0a\0\0\0", 24), (b"\x0a\0\0\1", 8)),
    AF_INET6: ((b"\x20\1\x0d\xb8\0\7" + bytes(10), 48), (bytes(16), 0), (IPV6[0][:8] + bytes(8), 64)),
}
GATEWAYS = {AF_INET: (*IPV4, b"\x0a\0\0\x09", b"\x0a\0\0\xff"), AF_INET6: (*IPV6, IPV6[0][:15] + b"\x09")}
METRICS = (0, 0, 20, 256)
# The interfaces between the namespaces, each with its addresses.
NEAR = {
    2: ((AF_INET, IPV4[0], 25), (AF_INET6, IPV6[0], 64)),
    3: ((AF_INET, IPV4[2], 25), (AF_INET6, b"\x20\x01\x0d\xb9" + bytes(11) + b"\1", 64)),
}
LOOPBACKS = (b"\x7f\0\0\1", bytes(15) + b"\1")
LOCAL4 = (b"\x0a\xff\0\1", b"\x0a\xff\0\2")
LOCAL6 = tuple(b"\x20\1\x0d\xb8\0\xff" + bytes(9) + bytes((last,)) for last in (1, 2))
RTPROT_STATIC = 4
BRIDGE_INDEX = 40


class Space:
    """A namespace of both kernels, by number: stands for a descriptor in a request."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"Space({self.number})"


Step = tuple[int, Request | tuple[str, str]]  # the namespace it is sent from; a request, or a sysctl with its value


def lacking(kernel: LinuxKernel) -> set[str]:
    """What the kernel here does not have."""
    made = make_scratch()
    handle = Handle("(to try)", made.identity, made.fd, made.socket)

    def refused(request: Request) -> int:
        (refusal,) = kernel.send(handle, [request])
        return 0 if refusal is None else refusal.errno

    found: set[str] = set()
    for kind in filter(None, KINDS):
        attributes = {"ifname": f"x-{kind}", "linkinfo": {"kind": kind}}
        if refused(Request(RTM_NEWLINK, {}, attributes, NEW)) == errno.EOPNOTSUPP:
            found.add(kind)
    for kind, traits in QDISCS.items():
        place, number = (tc.TC_H_ROOT, 0x10000) if traits.is_root else (tc.TC_H_CLSACT, tc.CLSACT_HANDLE)
        header = {"index": 1, "parent": place, "handle": number}
        code = refused(Request(tc.RTM_NEWQDISC, header, {"kind": kind}, NEW))
        if code == errno.ENOENT:
            found.add(kind)
        if not code and kind != "clsact":
            assert not refused(Request(tc.RTM_DELQDISC, header))
        if kind == "clsact":
            shapes = [tc_filter(1, HOOKS[0], priority, 1, kind)[0] for priority, kind in enumerate(CLASSIFIERS, 1)]
            found.update(str(one.attributes["kind"]) for one in shapes if refused(one) == errno.ENOENT)
            assert not refused(Request(tc.RTM_DELQDISC, header))
    made.socket.close()
    os.close(made.fd)
    return found


class Both:
    """The real kernel and the fake one, with as many namespaces each."""

    def __init__(self) -> None:
        self.real = LinuxKernel(64)
        self.fake = FakeKernel()
        self.there: list[Handle] = []
        self.here: list[Handle] = []
        for number in range(SPACES):
            made = make_scratch()
            self.there.append(Handle(f"({number})", made.identity, made.fd, made.socket))
            for path, value in FIRST.items():  # which may be as in the machine's first namespace
                self.real.write_sysctl(self.there[-1], path, value)
            self.here.append(self.fake._handle(f"({number})", self.fake._new()))
        self.macs: dict[bytes, bytes] = {}
        self.is_routed = False  # whether that of nodes is compared, too, which takes longer than all else
        self.fake.rtnl.lacks = lacking(self.real)

    def close(self) -> None:
        for handle in self.there:
            assert handle.fd is not None
            assert handle.socket is not None
            handle.socket.close()
            os.close(handle.fd)
        self.real.close()

    def space(self, number: int) -> FakeNamespace:
        return self.fake._of[self.here[number].identity]

    def take(self, step: Step) -> tuple[object, object]:
        """What the real kernel and the fake one answer."""
        number, what = step
        answers: list[object] = []
        for kernel, handles in ((self.real, self.there), (self.fake, self.here)):
            if isinstance(what, Request):
                (refusal,) = kernel.send(handles[number], [what], self.resolver(handles))
                answers.append(None if refusal is None else (refusal.errno, refusal.message, refusal.path))
                continue
            try:
                answers.append(kernel.write_sysctl(handles[number], *what))
            except OSError as error:
                answers.append(error.errno)
        return answers[0], answers[1]

    @staticmethod
    def resolver(handles: Sequence[Handle]) -> Callable[[object], int]:
        def resolve(reference: object) -> int:
            assert isinstance(reference, Space)
            fd = handles[reference.number].fd
            assert fd is not None
            return fd

        return resolve

    def seen(self) -> tuple[list[object], list[object]]:
        """All that the real kernel and the fake one show."""
        return (
            [self.seen_in(self.real, self.there, number) for number in range(SPACES)],
            [self.seen_in(self.fake, self.here, number) for number in range(SPACES)],
        )

    def seen_in(self, kernel: Kernel, handles: Sequence[Handle], number: int) -> dict[str, object]:
        handle, space = handles[number], self.space(number)
        links = {message.header["index"]: message for message in kernel.dump(handle, SHOWN)}
        modes = {
            one.header["index"]: one.attributes.get("af_spec", {}).get("inet6", {})
            for one in kernel.dump(handle, MODES)
        }
        shown = {index: self.link(space.links.get(index), message) for index, message in sorted(links.items())}
        asked = kernel.dump(handle, Request(tc.RTM_GETQDISC, {}))
        qdiscs = sorted((*_header(one, "index", "parent", "handle"), one.attributes["kind"]) for one in asked)
        return {
            "links": shown,
            "link-local addresses": [(index, one.get("addr_gen_mode")) for index, one in sorted(modes.items())],
            "numbers of the others": [
                kernel.nsid(handle, other) for place, other in enumerate(handles) if place != number
            ],
            "addresses": sorted(
                [index, family, length, flags, *map(repr, values)]
                for family, length, flags, scope, index, *values in _rows(kernel, handle)
                if scope != RT_SCOPE_LINK and index != 1
            ),
            **(seen_of_node(kernel, handle, space) if self.is_routed else {}),
            "remotes": list_remotes(kernel, handle),
            "qdiscs": qdiscs,
            "asked for qdiscs": [
                ask(kernel, handle, index, parent)
                for index in sorted(links)
                for parent in (tc.TC_H_ROOT, tc.TC_H_CLSACT)
            ],
            "filters": [
                [_filter(one) for one in kernel.dump(handle, Request(tc.RTM_GETTFILTER, header))]
                for index, link in sorted(space.links.items())
                for header in hooks_of(index, link)
            ],
        }

    def link(self, fake: FakeLink | None, message: Message) -> dict[str, object]:
        """An interface as a dump shows it. What kernels choose by chance has the fake one's value."""
        attributes = {name: value for name, value in message.attributes.items() if isinstance(name, str)}
        info = {name: value for name, value in attributes.get("linkinfo", {}).items() if isinstance(name, str)}
        data = info.get("data")
        known = fake.data if fake is not None else {}
        info["data"] = {name: data[name] for name in known} if isinstance(data, dict) else {}
        attributes["linkinfo"] = info
        mac = attributes["address"]
        if mac not in MACS and fake is not None and fake.mac not in MACS:
            attributes["address"] = self.macs.setdefault(mac, mac if mac.startswith(CHOSEN_MAC) else fake.mac)
        flags = message.header["flags"]
        attributes["up"] = bool(flags & IFF_UP)
        if fake is not None and not stands_on_bridge(fake):
            attributes["lower_up"] = bool(flags & IFF_LOWER_UP)
        return attributes


def stands_on_bridge(link: FakeLink) -> bool:
    """Whether its carrier is that of a bridge, which depends on what its ports were before."""
    below = link.parent and link.parent[0].links.get(link.parent[1])
    return link.kind == "bridge" or bool(below and stands_on_bridge(below))


def seen_of_node(kernel: Kernel, handle: Handle, space: FakeNamespace) -> dict[str, object]:
    """What a namespace shows beside its links: addresses of the loopback, routes and sysctls."""
    routes = map(_route, kernel.dump(handle, routers.ROUTES))
    return {
        "of the loopback": sorted(
            (*_header(one, "family", "prefixlen"), sorted(one.attributes.items()))
            for one in kernel.dump(handle, routers.ADDRESSES)
            if one.header["index"] == 1 and one.attributes["address"] not in LOOPBACKS
        ),
        "routes": sorted(route for route in routes if is_of_address(route)),
        "routes of ours": sorted(map(_route, kernel.dump(handle, routers.OUR_ROUTES))),
        "sysctls": kernel.with_sysctls([handle], lambda _, net: net.read(sysctls_of(space))),
    }


def _route(row: Any) -> tuple[Any, ...]:
    """A route without its flags, which have the carrier; each hop as a pair."""
    *header, _, dst, gateway, multipath, oif, priority = row
    hops = unpack_hops(multipath) if multipath else [(oif or 0, gateway or b"")]
    return *header, dst or b"", hops, priority or 0


def is_of_address(route: tuple[Any, ...]) -> bool:
    """Whether it is not one to link-local or loopback addresses, which the kernel sets itself."""
    return route[-3][:2] not in (b"\xfe\x80", b"\xff\0") and route[-3] not in LOOPBACKS


def sysctls_of(space: FakeNamespace) -> list[str]:
    names = [link.name for link in space.links.values() if not link.is_loopback]
    return sorted({path.format(name) for path in SYSCTLS for name in ("all", "default", *names)})


def ask(kernel: Kernel, handle: Handle, index: int, parent: int) -> object:
    try:
        found = kernel.ask(handle, Request(tc.RTM_GETQDISC, {"index": index, "parent": parent}, {}, NLM_F_ECHO))
    except KernelError as error:
        return error.errno, error.message
    return [(_header(one, "handle", "parent"), one.attributes["kind"]) for one in found]


def hooks_of(index: int, link: FakeLink) -> Iterator[dict[str, int]]:
    """The headers of the dumps of filters that are asked for."""
    for qdisc in link.control.qdiscs.values():
        for hook in QDISCS[qdisc.kind].hooks:
            yield {"index": index, "parent": qdisc.handle | hook, "info": 0}
            yield {"index": index, "parent": qdisc.handle | hook, "info": tc.filter_info(16)}


def _rows(kernel: Kernel, handle: Handle) -> list[Any]:
    """Return the rows of the addresses, for which dump() has the type of messages."""
    return kernel.dump(handle, ADDRESSES)


def _header(message: Message, *names: str) -> tuple[int, ...]:
    return tuple(message.header[name] for name in names)


def _filter(message: Message) -> object:
    attributes = message.attributes
    options: dict[Any, Any] = attributes.get("options", {})
    action = options.get("act", {}).get("first", {})
    parms = MIRRED.unpack(action["options"]["parms"]) if action else (0,) * 7
    # Without the number and the count of uses of the action.
    shown = options.get("hash"), options.get("sel"), action.get("kind"), action.get("cookie"), parms[2], parms[5:]
    return _header(message, "handle", "parent", "info"), attributes["kind"], "options" in attributes, shown


def tc_filter(index: int, parent: int, priority: int, target: int, kind: str) -> list[Request]:
    from kokofast.ops.traffic_control import shapes

    return shapes(index, parent, priority, target, bytes(range(16)), (kind,))


class Chance:
    """Draws requests, most of them about interfaces that are there."""

    def __init__(self, both: Both, seed: int) -> None:
        self.both = both
        self.random = random.Random(seed)
        self.kinds = [kind for kind in KINDS if kind not in ("", "veth", "vxlan", "bridge")]

    def some(self, **choices: Sequence[Any]) -> dict[str, Any]:
        """Some of these attributes."""
        return {name: self.random.choice(values) for name, values in choices.items() if self.random.random() < 0.25}

    def links(self, number: int, *, bridges: bool = True) -> list[FakeLink]:
        found = self.both.space(number).links.values()
        return [link for link in found if not link.is_loopback and (bridges or link.kind != "bridge")]

    def index(self, number: int, *, bridges: bool = True) -> int:
        """That of an interface that is there, mostly."""
        there = self.links(number, bridges=bridges)
        if there and self.random.random() < 0.95:
            return self.random.choice(there).index
        return self.random.choice((1, 99))

    def end(self, number: int) -> tuple[dict[str, int], dict[str, Any]]:
        header = {"index": self.random.randrange(2, 14)}
        attributes = {
            "ifname": self.random.choice(NAMES) if self.random.random() < 0.97 else "not/a/name",
            "net_ns_fd": Space(number if IS_OLD else self.random.randrange(SPACES)),
            "num_tx_queues": 1,
            "num_rx_queues": 1,
            "group": self.random.choice(GROUPS),
            **self.some(mtu=MTUS, txqlen=(0, 7, 1000), address=(*MACS * 3, *BAD_MACS), broadcast=MACS),
        }
        return header, attributes

    def step(self) -> Step:
        draw = self.random.choice(
            [self.veth] * 3
            + [self.stacked, self.vxlan] * 3
            + [self.change] * 6
            + [self.bridge, self.delete, self.sysctl]
            + [self.address] * 4
            + [self.remote] * 2
            + [self.qdisc] * 2
            + [self.filter] * 4
        )
        return draw(self.random.randrange(SPACES))

    def wires(self) -> Iterator[Step]:
        """Links between all namespaces, up and with networks of both families."""
        for number in range(SPACES):
            ends = (number, 2), ((number + 1) % SPACES, 3)
            first, second = (
                (
                    {"index": index},
                    {"ifname": f"e{index}", "net_ns_fd": Space(place), "num_tx_queues": 1, "num_rx_queues": 1},
                )
                for place, index in ends
            )
            info = {"kind": "veth", "data": {"peer": {"header": second[0], **second[1]}}}
            yield number, Request(RTM_NEWLINK, first[0], {**first[1], "linkinfo": info}, NEW)
            for place, index in ends:
                yield place, Request(RTM_SETLINK, {"index": index, "flags": IFF_UP, "change": IFF_UP})
                for family, packed, length in NEAR[index]:
                    attributes: dict[str, Any] = {"local": packed, "proto": b"K"}
                    attributes |= {"flags": IFA_F_NODAD} if family == AF_INET6 else {}
                    header = {"family": family, "prefixlen": length, "index": index}
                    yield place, Request(RTM_NEWADDR, header, attributes, NEW)

    def step_of_routes(self) -> Step:
        """Mostly about routes, and what they depend on."""
        draw = self.random.choice(
            [self.route] * 8 + [self.address, self.change] * 2 + [self.loopback, self.sysctl, self.delete, self.veth]
        )
        return draw(self.random.randrange(SPACES))

    def veth(self, number: int) -> Step:
        (header, first), (peer_header, second) = self.end(number), self.end(number)
        if IS_OLD:  # which looks for these faults at another time
            second = {name: value for name, value in second.items() if name not in ("mtu", "address")}
        first["linkinfo"] = {"kind": "veth", "data": {"peer": {"header": peer_header, **second}}}
        return number, Request(RTM_NEWLINK, header, first, NEW)

    def bridge(self, number: int) -> Step:
        header = {"index": self.random.choice((BRIDGE_INDEX, BRIDGE_INDEX + 1))}
        info: dict[str, Any] = {"kind": "bridge"}
        if self.random.random() < 0.5:
            info["data"] = {"stp_state": 0, "group_fwd_mask": self.random.choice((0xFFF8, 0x4000, 1))}
        name = self.random.choice(("br0", "br1"))
        attributes = {"ifname": name, "linkinfo": info, **self.some(mtu=MTUS, address=MACS, txqlen=(7,))}
        return number, Request(RTM_NEWLINK, header, attributes, NEW)

    def stacked(self, number: int) -> Step:
        header, attributes = self.end(number)
        kind = self.random.choice(self.kinds)
        data: dict[str, Any] = {}
        if kind == "macvlan":
            data = {"mode": self.random.choice((1, 2, 4, 4, 4, 8, 16, 3))}
        elif kind == "vlan":
            data = {"id": self.random.choice((0, 5, 6, 4095)), "protocol": self.random.choice((0x8100, 0x88A8))}
        elif kind == "ipvlan":
            data = {"mode": self.random.choice((0, 1, 2))}
        if kind != "dummy" and self.random.random() < 0.97:
            attributes["link"] = self.index(number, bridges=False)
        attributes["linkinfo"] = {"kind": kind, **({"data": data} if data else {})}
        return number, Request(RTM_NEWLINK, header, attributes, NEW)

    def vxlan(self, number: int) -> Step:
        header, attributes = self.end(number)
        data: dict[str, Any] = {
            "id": self.random.choice((5, 6, 7, 8, 1 << 24)),
            "port": self.random.choice((4789, 4790)),
            "learning": self.random.choice((0, 1)),
        }
        if self.random.random() < 0.85:
            data["link"] = self.index(number, bridges=False)
        if self.random.random() < 0.7:
            data["group"] = self.random.choice((*IPV4, b"\xef\x01\x01\x01"))
        elif self.random.random() < 0.7:
            data["group6"] = self.random.choice((*IPV6, bytes(16)))
        data |= self.some(ttl=(0, 9), local=(*IPV4, b"\xef\x01\x01\x01"))
        attributes["linkinfo"] = {"kind": "vxlan", "data": data}
        return number, Request(RTM_NEWLINK, header, attributes, NEW)

    def remote(self, number: int) -> Step:
        tunnels = [link.index for link in self.both.space(number).links.values() if link.kind == "vxlan"]
        header = {"family": AF_BRIDGE, "state": neigh.NUD_PERMANENT, "flags": neigh.NTF_SELF}
        header["index"] = self.random.choice(tunnels or [99])
        attributes = {"lladdr": bytes(6), "dst": self.random.choice((*IPV4, *IPV6))}
        if self.random.random() < 0.4:
            return number, Request(neigh.RTM_DELNEIGH, header, attributes)
        return number, Request(neigh.RTM_NEWNEIGH, header, attributes, NLM_F_CREATE | NLM_F_APPEND)

    def change(self, number: int) -> Step:
        index = self.index(number)
        header: dict[str, int] = {"index": 99 if IS_OLD and index == 1 else index}
        attributes = self.some(
            mtu=MTUS,
            address=(*MACS * 3, *BAD_MACS),
            broadcast=(*MACS, b"\x02"),
            group=GROUPS,
            **({} if IS_OLD else {"ifname": NAMES}),
            ifalias=("", "x", "y" * 254, "z" * 255),
            txqlen=(0, 7, 1000),
            af_spec=tuple({"inet6": {"addr_gen_mode": mode}} for mode in (0, 1, 1, 9)),
        )
        if self.random.random() < 0.2:
            attributes["master"] = self.random.choice((0, BRIDGE_INDEX, BRIDGE_INDEX + 1, 99))
        if self.random.random() < 0.6:
            header |= {"flags": self.random.choice((0, IFF_UP, IFF_UP)), "change": IFF_UP}
        return number, Request(RTM_SETLINK, header, attributes)

    def delete(self, number: int) -> Step:
        if self.random.random() < 0.2:
            return number, Request(RTM_DELLINK, {}, {"group": self.random.choice(GROUPS)})
        return number, Request(RTM_DELLINK, {"index": self.index(number)})

    def address(self, number: int) -> Step:
        family, packed, lengths = self.random.choice(
            ((AF_INET, self.random.choice(IPV4), (24, 24, 25, 32, 33)), (AF_INET6, self.random.choice(IPV6), (64, 128)))
        )
        index, length = self.index(number), self.random.choice(lengths)
        link = self.both.space(number).links.get(index)
        is_to_go = self.random.random() < 0.3
        if is_to_go and link is not None and link.addresses and self.random.random() < 0.8:
            family, packed, length = self.random.choice(list(link.addresses))
        header = {"family": family, "prefixlen": length, "index": index if index != 1 else 99}
        attributes: dict[str, Any] = {"local": packed}
        if is_to_go:
            return number, Request(RTM_DELADDR, header, {**attributes, "address": packed})
        attributes["proto"] = self.random.choice((b"K", b"K" if IS_OLD else b"\x09"))
        if family == AF_INET6:
            attributes["flags"] = IFA_F_NODAD
        flags = NLM_F_CREATE | self.random.choice((NLM_F_REPLACE, NLM_F_REPLACE, NLM_F_EXCL))
        return number, Request(RTM_NEWADDR, header, attributes, flags)

    def loopback(self, number: int) -> Step:
        """An address of the loopback, as nodes have them; or it is set up or down."""
        if self.random.random() < 0.3:
            flags = self.random.choice((0, IFF_UP, IFF_UP))
            return number, Request(RTM_SETLINK, {"index": 1, "flags": flags, "change": IFF_UP})
        family, packed = self.random.choice([(AF_INET, one) for one in LOCAL4] + [(AF_INET6, one) for one in LOCAL6])
        header = {"family": family, "prefixlen": len(packed) * 8, "index": 1}
        if self.random.random() < 0.3:
            return number, Request(RTM_DELADDR, header, {"local": packed, "address": packed})
        attributes: dict[str, Any] = {
            "local": packed,
            "proto": b"K",
            "rt_priority": self.random.choice((0, 0x4B000001)),
        }
        if family == AF_INET6:
            attributes["flags"] = IFA_F_NODAD
        return number, Request(RTM_NEWADDR, header, attributes, NEW)

    def route(self, number: int) -> Step:
        """One of ours or of somebody else, with or without a gateway, or with several; its network may be anything."""
        family = self.random.choice((AF_INET, AF_INET6))
        there = [route for route in self.both.space(number).routes.asked if route.goal.family == family]
        if there and self.random.random() < 0.3:
            return number, self.removal(self.random.choice(there))
        packed, length = self.random.choice(NETWORKS[family])
        header = {"family": family, "dst_len": length, "table": 254, "type": 1}
        header["protocol"] = self.random.choice((RTPROT_KOKOFAST, RTPROT_KOKOFAST, RTPROT_STATIC))
        attributes: dict[str, Any] = {"dst": packed} if length else {}
        attributes |= self.some(priority=METRICS[2:])
        hops = [self.hop(number, family) for _ in range(2)]
        way = self.random.random()
        if way < 0.3:
            attributes["multipath"] = pack_hops(hops)
        else:
            attributes["oif"] = hops[0][0]
            if way < 0.7:
                attributes["gateway"] = hops[0][1]
            elif family == AF_INET:
                header["scope"] = RT_SCOPE_LINK
        if self.random.random() < 0.1:
            return number, Request(RTM_DELROUTE, header, attributes)
        is_behind = family == AF_INET and self.random.random() < 0.3
        return number, Request(RTM_NEWROUTE, header, attributes, NLM_F_CREATE | NLM_F_APPEND if is_behind else NEW)

    def hop(self, number: int, family: int) -> tuple[int, bytes]:
        """Mostly a neighbour."""
        if self.random.random() < 0.8:
            index = self.random.choice(tuple(NEAR))
            (packed,) = (packed for other, packed, _ in NEAR[index] if other == family)
            return index, packed[:-1] + bytes((packed[-1] ^ 3,))
        return self.index(number), self.random.choice(GATEWAYS[family])

    def removal(self, route: Route) -> Request:
        """What removes a route that is there, or would if its protocol was that one."""
        goal, hops = route.goal, [hop.pair() for hop in route.hops]
        header = {"family": goal.family, "dst_len": goal.length, "table": 254, "type": 1, "scope": route.scope}
        header["protocol"] = self.random.choice((route.protocol, route.protocol, RTPROT_KOKOFAST))
        attributes: dict[str, Any] = {"dst": goal.dst} if goal.length else {}
        if goal.priority and self.random.random() < 0.8:
            attributes["priority"] = goal.priority
        if len(hops) > 1:
            attributes["multipath"] = pack_hops(hops)
        else:
            attributes["oif"] = hops[0][0]
            if hops[0][1] and self.random.random() < 0.9:
                attributes["gateway"] = hops[0][1]
        return Request(RTM_DELROUTE, header, attributes)

    def sysctl(self, number: int) -> Step:
        link = self.both.space(number).links.get(self.index(number))
        name = link.name if link is not None and not link.is_loopback else "nowhere"
        return number, (self.random.choice(SYSCTLS).format(name), self.random.choice("01"))

    def qdisc(self, number: int) -> Step:
        place = self.random.choice((tc.TC_H_ROOT, tc.TC_H_CLSACT, tc.TC_H_CLSACT))
        handle = self.random.choice((0x10000, 0x20000)) if place == tc.TC_H_ROOT else tc.CLSACT_HANDLE
        header = {"index": self.index(number), "handle": handle, "parent": place}
        kinds = [kind for kind, traits in QDISCS.items() if traits.is_root == (place == tc.TC_H_ROOT)]
        kind = self.random.choice([*kinds, "kokofast"])
        attributes: dict[str, Any] = {"kind": kind}
        if self.random.random() < 0.3:
            return number, Request(tc.RTM_DELQDISC, header, attributes)
        if kind == "prio":
            attributes["options"] = tc.PRIO_OPTIONS
        return number, Request(tc.RTM_NEWQDISC, header, attributes, NEW)

    def filter(self, number: int) -> Step:
        index, parent, priority = self.index(number), self.random.choice(HOOKS), self.random.choice((16, 16, 17, 18))
        links = self.both.space(number).links
        held = [(one.index, qdisc) for one in links.values() for qdisc in one.control.qdiscs.values()]
        if held and self.random.random() < 0.9:
            index, qdisc = self.random.choice(held)
            parent = qdisc.handle | self.random.choice(QDISCS[qdisc.kind].hooks or (0,))
        kind = self.random.choice(("u32", "u32", "u32", "matchall"))
        if self.random.random() > 0.4:
            return number, tc_filter(index, parent, priority, self.index(number), kind)[0]
        link, info, handle = links.get(index), tc.filter_info(priority), 0
        if link is not None and link.control.filters and self.random.random() < 0.8:
            parent, info, handle = self.random.choice(list(link.control.filters))
        header = {"index": index, "parent": parent, "info": info, "handle": self.random.choice((0, handle, 0x80000801))}
        return number, Request(tc.RTM_DELTFILTER, header, {"kind": kind} if self.random.random() < 0.7 else {})


@pytest.fixture
def both() -> Iterator[Both]:
    made = Both()
    yield made
    made.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_answers_and_the_same_state(both: Both, seed: int) -> None:
    if IN_GUEST:
        assert both.fake.rtnl.lacks == set()
    chance = Chance(both, seed)
    compare(both, chance.step, [])


@pytest.mark.parametrize("seed", SEEDS[::2])
def test_the_same_routes(both: Both, seed: int) -> None:
    chance, steps = Chance(both, seed), list[Step]()
    for step in chance.wires():
        steps.append(step)
        assert both.take(step) == (None, None)
    both.is_routed = True
    compare(both, chance.step_of_routes, steps)


def compare(both: Both, draw: Callable[[], Step], steps: list[Step]) -> None:
    """Take the steps that are drawn; steps has those before."""
    for _ in range(REQUESTS):
        steps.append(draw())
        story = "\n".join(map(str, steps))
        real, fake = both.take(steps[-1])
        if IS_OLD:
            real, fake = (answer[0] if isinstance(answer, tuple) else answer for answer in (real, fake))
        assert fake == real, story
        end = time.monotonic() + PATIENCE_SECONDS
        there, here = both.seen()
        while there != here and time.monotonic() < end:
            time.sleep(0.05)
            there, here = both.seen()
        assert here == there, story
