"""The events that a watch has received since its last look."""

from __future__ import annotations

from kokofast.wire.attributes import DecodeError
from kokofast.wire.link import RTM_DELLINK, RTM_NEWLINK
from kokofast.wire.message import split
from kokofast.wire.netns import RTM_DELNSID, RTM_NEWNSID

# Notifications: more than a large lab has interfaces. A limit, as any program in a namespace can cause more.
KEPT_MAX = 200_000


class Kept:
    """The last notification of each interface, address and so on, in the order of arrival.

    If an interface comes and goes a thousand times, only its last state matters. is_lost: some notifications are lost,
    as more came than are kept, or than the kernel could queue.
    """

    def __init__(self) -> None:
        self.is_lost = False
        self._kept: dict[object, tuple[int | None, int, int, bytes]] = {}

    def __bool__(self) -> bool:
        return self.is_lost or bool(self._kept)

    def add(self, nsid: int | None, datagram: bytes) -> None:
        """Add a datagram from the namespace with this nsid; None is our own."""
        try:
            for type, flags, _, _, body in split(datagram):
                if nsid is None:
                    if type != RTM_DELNSID:
                        continue
                elif type in (RTM_NEWNSID, RTM_DELNSID):
                    continue  # of the nsids there, which are not ours
                raw = bytes(body)
                # An interface is identified by its family and number, anything else by its content.
                key = (nsid, raw[:1], raw[4:8]) if type in (RTM_NEWLINK, RTM_DELLINK) else (nsid, type, raw)
                self._kept.pop(key, None)
                self._kept[key] = nsid, type, flags, raw
        except DecodeError:
            self.is_lost = True
        if len(self._kept) > KEPT_MAX:
            self.lose()

    def lose(self) -> None:
        """Drop all notifications: the caller has to look at everything."""
        self.is_lost = True
        self._kept.clear()

    def take(self) -> list[tuple[int | None, int, int, bytes]]:
        """Return (nsid, type, flags, body) of what is kept, and forget it."""
        found = list(self._kept.values())
        self._kept.clear()
        self.is_lost = False
        return found


class News:
    """The events since the last look.

    Attributes:
        kept: Notifications of the kernel.
        nodes: Nodes that may have changed.
        ended: Nodes whose process has ended.
        file: Whether the file may have changed.
        everything: Whether to look at everything.
        daemons: (title, why it cannot be used) of daemons that were lost; "" for one that is back.
    """

    def __init__(self) -> None:
        self.kept = Kept()
        self.nodes: set[str] = set()
        self.ended: set[str] = set()
        self.file = False
        self.everything = False
        self.daemons: list[tuple[str, str]] = []

    def __bool__(self) -> bool:
        return bool(self.kept or self.nodes or self.ended or self.file or self.everything or self.daemons)
