"""The kernel's end state against what a scenario wants. Asked by ioctl and ``ip``, ways that kokofast does not use."""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any

from bench import netns
from bench.links import UPLINK_INDEX, End, Link, WrongState

_SIOCGIFFLAGS, _SIOCGIFADDR, _SIOCGIFNETMASK = 0x8913, 0x8915, 0x891B
_IFF_UP = 1
_ETH_P_ALL = 3
# A link's carrier comes up a moment after its ends; the kernel repeats an ARP request after a second.
DATAGRAM_TIMEOUT = 5.0


def check_ends(namespace: str, expected: Sequence[End]) -> None:
    """Compare the ethN interfaces of a namespace with what should be there.

    Enters the namespace with the calling thread, which must end afterwards.

    Raises:
        WrongState: Something differs.
    """
    netns.enter(namespace)
    names = {name for _, name in socket.if_nameindex() if name.startswith("eth")}
    wanted = {end.interface for end in expected}
    if names != wanted:
        raise WrongState(f"{namespace}: has {_some(names - wanted)} too many, lacks {_some(wanted - names)}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for end in expected:
            request = struct.pack("16s24x", end.interface.encode())
            (flags,) = struct.unpack_from("H", fcntl.ioctl(asking, _SIOCGIFFLAGS, request), 16)
            if not flags & _IFF_UP:
                raise WrongState(f"{namespace}: {end.interface} is down")
            for what, question, answer in (
                ("address", _SIOCGIFADDR, end.address),
                ("netmask", _SIOCGIFNETMASK, str(IPv4Network((0, end.prefixlen)).netmask)),
            ):
                try:
                    found = socket.inet_ntoa(fcntl.ioctl(asking, question, request)[20:24])
                except OSError as error:
                    raise WrongState(f"{namespace}: {end.interface} has no {what}: {error}") from error
                if found != answer:
                    raise WrongState(f"{namespace}: {end.interface} has {what} {found}, should have {answer}")


def _some(names: set[str]) -> list[str]:
    return sorted(names)[:5]


def check_no_names(namespaces: Sequence[str]) -> None:
    """Raise WrongState when one of these namespaces is still there."""
    there = sorted(name for name in namespaces if (netns.DIRECTORY / name).exists())
    if there:
        raise WrongState(f"{len(there)} namespaces are still there, {there[0]} among them")


def check_queues(end: End, queues: int | None) -> None:
    """Raise WrongState unless an end has so many queue pairs; None: any number.

    A pair for each processor costs much more, and the comparison would not be fair.
    """
    link = _link(end)
    found = link["num_tx_queues"], link["num_rx_queues"]
    if queues is not None and found != (queues, queues):
        raise WrongState(f"{end.namespace}: {end.interface} has {found} queues, should have {(queues, queues)}")


def check_peer(a: End, b: End) -> None:
    """Raise WrongState unless two ends in one namespace are peers."""
    found = _link(a).get("link")
    if found != b.interface:
        raise WrongState(f"{a.namespace}: the other end of {a.interface} is {found}, should be {b.interface}")


def check_vxlan(link: Link) -> None:
    """Raise WrongState unless the end is the vxlan that the link describes."""
    assert link.tunnel is not None
    seen = _link(link.a)
    data = seen.get("linkinfo", {}).get("info_data", {})
    found = (data.get("id"), data.get("remote"), data.get("port"))
    wanted = (link.tunnel.vni, link.tunnel.remote, 4789)
    if found != wanted:
        raise WrongState(f"{link.a} is a vxlan of {found}, should be of {wanted}")
    # No interface of this namespace has that index, so ip has no name for it.
    if data.get("link") != f"if{UPLINK_INDEX}":
        raise WrongState(f"{link.a} stands on {data.get('link')}, should stand on if{UPLINK_INDEX}")


def check_traffic(a: End, b: End) -> None:
    """Raise WrongState unless a datagram that is sent at one end arrives at the other."""
    with netns.socket_in(a.namespace) as sender, netns.socket_in(b.namespace) as receiver:
        receiver.settimeout(DATAGRAM_TIMEOUT)
        try:
            sender.bind((a.address, 0))
            receiver.bind((b.address, 0))
            sender.sendto(b"kokofast", (b.address, receiver.getsockname()[1]))
            data, (source, _) = receiver.recvfrom(64)
        except OSError as error:
            raise WrongState(f"no datagram from {a} to {b}: {error}") from error
        if (data, source) != (b"kokofast", a.address):
            raise WrongState(f"{b} got {data!r} from {source}, not from {a.address}")


def check_mirror(a: End, b: End) -> None:
    """Raise WrongState unless b gets a datagram on lo of a's namespace twice: as it leaves, and as it comes in."""
    netns.ip("-n", a.namespace, "link", "set", "lo", "up")
    mark = f"copy for {b.namespace}".encode()
    with (
        netns.socket_in(a.namespace) as sender,
        netns.socket_in(b.namespace, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as receiver,
    ):
        receiver.bind((b.interface, _ETH_P_ALL))
        receiver.settimeout(DATAGRAM_TIMEOUT)
        sender.sendto(mark, ("127.0.0.1", 9))
        seen, deadline = 0, time.monotonic() + DATAGRAM_TIMEOUT
        while seen < 2:
            try:
                # The kernel's refusal of the datagram quotes it, but is ICMP.
                packet = receiver.recv(2048)
            except TimeoutError:
                packet = b""
            seen += packet.endswith(mark) and packet[23:24] == b"\x11"
            if time.monotonic() > deadline or not packet:
                raise WrongState(f"{b} got {seen} copies of a datagram on lo of {a.namespace}, should have got 2")


def check_no_mirror(a: End) -> None:
    """Raise WrongState when the qdisc of a mirror is still there; its filters go with it."""
    done = subprocess.run(
        ["tc", "-n", a.namespace, "qdisc", "show", "dev", "lo"], check=True, capture_output=True, text=True, timeout=60
    )
    if "clsact" in done.stdout or "ingress" in done.stdout:
        raise WrongState(f"{a.namespace}: lo still has {done.stdout.strip()}")


def check_rates(namespace: str, rates: Mapping[str, int]) -> None:
    """Raise WrongState unless these interfaces have a tbf at the root, of these rates in bytes a second."""
    found = {
        one["dev"]: one["options"]["rate"]
        for one in _json("tc", "-n", namespace, "-j", "qdisc", "show")
        if one.get("root") and one["kind"] == "tbf"
    }
    for interface, rate in rates.items():
        if found.get(interface) != rate:
            raise WrongState(f"{namespace}: {interface} has the rate {found.get(interface)}, should have {rate}")


def check_routes(namespace: str, protocol: int, number: int) -> None:
    """Raise WrongState unless a namespace has so many IPv4 routes of a protocol, each to another network."""
    routes = _json("ip", "-n", namespace, "-4", "-j", "route", "show", "proto", str(protocol))
    found = len({one["dst"] for one in routes})
    if found != number or len(routes) != number:
        raise WrongState(f"{namespace}: has {len(routes)} routes to {found} networks, should have {number}")


def _link(end: End) -> dict[str, Any]:
    (link,) = _ip_json(end.namespace, "link", "show", end.interface)
    return link


def _ip_json(namespace: str, *arguments: str) -> list[dict[str, Any]]:
    return _json("ip", "-n", namespace, "-d", "-j", *arguments)


def _json(*command: str) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = json.loads(
        subprocess.run(command, check=True, capture_output=True, timeout=60).stdout or "[]"
    )
    return answer
