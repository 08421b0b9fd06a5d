"""Packet sockets of the fake kernel: a frame goes to the other end of its link at once."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kokofast.host.frames import Frames, FrameSocket
from kokofast.wire.probe import ETHERNET_HEADER

if TYPE_CHECKING:
    from tests.engine.fake import FakeKernel
    from tests.engine.fake_links import FakeNamespace


class FakeFrameSocket(FrameSocket):
    """A socket in a namespace of the fake kernel."""

    def __init__(self, namespace: FakeNamespace, frames: FakeFrames) -> None:
        self.namespace = namespace
        self.frames = frames
        self.inbox: list[tuple[str, bytes]] = []

    def send(self, ifname: str, data: bytes) -> None:
        link = self.namespace.by_name(ifname)
        if link is not None and self.frames.kernel.before_frame is not None:
            self.frames.kernel.before_frame(link)
            link = self.namespace.by_name(ifname)
        code = errno.ENODEV if link is None else 0 if link.up else errno.ENETDOWN
        if link is None or code:
            raise OSError(code, os.strerror(code))
        if link.peer is None or link.is_settling:
            return
        there, index = link.peer
        peer = there.links.get(index)
        if peer is not None and peer.up and len(data) <= peer.mtu + ETHERNET_HEADER:
            for socket in self.frames.sockets:
                if isinstance(socket, FakeFrameSocket) and socket.namespace is there:
                    socket.inbox.append((peer.name, data))

    def receive(self) -> Iterator[tuple[str, bytes]]:
        while self.inbox:
            yield self.inbox.pop(0)

    def close(self) -> None:
        pass


class FakeFrames(Frames):
    """Sockets in namespaces of the fake kernel."""

    def __init__(self, namespaces: Sequence[FakeNamespace], kernel: FakeKernel) -> None:
        self.kernel = kernel
        self.sockets: list[FrameSocket | OSError] = [FakeFrameSocket(one, self) for one in namespaces]
        self.is_closed = False

    def begin_to_close(self) -> None:
        self.is_closed = True

    def wait(self) -> None:
        assert self.is_closed
