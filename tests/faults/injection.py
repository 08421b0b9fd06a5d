"""Faults in the system calls of host/: the k-th one of a run fails as the test wants it to.

The modules of host/ find their system calls by name, in os, libc and the class Socket. For the time of a test others
stand under these names: they number every call and every netlink request, and carry out what no fault is planned for.
The product knows nothing of it, and its own code runs down to the bytes that go to the kernel and come from it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from kokofast.host import kernel, libc, namespaces, netns_dir, pool, sysctls
from kokofast.host.netlink import SO_NETNS_COOKIE, Socket
from kokofast.wire.debug import TYPES

REQUEST, SEND, RECEIVE, SOCKET = "request", "send", "receive", "socket"

# FAILS: it is not carried out, and says so. Of a receive: the answer comes too late, when the next one is waited for.
# Of a receive only: LOST, the answer never arrives; SHORT, TRUNCATED, half of it arrives, without and with the kernel's
# word that there was more.
FAILS, LOST, SHORT, TRUNCATED = "fails", "lost", "short", "truncated"

_HEADER = struct.Struct("=IHHII")

_OS_CALLS = ("open", "link", "unlink", "write", "read", "pwrite", "fstat", "stat", "makedirs")
_LIBC_CALLS = ("setns", "unshare", "mount", "umount2")


class Fault(NamedTuple):
    how: str
    errno: int = 0

    def __str__(self) -> str:
        return f"{self.how} {errno.errorcode[self.errno]}" if self.errno else self.how


class Point(NamedTuple):
    """A call that could fail: what it is, and of a request its message type, of others their first argument."""

    call: str
    what: str = ""

    def __str__(self) -> str:
        return f"{self.call} {self.what}".rstrip()

    def changes(self) -> bool:
        """Whether it changes something in the kernel."""
        if self.call == REQUEST:
            return not self.what.startswith("RTM_GET")
        return self.call in ("mount", "umount2", "unlink", "link", "pwrite")


class Sent(NamedTuple):
    """What a failing call was about: the cookie of the network namespace that the socket is in, and the requests."""

    cookie: int
    data: bytes


class Faults:
    """The faults of one run, by the number of the call, counted from 1. With ``forever`` also every call from this
    number on that changes something fails; and every call for which ``whenever`` has a fault. passed is every call that
    came by; hit tells at which of them a fault came to pass, came which one, about what those of a socket were."""

    def __init__(
        self,
        planned: Mapping[int, Fault] | None = None,
        forever: tuple[int, Fault] | None = None,
        whenever: Callable[[Point, Sent | None], Fault | None] = lambda *_: None,
    ) -> None:
        self.planned = dict(planned or {})
        self.forever = forever
        self.whenever = whenever
        self.passed: list[Point] = []
        self.hit: dict[int, Point] = {}
        self.came: dict[int, Fault] = {}
        self.about: dict[int, Sent] = {}
        self._lock = threading.Lock()

    def visit(self, call: str, what: str = "", sent: Sent | None = None) -> Fault | None:
        """Numbers a call; returns the fault that is planned for it."""
        with self._lock:
            self.passed.append(point := Point(call, what))
            number = len(self.passed)
            fault = self.planned.get(number) or self.whenever(point, sent)
            if fault is None and self.forever is not None and number >= self.forever[0] and point.changes():
                fault = self.forever[1]
            # Another call than the fault was meant for: of an answer that is cut a system call knows nothing.
            if fault is not None and (fault.how == FAILS or call == RECEIVE):
                self.hit[number] = point
                self.came[number] = fault
                if sent is not None:
                    self.about[number] = sent
                return fault
            return None

    def __str__(self) -> str:
        told = (f"{number}. {self.hit.get(number, '(never came)')}: {fault}" for number, fault in self.planned.items())
        others = (f"{number}. {self.hit[number]}: {fault}" for number, fault in self.came.items())
        lasting = [] if self.forever is None else [f"from {self.forever[0]}. on every change {self.forever[1]}"]
        return "; ".join([*told, *lasting] or others)


class _Watched:
    """A module of which some functions can fail."""

    def __init__(self, module: Any, faults: Faults, calls: tuple[str, ...]) -> None:
        self._module = module
        for name in calls:
            setattr(self, name, self._watched(name, getattr(module, name), faults))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    @staticmethod
    def _watched(name: str, call: Any, faults: Faults) -> Any:
        def watched(*arguments: Any, **options: Any) -> Any:
            fault = faults.visit(name, str(arguments[0]) if arguments else "")
            if fault is None:
                return call(*arguments, **options)
            raise OSError(fault.errno, os.strerror(fault.errno))

        return watched


class _Wire:
    """A netlink socket between the product's class Socket and the kernel's."""

    def __init__(self, real: Any, faults: Faults) -> None:
        self._real = real
        self._faults = faults
        self._cookie = int.from_bytes(real.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)
        self._sent = Sent(self._cookie, b"")
        self._before: list[bytes] = []  # refusals of ours, to be read before the kernel's answers
        self._behind: list[bytes] = []  # and behind them

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def send(self, data: bytes) -> int:
        self._sent = Sent(self._cookie, data)
        fault = self._faults.visit(SEND, sent=self._sent)
        if fault is not None:
            raise OSError(fault.errno, os.strerror(fault.errno))
        kept: list[bytes] = []
        messages = list(messages_of(data))
        for position, (message, type, seq) in enumerate(messages, 1):
            refusal = self._faults.visit(REQUEST, TYPES.get(type, str(type)), Sent(self._cookie, message))
            if refusal is None:
                kept.append(message)
                continue
            # The answer to the last one ends the reader's waiting: it comes behind what the kernel has to say.
            queue = self._behind if position == len(messages) else self._before
            queue.append(_refusal(seq, refusal.errno))
        if kept:
            self._real.send(b"".join(kept))
        return len(data)

    def recvmsg(self, size: int, _: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, tuple[int, int]]:
        fault = self._faults.visit(RECEIVE, sent=self._sent)
        if fault is None:
            return self._next(size, flags)
        if fault.how == LOST:
            self._drop()
        if fault.how in (LOST, FAILS):
            raise OSError(fault.errno, os.strerror(fault.errno))
        data, ancillary, flags, address = self._next(size, flags)
        flags |= socket.MSG_TRUNC if fault.how == TRUNCATED else 0
        # At an odd place: cut between two messages, what arrives would be a whole answer, and nobody could tell.
        return data[: len(data) // 2 | 1], ancillary, flags, address

    def _next(self, size: int, flags: int) -> tuple[bytes, list[Any], int, tuple[int, int]]:
        if self._before:
            return self._before.pop(0), [], 0, (0, 0)
        if self._behind:
            try:
                found: tuple[bytes, list[Any], int, tuple[int, int]] = self._real.recvmsg(size, 0, socket.MSG_DONTWAIT)
                return found
            except BlockingIOError:
                return self._behind.pop(0), [], 0, (0, 0)
        found = self._real.recvmsg(size, 0, flags)
        return found

    def _drop(self) -> None:
        self._before.clear()
        self._behind.clear()
        try:
            while True:
                self._real.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass


def messages_of(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(message, type, sequence number) of what was sent at once."""
    offset = 0
    while offset < len(data):
        length, type, _, seq, _ = _HEADER.unpack_from(data, offset)
        end = offset + (length + 3 & ~3)
        yield data[offset:end], type, seq
        offset = end


