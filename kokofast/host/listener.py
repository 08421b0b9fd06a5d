"""One socket that receives the notifications of many network namespaces.

The socket is in a namespace of ours that has a number (nsid) for each of them; with NETLINK_LISTEN_ALL_NSID it gets
their notifications, too, with the nsid in a control message. Needs CAP_NET_BROADCAST. The numbers keep no namespace
alive. The kernel sends RTM_DELNSID when one ends. Source: netlink(7); do_one_broadcast() in net/netlink/af_netlink.c.
"""

from __future__ import annotations

import _socket as socket
import _thread
import errno
import os
import struct

from kokofast.host import libc
from kokofast.host.kernel import LinuxKernel
from kokofast.host.namespaces import make_scratch, open_sockets
from kokofast.host.netlink import SO_RCVBUFFORCE, SOL_NETLINK
from kokofast.host.pool import Handle
from kokofast.host.threads import in_own_thread
from kokofast.wire.message import KernelError, Request, words_of
from kokofast.wire.netns import NETNSA_NSID_NOT_ASSIGNED, RTM_GETNSID, RTM_NEWNSID, numbered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kokofast.host.namespaces import Identity
    from kokofast.host.netlink import Socket

NETLINK_ADD_MEMBERSHIP = 1
NETLINK_LISTEN_ALL_NSID = 8
BUFFER = 16 << 20  # bytes: some 10,000 notifications of links
DATAGRAM = 64 << 10  # bytes
AT_ONCE = 2000  # datagrams of one receive()
_NSID = struct.Struct("=i")


class Listener:
    """Receives notifications of namespaces. add() is thread-safe."""

    _asker: Socket | None = None
    _socket: socket.socket | None = None

    def __init__(self, groups: Iterable[int]) -> None:
        made = make_scratch()
        # Runs may send creations from here: making a namespace for each run would take longer than most links.
        self.scratch = Handle("(scratch)", made.identity, made.fd, made.socket)
        self.scratch.users = 1  # so that no pool closes it
        try:
            (self._asker,) = open_sockets([made.fd])
            self._socket = in_own_thread(lambda: _listening(made.fd, groups))
        except BaseException:
            self.close()
            raise
        self._lock = _thread.allocate_lock()
        self._numbers: dict[Identity, tuple[int, int]] = {}  # -> the namespace's cookie, its nsid
        self._next = 0

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        assert self._socket is not None
        return self._socket.fileno()

    def close(self) -> None:
        """Close the namespace and the sockets."""
        for one in (self._socket, self._asker, self.scratch.socket):
            if one is not None:
                one.close()
        if self.scratch.fd is not None:
            os.close(self.scratch.fd)

    def add(self, handles: Iterable[Handle]) -> None:
        """Receive the notifications of these open namespaces from now on. Raises OSError."""
        with self._lock:
            new: list[tuple[Handle, int, int]] = []
            requests: list[Request] = []
            for handle in handles:
                cookie = handle.socket.namespace_cookie() if handle.socket is not None else 0
                known = self._numbers.get(handle.identity)
                if known is None or known[0] != cookie:
                    assert handle.fd is not None
                    request = Request(RTM_NEWNSID, {})
                    request.body = numbered(self._next, handle.fd)
                    new.append((handle, cookie, self._next))
                    requests.append(request)
                    self._next += 1
            assert self._asker is not None
            failed: OSError | None = None
            for (handle, cookie, number), refusal in zip(new, self._asker.send(requests), strict=True):
                found = (
                    self._number_in_kernel(handle) if refusal is not None and refusal.errno == errno.EEXIST else None
                )
                if refusal is None or found is not None:
                    self._numbers[handle.identity] = cookie, number if found is None else found
                else:
                    failed = OSError(refusal.errno, f"changes in {handle.path} cannot be heard: {words_of(refusal)}")
            if failed is not None:
                raise failed

    def _number_in_kernel(self, handle: Handle) -> int | None:
        # The kernel did what an earlier request asked for, but its answer was lost.
        assert self._asker is not None
        (answer,) = self._asker.ask(Request(RTM_GETNSID, {}, {"fd": handle.fd}))
        found: int = answer.attributes["nsid"]
        return None if found == NETNSA_NSID_NOT_ASSIGNED else found

    def number_of(self, identity: Identity) -> int | None:
        """Return the nsid of a namespace by which receive() calls it."""
        found = self._numbers.get(identity)
        return None if found is None else found[1]

    def receive(self) -> tuple[list[tuple[int | None, bytes]], bool]:
        """Return datagrams that have come, each with the nsid, None for our own namespace; and whether some were lost.

        Returns at most AT_ONCE.
        """
        found: list[tuple[int | None, bytes]] = []
        lost = False
        assert self._socket is not None
        for _ in range(AT_ONCE):
            try:
                data, ancillary, flags, address = self._socket.recvmsg(DATAGRAM, 64, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                lost = True
                continue
            if address[0] != 0:  # port 0 is the kernel
                continue
            lost = lost or bool(flags & socket.MSG_TRUNC)
            nsid = next((_NSID.unpack(value)[0] for level, kind, value in ancillary if _is_nsid(level, kind)), None)
            found.append((nsid, data))
        return found, lost


def _is_nsid(level: int, kind: int) -> bool:
    return level == SOL_NETLINK and kind == NETLINK_LISTEN_ALL_NSID


def _listening(namespace: int, groups: Iterable[int]) -> socket.socket:
    libc.setns(namespace, libc.CLONE_NEWNET)
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        sock.connect((0, 0))  # others cannot send to it then
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        for group in groups:
            sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    except BaseException:
        sock.close()
        raise
    return sock


class HeardKernel(LinuxKernel):
    """The kernel of this machine. It adds each namespace to a listener before it is read."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def open_all(self, paths: Sequence[str]) -> list[Handle | OSError]:
        """See Pool."""
        found = super().open_all(paths)
        self._hear([item for item in found if not isinstance(item, OSError)])
        return found

    def _hear(self, handles: Sequence[Handle]) -> None:
        with self.using(handles):  # another worker that needs descriptors must not close them
            self._listener.add(handles)

    def scratch(self) -> Handle:
        """See LinuxKernel."""
        return self._listener.scratch

    def make(self, jobs: Sequence[tuple[str, str]]) -> list[Handle | OSError | KernelError]:
        """See LinuxKernel."""
        made = super().make(jobs)
        self._hear([item for item in made if not isinstance(item, (OSError, KernelError))])
        return made
