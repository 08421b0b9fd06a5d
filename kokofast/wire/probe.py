"""Ethernet frames that find out whether a link carries, and requests for the owner of an address.

A frame is of the first EtherType for local experiments (RFC 9542, appendix B.2), so no protocol acts on it. It has our
mark, the random number of the run, the number of the frame, and zeros up to its length.

The requests are those of a host that looks for duplicates of an address: an ARP probe (RFC 5227) and a Neighbor
Solicitation from :: (RFC 4861). Who answers does not learn a neighbour from them.
"""

from __future__ import annotations

import struct

ETH_P_PROBE = 0x88B5
ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD
ETHERNET_HEADER = 14
MAC_BYTES = 6
BROADCAST = b"\xff" * MAC_BYTES
NONCE_BYTES = 16
MARK = b"kokofast"
SMALL = 60  # bytes: the shortest frame of Ethernet, without its checksum
AF_INET, AF_INET6 = 2, 10

_ETHERNET = struct.Struct("!6s6sH")
_FRAME = struct.Struct(f"!6s6sH{len(MARK)}s{NONCE_BYTES}sI")
# Hardware type 1 Ethernet, protocol type IPv4, their lengths, operation; sender's and target's addresses.
_ARP = struct.Struct("!HHBBH6s4s6s4s")
ARP_REQUEST, ARP_REPLY = 1, 2
# Version 6, length, next header, hop limit; source, destination.
_IPV6 = struct.Struct("!IHBB16s16s")
# Type, code, checksum, reserved (flags in the answer); target.
_NEIGHBOUR = struct.Struct("!BBHI16s")
NEXT_ICMPV6 = 58
HOP_LIMIT = 255  # others are ignored
SOLICITATION, ADVERTISEMENT = 135, 136
_SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")  # RFC 4291 section 2.7.1; then the end of the address

# Classic BPF: linux/filter.h
_LD_W, _LD_H, _LD_B, _JEQ, _RET = 0x20, 0x28, 0x30, 0x15, 0x06
_PASSED = 128  # bytes of a frame that are received: more than is looked at
_PROBE = 10  # the number of the instruction where our frames are compared


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


def question(family: int, address: bytes, source: bytes, destination: bytes) -> bytes:
    """Return the request for the owner of an address. It is sent to the MAC address of the end that should have it."""
    if family == AF_INET:
        body = _ARP.pack(1, 0x0800, 6, 4, ARP_REQUEST, source, bytes(4), bytes(6), address)
        return _ETHERNET.pack(destination, source, ETH_P_ARP) + body
    group = _SOLICITED_NODE + address[13:]
    unchecked = _NEIGHBOUR.pack(SOLICITATION, 0, 0, 0, address)
    pseudo = bytes(16) + group + struct.pack("!II", len(unchecked), NEXT_ICMPV6)
    body = _NEIGHBOUR.pack(SOLICITATION, 0, _checksum(pseudo + unchecked), 0, address)
    header = _IPV6.pack(6 << 28, len(body), NEXT_ICMPV6, HOP_LIMIT, bytes(16), group)
    return _ETHERNET.pack(destination, source, ETH_P_IPV6) + header + body


def answer_of(data: bytes) -> bytes | None:
    """Return the address whose owner answers with this packet; None for all else."""
    if len(data) < ETHERNET_HEADER + _ARP.size:
        return None
    protocol = int.from_bytes(data[12:14], "big")
    if protocol == ETH_P_ARP:
        *_, operation, _, sender, _, target = _ARP.unpack_from(data, ETHERNET_HEADER)
        return bytes(sender) if operation == ARP_REPLY and target == bytes(4) else None
    at = ETHERNET_HEADER + _IPV6.size
    if protocol != ETH_P_IPV6 or len(data) < at + _NEIGHBOUR.size or data[20] != NEXT_ICMPV6:
        return None
    type, *_, address = _NEIGHBOUR.unpack_from(data, at)
    return bytes(address) if type == ADVERTISEMENT else None


def _checksum(data: bytes) -> int:
    # RFC 1071
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def filter_of(nonce: bytes) -> bytes:
    """Return the classic BPF program that passes frames of this run and answers to requests, and nothing else."""
    words = struct.unpack("!6I", MARK + nonce)
    yes = _PROBE + 2 * len(words)
    no = yes + 1
    # Instruction, operand, where to go if equal and if not. They go forward only.
    program = [
        (_LD_H, 12, 0, 0),
        (_JEQ, ETH_P_PROBE, _PROBE, 2),
        (_JEQ, ETH_P_ARP, 4, 3),
        (_JEQ, ETH_P_IPV6, 6, no),
        (_LD_H, 20, 0, 0),
        (_JEQ, ARP_REPLY, yes, no),
        (_LD_B, 20, 0, 0),
        (_JEQ, NEXT_ICMPV6, 8, no),
        (_LD_B, 54, 0, 0),
        (_JEQ, ADVERTISEMENT, yes, no),
    ]
    for word in words:
        at = len(program)
        program += [(_LD_W, ETHERNET_HEADER + 2 * (at - _PROBE), 0, 0), (_JEQ, word, at + 2, no)]
    program += [(_RET, _PASSED, 0, 0), (_RET, 0, 0, 0)]
    return b"".join(
        struct.pack("=HBBI", code, equal and equal - at - 1, other and other - at - 1, operand)
        for at, (code, operand, equal, other) in enumerate(program)
    )
