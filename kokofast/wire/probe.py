"""Ethernet frames that find out whether a link carries.

A frame is of the first EtherType for local experiments (RFC 9542, appendix B.2), so no protocol acts on it. It has our
mark, the random number of the run, the number of the frame, and zeros up to its length.
"""

from __future__ import annotations

import struct

ETH_P_PROBE = 0x88B5
ETHERNET_HEADER = 14
NONCE_BYTES = 16
MARK = b"kokofast"
SMALL = 60  # bytes: the shortest frame of Ethernet, without its checksum

_FRAME = struct.Struct(f"!6s6sH{len(MARK)}s{NONCE_BYTES}sI")

# Classic BPF: linux/filter.h
_LD_W, _LD_H, _JEQ, _RET = 0x20, 0x28, 0x15, 0x06
_PASSED = 128  # bytes of a frame that are received: more than is looked at


def frame(number: int, nonce: bytes, source: bytes, destination: bytes, length: int) -> bytes:
    """Return a frame of this length in bytes, its header included."""
    packed = _FRAME.pack(destination, source, ETH_P_PROBE, MARK, nonce, number)
    return packed.ljust(length, b"\0")


def number_of(data: bytes, nonce: bytes) -> int | None:
    """Return the number of a frame of this run; None for all else."""
    if len(data) < _FRAME.size:
        return None
    *_, protocol, mark, found, number = _FRAME.unpack_from(data)
    if protocol != ETH_P_PROBE or mark != MARK or found != nonce:
        return None
    return int(number)


def filter_of(nonce: bytes) -> bytes:
    """Return the classic BPF program that passes frames of this run, and nothing else."""
    words = struct.unpack("!6I", MARK + nonce)
    wanted = [(_LD_H, 12, ETH_P_PROBE)]
    wanted += [(_LD_W, ETHERNET_HEADER + 4 * at, word) for at, word in enumerate(words)]
    end = 2 * len(wanted) + 1
    program: list[tuple[int, int, int]] = []  # instruction, operand, how many to skip if not equal
    for code, offset, value in wanted:
        program += [(code, offset, 0), (_JEQ, value, end - len(program) - 2)]
    program += [(_RET, _PASSED, 0), (_RET, 0, 0)]
    return b"".join(struct.pack("=HBBI", code, 0, other, operand) for code, operand, other in program)