def _refusal(seq: int, code: int) -> bytes:
    # struct nlmsgerr with the header of the request; NLMSG_ERROR, NLM_F_CAPPED.
    body = struct.pack("=i", -code) + _HEADER.pack(_HEADER.size, 0, 0, seq, 0)
    return _HEADER.pack(_HEADER.size + len(body), 2, 0x100, seq, 0) + body


@contextmanager
def injected(faults: Faults) -> Iterator[None]:
    """For the block, the product's system calls are numbered by faults, and fail as it says."""

    class FaultySocket(Socket):
        __slots__ = ()

        def __init__(self) -> None:
            fault = faults.visit(SOCKET)
            if fault is not None:
                raise OSError(fault.errno, os.strerror(fault.errno))
            super().__init__()
            self._socket = _Wire(self._socket, faults)  # type: ignore[assignment]

    with pytest.MonkeyPatch.context() as patch:
        for module in (kernel, pool, namespaces, netns_dir, sysctls):
            patch.setattr(module, "os", _Watched(os, faults, _OS_CALLS))
        for module in (namespaces, netns_dir, sysctls):
            patch.setattr(module, "libc", _Watched(libc, faults, _LIBC_CALLS))
        for module in (namespaces, pool):
            patch.setattr(module, "Socket", FaultySocket)
        yield
