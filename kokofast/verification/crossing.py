"""Frames between hosts: what one host sends to the other end of a link, which another run of verify has on its host.

The runs know nothing of each other but a random number and the numbers of the links, from who has started both. Each
sends greetings to all (broadcast) until it has heard the other; then it knows its MAC address, and sends it a frame in
both sizes. Every frame says what its sender has got, so that both can end as soon as all has arrived. Whether a
direction carries is said by its receiver alone: a run that ended before the other had heard that all is well makes no
link a bad one.
"""

from __future__ import annotations

import ipaddress
import json
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from kokofast.verification.expect import are_on_link
from kokofast.verification.ports import Finding
from kokofast.verification.probes import FULL, INTERVAL, SHORT, Probe
from kokofast.wire.probe import AF_INET, AF_INET6, BROADCAST, ETHERNET_HEADER, NONCE_BYTES, SMALL, frame, question

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kokofast.verification.ports import CheckedLink, Port

    T = TypeVar("T")

BOTH = SHORT | FULL
MOST_INTERVAL = 1.0  # seconds between two tries
GROWTH = 1.5
MOST_CLOSING = 30
NUMBER_MAX = (1 << 27) - 1  # what a frame has room for
WITHIN_MAX = 1_000_000  # seconds
HEARD_SHIFT, SIDE_SHIFT, NUMBER_SHIFT = 2, 4, 5


class Far(NamedTuple):
    """The other end of a link, on another host.

    Attributes:
        number: That of the link, the same on both hosts.
        side: Which end of the link is here: 0 or 1.
        title: "r9:eth1 on h2".
        host: The host.
        addresses: (family, address, prefix length).
    """

    number: int
    side: int
    title: str
    host: str
    addresses: Sequence[tuple[int, bytes, int]] = ()


class Across(NamedTuple):
    """What a run has to know to exchange frames with those of other hosts.

    Attributes:
        nonce: The random number that their frames have.
        within: Seconds from the start of this run within which the others answer.
        links: The other ends, by the title of the end here: "r1:eth0".
    """

    nonce: bytes
    within: float
    links: Mapping[str, Far]


def read_across(text: bytes) -> Across:
    """Read what Across has as JSON. Raises ValueError with the place."""
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    nonce, links = _hex(_get(found, "nonce", str, "")), _get(found, "links", list, "")
    within = _get(found, "within", (int, float), "")
    if len(nonce) != NONCE_BYTES or not 0 < within <= WITHIN_MAX:
        raise ValueError(f"nonce must be of {NONCE_BYTES} bytes, and within a number of seconds up to {WITHIN_MAX:,}")
    return Across(nonce, float(within), dict(_far(one, f"links[{number}]") for number, one in enumerate(links)))


def _get(given: object, key: str, types: type[T] | tuple[type[T], ...], place: str) -> T:
    """Return a value of a JSON object at this place. Raises ValueError unless it is of one of these types."""
    where = f"{place}.{key}" if place else key
    if not isinstance(given, dict) or key not in given:
        raise ValueError(f"it lacks what 'hosts verify' gives: {where}")
    value = given[key]
    if not isinstance(value, types) or isinstance(value, bool):
        raise ValueError(f"{where}: not what 'hosts verify' gives: {type(value).__name__}")
    return value


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ValueError(f"nonce: {error}") from None


def _far(given: object, place: str) -> tuple[str, Far]:
    """Return the title of the end here, and the other one."""
    number, side = _get(given, "number", int, place), _get(given, "side", int, place)
    if not 0 <= number <= NUMBER_MAX or side not in (0, 1):
        raise ValueError(f"{place}: number must be from 0 to {NUMBER_MAX}, and side 0 or 1")
    host = _get(given, "host", str, place)
    addresses = [_address(one, place) for one in _get(given, "addresses", list, place)]
    return _get(given, "end", str, place), Far(
        number, side, f"{_get(given, 'far', str, place)} on {host}", host, addresses
    )


def _address(given: object, place: str) -> tuple[int, bytes, int]:
    try:
        one = ipaddress.ip_interface(str(given))  # of a number it would make an address
    except ValueError as error:
        raise ValueError(f"{place}.addresses: {error}") from None
    return (AF_INET if one.version == 4 else AF_INET6), one.packed, one.network.prefixlen


