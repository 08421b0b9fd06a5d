"""Sockets in the namespaces of probes, by which they are sent, and what arrives is read."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from kokofast.verification.probes import FULL, SHORT, Question, Shot
from kokofast.wire.probe import answer_of, filter_of, number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kokofast.host.frames import Frames, FrameSocket
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.verification.probes import Probe

# Windows whose sockets are being closed: on a busy machine that takes longer than the next window.
CLOSING_WINDOWS = 3
# Seconds between two looks for frames: at first, and when nothing has come for long.
POLL_SECONDS, MOST_POLL_SECONDS = 0.002, 0.02
OVERHEAD = 1 << 10  # bytes of a buffer: the kernel's structures


class Shared:
    """What the windows of a run share.

    Attributes:
        handles: The namespaces, by their numbers.
        kernel: The kernel.
        nonce: The random number of the run, in each of its frames.
        program: The BPF program of what sockets receive.
        most: How many namespaces a window may have: each takes two descriptors, and the sockets of the windows before
            are still being closed.
        closing: These.
    """

    __slots__ = ("closing", "handles", "kernel", "most", "nonce", "program")

    def __init__(self, handles: Sequence[Handle | None], kernel: Kernel, nonce: bytes) -> None:
        self.handles = handles
        self.kernel = kernel
        self.nonce = nonce
        self.program = filter_of(nonce)
        self.most = max(kernel.capacity * 2 // (2 + CLOSING_WINDOWS), 2)
        self.closing: list[Frames] = []

    def wait(self) -> None:
        """Wait until the sockets of all windows are closed."""
        for frames in self.closing:
            frames.wait()


class Window:
    """Sockets in the namespaces of some probes, and in some more."""

    def __init__(self, shared: Shared, probes: Sequence[Probe], more: Iterable[int] = ()) -> None:
        self._shared = shared
        self._shots = {probe.number: probe for probe in probes if isinstance(probe, Shot)}
        self._questions = {
            (probe.sender.ns, probe.sender.ifname, probe.address): probe
            for probe in probes
            if isinstance(probe, Question)
        }
        numbers = dict.fromkeys(more)
        for probe in probes:
            numbers.update(dict.fromkeys(probe.namespaces()))
        self._numbers = list(numbers)
        self._using = ExitStack()
        self.sockets: dict[int, FrameSocket | OSError] = {}

    def __enter__(self) -> Window:
        found = self._shared.handles
        held = self._hold({number: handle for number in self._numbers if (handle := found[number]) is not None})
        try:
            self._frames = self._shared.kernel.open_frames(list(held.values()), self._shared.program)
        except BaseException:
            self._using.close()
            raise
        self.sockets.update(zip(held, self._frames.sockets, strict=True))
        return self

    def _hold(self, handles: dict[int, Handle]) -> dict[int, Handle]:
        """Keep namespaces open, and return those that are still there."""
        kernel = self._shared.kernel
        try:
            self._using.enter_context(kernel.using(list(handles.values()), to_ask=False))
        except OSError:  # one of them had to be opened again, and is gone: find it
            pass
        else:
            return handles
        held: dict[int, Handle] = {}
        for number, handle in handles.items():
            try:
                self._using.enter_context(kernel.using([handle], to_ask=False))
            except OSError as error:
                self.sockets[number] = error
            else:
                held[number] = handle
        return held

    def __exit__(self, *_: object) -> None:
        closing = self._shared.closing
        while len(closing) >= CLOSING_WINDOWS:
            closing.pop(0).wait()
        closing.append(self._frames)
        self._frames.begin_to_close()
        self._using.close()

    def send(self, probe: Probe) -> int:
        """Send what has not arrived yet of a probe; return how many bytes that takes of a receiver's buffer at most."""
        socket = self.sockets[probe.sender.ns]
        sent = 0
        try:
            if isinstance(socket, OSError):
                raise socket
            for data in probe.pending(self._shared.nonce):
                socket.send(probe.sender.ifname, data)
                sent += 2 * len(data) + OVERHEAD
        except OSError as error:
            probe.refusal = error
        else:
            probe.refusal = None
        probe.is_new = False
        return sent

    def receive(self, namespaces: Iterable[int]) -> None:
        """Note what has arrived in some namespaces."""
        for ns in namespaces:
            socket = self.sockets[ns]
            if not isinstance(socket, OSError):
                self.note(ns, socket.receive())

    def note(self, ns: int, received: Iterable[tuple[str, bytes]]) -> None:
        """Note what has arrived in a namespace: (interface, the beginning of a frame) each."""
        for ifname, data in received:
            found = number_of(data, self._shared.nonce)
            if found is None:
                address = answer_of(data)
                question = self._questions.get((ns, ifname, address)) if address is not None else None
                if question is not None:
                    question.is_answered = True
            elif (shot := self._shots.get(found >> 2)) is not None:
                shot.arrive(found & (SHORT | FULL), ns, ifname)

    def exchange(self, probes: Iterable[Probe]) -> None:
        """Send probes, and note what has arrived by now."""
        for probe in probes:
            self.send(probe)
        self.receive(self.sockets)
