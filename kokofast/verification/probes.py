"""What to send over links, and what should arrive."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kokofast.verification.ports import NONE
from kokofast.wire.probe import ETHERNET_HEADER, SMALL, frame, question

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kokofast.verification.ports import CheckedLink, Port

SHORT, FULL = 1, 2  # bits: the sizes of frames

# Seconds. The kernel hands a frame over inside send(2), or soon after on a busy machine.
SETTLE = 0.5
INTERVAL = 0.1  # between two tries
CLEAN_TRIES = 3
# How unlikely it is that a link fails because all tries were lost.
UNLIKELY = 1e-6
MOST_TRIES = 200
SHORT_INTERVAL = 0.01
# Seconds until an interface sends whose carrier is there, or the kernel answers for an address.
# It takes one, and more on a busy machine.
SETTLING = 3.0


class Path:
    """A way that frames should take: from the sender of its shot to a receiver.

    Attributes:
        wire: The link that it is checked for.
        hops: The interfaces on the way that send: each may impair.
        copied: Of copies by a mirror, of what: "what r1:eth0 sends".
        arrived: The sizes that have arrived.
    """

    __slots__ = ("arrived", "copied", "hops", "receiver", "wire")

    def __init__(self, wire: CheckedLink, receiver: Port, hops: Sequence[Port], copied: str = "") -> None:
        self.wire = wire
        self.receiver = receiver
        self.hops = hops
        self.copied = copied
        self.arrived = 0


class Probe:
    """Something to send by an interface, again until its answer has come.

    Attributes:
        sender: The interface.
        refusal: Why the kernel has not sent it.
        tries: How often to send it.
        is_new: Whether it was not sent yet.
        interval: Seconds between two tries.
        wait: Seconds that the answer takes at most, after the last try.
        is_clean: Whether nothing on its way impairs.
        may_be_late: Whether the kernel may still be at work on what answers it. Nothing shows whether it is.
    """

    __slots__ = ("interval", "is_clean", "is_new", "may_be_late", "refusal", "sender", "tries", "wait")

    def __init__(self, sender: Port) -> None:
        self.sender = sender
        self.refusal: OSError | None = None
        self.is_clean = self.is_new = True
        self.may_be_late = False
        self.tries, self.interval, self.wait = CLEAN_TRIES, INTERVAL, SETTLE

    def is_done(self) -> bool:
        """Return whether all has arrived."""
        raise NotImplementedError

    def namespaces(self) -> set[int]:
        """Return the namespaces where it is sent or received."""
        raise NotImplementedError

    def pending(self, nonce: bytes) -> Iterable[bytes]:
        """Return the frames of what has not arrived yet."""
        raise NotImplementedError

    def ways(self) -> Iterable[Sequence[Port]]:
        """Return the interfaces that send, of each way."""
        raise NotImplementedError

    def plan(self) -> None:
        """Set how often to try, and how long to wait, by what the ways impair, and whether they carry yet."""
        ports = [port for hops in self.ways() for port in hops]
        if any([port.impairment is not NONE for port in ports]):
            self._plan_impaired()
        if self.may_be_late or any([port.settling for port in ports]):
            self.tries += math.ceil(SETTLING / self.interval)

    def _plan_impaired(self) -> None:
        delay = sending = loss = 0.0
        for hops in self.ways():
            given = [(port, port.impairment) for port in hops]
            delay = max(delay, sum(one.delay for _, one in given))
            sending = max(sending, sum((port.mtu + SMALL) / one.rate for port, one in given if one.rate))
            loss = max(loss, 1 - math.prod(1 - one.loss for _, one in given))
        self.is_clean = not (delay or sending or loss)
        self.wait = delay + sending + SETTLE
        if loss:
            enough = math.ceil(math.log(UNLIKELY) / math.log(loss)) if loss < 1 else MOST_TRIES
            self.tries = min(max(enough, CLEAN_TRIES), MOST_TRIES)
            self.interval = SHORT_INTERVAL
        # A queue in front of a low rate would fill up.
        self.interval = max(self.interval, 2 * sending)

    def seconds(self) -> float:
        """Return how long it takes at most."""
        return (self.tries - 1) * self.interval + self.wait


class Shot(Probe):
    """A frame in two sizes.

    Attributes:
        destination: A MAC address.
        in_lan: Whether a bridge hands it on, also to its other ports.
        is_asked: Whether a request, a small frame itself, takes the same way. The small frame is then sent only when
            the other one has not arrived.
        strays: The interfaces where it arrived and should not.
    """

    __slots__ = ("destination", "in_lan", "is_asked", "number", "paths", "strays")

    def __init__(self, number: int, sender: Port, destination: bytes, paths: list[Path], *, in_lan: bool) -> None:
        super().__init__(sender)
        self.in_lan = in_lan
        self.is_asked = False
        self.number = number
        self.destination = destination
        self.paths = paths
        self.strays: set[tuple[int, str]] = set()

    def is_done(self) -> bool:
        """Return whether all has arrived."""
        return all(path.arrived == SHORT | FULL for path in self.paths)

    def namespaces(self) -> set[int]:
        """Return the namespaces where it is sent or received."""
        return {self.sender.ns, *(path.receiver.ns for path in self.paths)}

    def pending(self, nonce: bytes) -> Iterable[bytes]:
        """Return the frames of what has not arrived yet."""
        missing = 0
        for path in self.paths:
            missing |= ~path.arrived
        if self.is_asked and self.is_new:
            missing &= FULL
        for size, length in ((SHORT, SMALL), (FULL, self.sender.mtu + ETHERNET_HEADER)):
            if missing & size:
                yield frame(self.number << 2 | size, nonce, self.sender.mac, self.destination, length)

    def ways(self) -> Iterable[Sequence[Port]]:
        """Return the interfaces that send, of each way."""
        return (path.hops for path in self.paths)

    def arrive(self, size: int, ns: int, ifname: str) -> None:
        """Note where a frame has arrived."""
        for path in self.paths:
            if path.receiver.ns == ns and path.receiver.ifname == ifname:
                path.arrived |= size | SHORT if self.is_asked else size
                return
        self.strays.add((ns, ifname))


class Question(Probe):
    """A request for the owner of an address, which the owner answers."""

    __slots__ = ("address", "family", "hops", "is_answered", "owner", "wire")

    def __init__(
        self, wire: CheckedLink, sender: Port, owner: Port, address: tuple[int, bytes], hops: Sequence[Port]
    ) -> None:
        super().__init__(sender)
        self.wire = wire
        self.owner = owner
        self.family, self.address = address
        self.hops = hops
        self.is_answered = False
        # For a new IPv6 address the kernel joins the multicast group to which requests are sent, in a work queue of all
        # namespaces: addrconf_dad_begin(), net/ipv6/addrconf.c. Answers are made by softirqs, which a busy machine puts
        # off. Who does not answer is rare where frames arrive: the wait costs little.
        self.may_be_late = True

    def is_done(self) -> bool:
        """Return whether the answer has arrived."""
        return self.is_answered

    def namespaces(self) -> set[int]:
        """Return the namespaces where it is sent or received. The kernel answers, so no socket is needed there."""
        return {self.sender.ns}

    def pending(self, nonce: bytes) -> Iterable[bytes]:
        """Return the request."""
        yield question(self.family, self.address, self.sender.mac, self.owner.mac)

    def ways(self) -> Iterable[Sequence[Port]]:
        """Return the interfaces that send: there and back."""
        return (self.hops,)
