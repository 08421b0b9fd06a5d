"""``python capture.py IFNAME``: the ICMP echo packets that arrive at an interface, one line each.

``request IDENTIFIER SEQUENCE`` or ``reply ...``; "ready" is the first line, and the end of standard input the end.
"""

from __future__ import annotations

import select
import socket
import struct
import sys

ETH_P_ALL = 0x0003
ETH_P_IP = 0x0800
PACKET_OUTGOING = 4
# (IPv4's protocol number, type) -> word
ICMP = 1
WORDS = {8: "request", 0: "reply"}


def line_of(frame: bytes) -> str | None:
    """The line for an Ethernet frame, None for anything else than an ICMP echo."""
    if len(frame) < 42 or struct.unpack_from("!H", frame, 12)[0] != ETH_P_IP:
        return None
    size = (frame[14] & 15) * 4
    packet = frame[14:]
    if packet[9] != ICMP or len(packet) < size + 8:
        return None
    word = WORDS.get(packet[size])
    identifier, sequence = struct.unpack_from("!HH", packet, size + 4)
    return f"{word} {identifier} {sequence}" if word is not None else None


def main(ifname: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as sock:
        sock.bind((ifname, ETH_P_ALL))
        print("ready", flush=True)
        while True:
            readable, _, _ = select.select([sock, sys.stdin], [], [])
            if sock in readable:
                frame, address = sock.recvfrom(1 << 16)
                line = line_of(frame) if address[2] != PACKET_OUTGOING else None
                if line is not None:
                    print(line, flush=True)
            elif not sys.stdin.buffer.read(1):
                return


if __name__ == "__main__":
    main(sys.argv[1])
