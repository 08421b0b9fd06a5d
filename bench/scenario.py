"""What is to be made, and whether it was: a scenario brings its namespaces, its links and its judge."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from bench import netns

_SIOCGIFFLAGS, _SIOCGIFADDR, _SIOCGIFNETMASK = 0x8913, 0x8915, 0x891B
_IFF_UP = 1
SAMPLE = 8
# A link's carrier comes up a moment after its ends; the kernel repeats an ARP request after a second.
DATAGRAM_TIMEOUT = 5.0


class End(NamedTuple):
    namespace: str
    interface: str
    address: str  # without its prefix length, which is /31 everywhere


class WrongState(Exception):
    """A contender said that it was done, and the kernel shows something else."""


class Scenario(Protocol):
    """Sizes are numbers of links. namespaces() are made before and are no part of what is measured."""

    @property
    def name(self) -> str: ...
    @property
    def prefix(self) -> str: ...
    @property
    def size(self) -> int: ...
    def namespaces(self) -> list[str]: ...
    def links(self) -> Iterator[tuple[End, End]]: ...
    def verify_up(self) -> None: ...
    def verify_gone(self) -> None: ...


@dataclass(frozen=True)
class Chain:
    """Link i joins eth1 of namespace i and eth0 of namespace i + 1; /31 addresses, ends up, one queue pair each."""

    prefix: str
    size: int
    name: str = "chain"

    def namespaces(self) -> list[str]:
        return [f"{self.prefix}{number}" for number in range(self.size + 1)]

    def link(self, number: int) -> tuple[End, End]:
        first = ipaddress.IPv4Address("10.0.0.0") + 2 * number
        return (
            End(f"{self.prefix}{number}", "eth1", str(first)),
            End(f"{self.prefix}{number + 1}", "eth0", str(first + 1)),
        )

    def links(self) -> Iterator[tuple[End, End]]:
        return (self.link(number) for number in range(self.size))

    def verify_up(self) -> None:
        """Every end's name, flag, address and mask; of a sample also the queues, and a datagram over the link."""
        netns.for_each(self.size + 1, lambda number: check_ends(f"{self.prefix}{number}", self._ends_in(number)))
        for number in sorted({round(step * (self.size - 1) / (SAMPLE - 1)) for step in range(SAMPLE)}):
            a, b = self.link(number)
            check_queues(a)
            check_queues(b)
            check_traffic(a, b)

    def verify_gone(self) -> None:
        netns.for_each(self.size + 1, lambda number: check_ends(f"{self.prefix}{number}", []))

    def _ends_in(self, number: int) -> list[End]:
        left = [self.link(number - 1)[1]] if number > 0 else []
        return left + ([self.link(number)[0]] if number < self.size else [])


def check_ends(namespace: str, expected: list[End]) -> None:
    """Compares the ethN interfaces of a namespace. Asked by ioctl, a way that no contender uses."""
    netns.enter(namespace)
    names = {name for _, name in socket.if_nameindex() if name.startswith("eth")}
    wanted = {end.interface for end in expected}
    if names != wanted:
        raise WrongState(f"{namespace}: has {sorted(names)}, should have {sorted(wanted)}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for end in expected:
            request = struct.pack("16s24x", end.interface.encode())
            (flags,) = struct.unpack_from("H", fcntl.ioctl(asking, _SIOCGIFFLAGS, request), 16)
            if not flags & _IFF_UP:
                raise WrongState(f"{namespace}: {end.interface} is down")
            for what, question, answer in (
                ("address", _SIOCGIFADDR, end.address),
                ("netmask", _SIOCGIFNETMASK, "255.255.255.254"),
            ):
                try:
                    found = socket.inet_ntoa(fcntl.ioctl(asking, question, request)[20:24])
                except OSError as error:
                    raise WrongState(f"{namespace}: {end.interface} has no {what}: {error}") from error
                if found != answer:
                    raise WrongState(f"{namespace}: {end.interface} has {what} {found}, should have {answer}")


def check_queues(end: End) -> None:
    """One queue pair, or the comparison is not fair: a pair for each processor costs much more."""
    command = ["ip", "-n", end.namespace, "-d", "-j", "link", "show", end.interface]
    (link,) = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    found = link["num_tx_queues"], link["num_rx_queues"]
    if found != (1, 1):
        raise WrongState(f"{end.namespace}: {end.interface} has {found} queues, should have (1, 1)")


def check_traffic(a: End, b: End) -> None:
    """The two ends are the two ends of one link: what goes in at one comes out at the other."""
    with netns.socket_in(a.namespace) as sender, netns.socket_in(b.namespace) as receiver:
        receiver.settimeout(DATAGRAM_TIMEOUT)
        try:
            receiver.bind((b.address, 0))
            sender.sendto(b"kokofast", (b.address, receiver.getsockname()[1]))
            data, (source, _) = receiver.recvfrom(64)
        except OSError as error:
            raise WrongState(f"no datagram from {a} to {b}: {error}") from error
        if (data, source) != (b"kokofast", a.address):
            raise WrongState(f"{b} got {data!r} from {source}, not from {a.address}")


SCENARIOS = {"chain": Chain}
