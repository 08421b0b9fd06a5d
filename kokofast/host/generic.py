"""A NETLINK_GENERIC socket for the messages of ethtool. Imported where a file has offload."""

from __future__ import annotations

import _socket as socket
import errno

from kokofast.host import libc, netlink
from kokofast.host.threads import in_own_thread
from kokofast.wire.ethtool import CTRL, CTRL_CMD_GETFAMILY, ETHTOOL, GENL_ID_CTRL, NETLINK_GENERIC
from kokofast.wire.message import NLMSGHDR, KernelError, Request, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ASK = Request(
    CTRL,
    {"cmd": CTRL_CMD_GETFAMILY, "version": 1},
    {"family_name": "ethtool"},
    only=frozenset(("family_id",)),
)


class _Translating(socket.socket):
    """Puts the kernel's message types in place of ours, and the other way round."""

    def __init__(self, *args: int) -> None:
        super().__init__(*args)
        self.types = {CTRL: GENL_ID_CTRL}

    def send(self, data: Any, *args: Any) -> int:
        """Send messages that have types of ours."""
        return super().send(_translated(data, self.types), *args)

    def recvmsg(self, *args: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        """Receive messages, which then have types of ours."""
        data, ancillary, flags, address = super().recvmsg(*args)
        if address[0] == 0 and not flags & socket.MSG_TRUNC:  # whole, and the kernel's
            data = _translated(data, {theirs: ours for ours, theirs in self.types.items()})
        return data, ancillary, flags, address


_raw: type[_Translating] = _Translating
if netlink._raw_socket is not socket.socket:
    from kokofast.host.debug import PrintingSocket

    class _Printing(PrintingSocket, _Translating):
        """Prints the types that are ours."""

    _raw = _Printing


def _translated(data: bytes, types: dict[int, int]) -> bytes:
    """Return messages with other types; the types of answers (NLMSG_ERROR, ...) stay."""
    parts: list[bytes] = []
    for type, flags, seq, pid, body in split(data):
        size = NLMSGHDR.size + len(body)
        parts.append(NLMSGHDR.pack(size, types.get(type, type), flags, seq, pid) + body + bytes(-size % 4))
    return b"".join(parts)


class GenericSocket(netlink.Socket):
    """As Socket, in the namespace of the thread that makes it.

    Args:
        family: The number of ethtool; None looks it up.

    Raises:
        KernelError: This kernel has no ethtool netlink (EOPNOTSUPP).
        OSError: As for Socket.
    """

    __slots__ = ("family",)

    def __init__(self, family: int | None = None) -> None:
        super().__init__(_raw, NETLINK_GENERIC)
        try:
            self.family: int = self._find() if family is None else family
        except BaseException:
            self.close()
            raise
        assert isinstance(self._socket, _Translating)
        self._socket.types[ETHTOOL] = self.family

    def _find(self) -> int:
        try:
            (found,) = self.ask(_ASK)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise KernelError(errno.EOPNOTSUPP, "there is no ethtool netlink") from error
            raise
        return int(found.attributes["family_id"])


def open_generic(namespace: int, family: int | None) -> GenericSocket:
    """Return a socket in an open namespace. Raises KernelError, OSError."""

    def job() -> GenericSocket:
        libc.setns(namespace, libc.CLONE_NEWNET)
        return GenericSocket(family)

    return in_own_thread(job)