class Crossing(Probe):
    """What is sent by one end, and what has arrived there.

    Attributes:
        wire: The link.
        far: Its other end.
        arrived: The sizes that have arrived here.
        heard: Those that have arrived there.
        is_greeted: Whether anything of the other end has arrived.
    """

    __slots__ = (
        "_closing",
        "_due",
        "_mac",
        "_most_interval",
        "arrived",
        "far",
        "heard",
        "is_greeted",
        "unanswered",
        "wire",
    )

    def __init__(self, wire: CheckedLink, sender: Port, far: Far) -> None:
        super().__init__(sender)
        self.wire = wire
        self.far = far
        self.arrived = self.heard = 0
        self.is_greeted = False
        self.unanswered = {
            (family, address)
            for family, address, length in far.addresses
            if any(are_on_link((family, address, length), own) for own in sender.addresses)
        }
        self._mac: bytes | None = None
        self._due = 0.0
        self.plan()
        self.interval = max(self.interval, INTERVAL)
        self._most_interval = INTERVAL if self.sender.impairment.loss else MOST_INTERVAL
        self._closing = min(self.tries, MOST_CLOSING)

    def is_done(self) -> bool:
        """Return whether all has arrived, here and there."""
        return self.arrived == self.heard == BOTH and not self.unanswered

    def is_over(self) -> bool:
        """Return whether the other end has been told so as well, as often as is worth it."""
        return self.is_done() and self._closing <= 0

    def namespaces(self) -> set[int]:
        """Return the namespace where it is sent and received."""
        return {self.sender.ns}

    def ways(self) -> Iterable[Sequence[Port]]:
        """Return the interface that sends. What is behind it is not known."""
        return ((self.sender,),)

    def is_due(self, now: float) -> bool:
        """Return whether it is time to send; if so, set the next time."""
        if now < self._due or self.is_over():
            return False
        if self.is_done():
            self._closing -= 1
        self._due = now + self.interval
        self.interval = max(min(self.interval * GROWTH, self._most_interval), self.interval)
        return True

    def pending(self, nonce: bytes) -> Iterator[bytes]:
        """Return the frames of what the other end has not got yet."""
        source = self.sender.mac
        if self._mac is None:
            yield frame(self._number(0), nonce, source, BROADCAST, SMALL)
            return
        missing = BOTH & ~self.heard
        if missing & SHORT or not missing:
            yield frame(self._number(SHORT), nonce, source, self._mac, SMALL)
        if missing & FULL:
            yield frame(self._number(FULL), nonce, source, self._mac, self.sender.mtu + ETHERNET_HEADER)
        for family, address in self.unanswered:
            yield question(family, address, source, self._mac)

    def _number(self, size: int) -> int:
        return self.far.number << NUMBER_SHIFT | self.far.side << SIDE_SHIFT | self.arrived << HEARD_SHIFT | size

    @staticmethod
    def key(number: int) -> tuple[int, int]:
        """Return the number of the link, and the side that a frame with this number goes to."""
        return number >> NUMBER_SHIFT, 1 - (number >> SIDE_SHIFT & 1)

    def arrive(self, number: int, source: bytes, destination: bytes) -> None:
        """Note a frame of the other end."""
        before = self.arrived, self.heard, self._mac
        self.is_greeted = True
        self._mac = source
        self.heard |= number >> HEARD_SHIFT & BOTH
        if destination == self.sender.mac:
            self.arrived |= SHORT | number & BOTH
        if self.is_over() and number >> HEARD_SHIFT & BOTH != BOTH:  # it has not been told yet
            self._closing = 1
        if before != (self.arrived, self.heard, self._mac):  # say so soon
            self._due = 0.0

    def judge(self, patience: float) -> None:
        """Add what has not arrived to the link."""
        self.wire.is_checked = True
        here, far, add = self.sender.title, self.far.title, self.wire.problems.append
        if self.refusal is not None and not (self.is_done() or self.arrived == BOTH):
            add(Finding("carry", f"nothing can be sent by {here}: {self.refusal.strerror or self.refusal}"))
        elif not self.is_greeted:
            add(Finding("carry", f"frames from {far} do not arrive at {here}, within {patience:.0f} s"))
        elif not self.arrived & SHORT:
            add(Finding("carry", f"broadcasts from {far} arrive at {here}, and no answer to frames from {here} does"))
        elif not self.arrived & FULL:
            add(Finding("mtu", f"frames of the MTU of {far} do not arrive at {here}, small ones do"))
        for _, address in sorted(self.unanswered) if self.arrived else ():
            text = f"{far} does not answer for {ipaddress.ip_address(address)} when {here} asks"
            add(Finding("address", text))
