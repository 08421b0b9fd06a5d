"""Messages between a program and the processes of its sandboxes: pickled objects and descriptors on a stream socket.

Both ends are the same program of the same user.
"""

from __future__ import annotations

import io
import pickle
import socket
from array import array
from typing import TYPE_CHECKING, Any

from kokofast.topology.locations import Origins

if TYPE_CHECKING:
    from collections.abc import Sequence

LENGTH_BYTES = 8
DESCRIPTORS_MAX = 4


class _Place:
    # The place of a field, as a function of a path below it.
    def __init__(self, place: str) -> None:
        self._place = place

    def __call__(self, path: str) -> str:
        return self._place + path


class _Pickler(pickle.Pickler):
    def reducer_override(self, found: object) -> Any:
        """Replace functions of places, which cannot be pickled, by the places."""
        if isinstance(found, Origins):
            return Origins, ({field: (_Place(at(path)), "") for field, (at, path) in found.found.items()},)
        return NotImplemented


def send(channel: socket.socket, message: object, descriptors: Sequence[int] = ()) -> None:
    """Send a message. Raises OSError when the other end is gone."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(message)
    data = buffer.getbuffer()
    socket.send_fds(channel, [len(data).to_bytes(LENGTH_BYTES, "big")], list(descriptors))
    channel.sendall(data)


def receive(channel: socket.socket) -> tuple[Any, list[int]]:
    """Return the next message and its descriptors. Raises EOFError when the other end is gone."""
    # recv_fds() of Python 3.11 ignores its flags, and a command would inherit the descriptors.
    size = socket.CMSG_LEN(DESCRIPTORS_MAX * array("i").itemsize)
    header, ancillary, _, _ = channel.recvmsg(LENGTH_BYTES, size, socket.MSG_CMSG_CLOEXEC)
    descriptors = array("i", b"".join(data for _, _, data in ancillary)).tolist()
    header += _exactly(channel, LENGTH_BYTES - len(header))
    return pickle.loads(_exactly(channel, int.from_bytes(header, "big"))), descriptors


def _exactly(channel: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = channel.recv_into(view)
        if not count:
            raise EOFError("the other end is gone")
        view = view[count:]
    return bytes(data)
