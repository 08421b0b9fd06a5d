"""The netlink decoder on any bytes: a message, or DecodeError, and what it read it can write again.

The first byte of an input chooses what the rest is taken for, the second the kind of message or the offset to explain.
"""

from __future__ import annotations

from pathlib import Path

from kokofast.wire.ack import Ack, explain, short_ack, unpack_ack
from kokofast.wire.attributes import DecodeError, EncodeError, encode
from kokofast.wire.decode import LAYOUTS, decode, path_at
from kokofast.wire.link import LINK
from kokofast.wire.message import HEADER_SIZE, all_formats, split, unpack
from tests import golden

GOLDEN = {path.stem: golden.read(path.stem) for path in sorted(Path(golden.__file__).parent.glob("*.hex"))}
REQUEST = GOLDEN["newlink_veth"]
TYPES = sorted(all_formats())
WANTED = frozenset(("ifname", "linkinfo"))


def datagram(_: int, data: bytes) -> None:
    """What a receive returns: every message of it in its turn."""
    short_ack(data)
    try:
        for type, flags, seq, pid, body in split(data):
            message(type, bytes(body))
            acknowledgement(flags, bytes(body))
            unpack(type, flags, seq, pid, body)
    except DecodeError:
        pass


def message(choice: int, data: bytes) -> None:
    """One message's body; what is read of it, written and read again, is the same."""
    type = choice if choice in TYPES else TYPES[choice % len(TYPES)]
    try:
        found = unpack(type, 0, 0, 0, data)
    except DecodeError:
        # Nor may it be read when it is met a second time: what was seen before is remembered.
        try:
            unpack(type, 0, 0, 0, data)
        except DecodeError:
            return
        raise AssertionError("read the second time only") from None
    _, table = all_formats()[type]
    if table is LINK:
        some = unpack(type, 0, 0, 0, data, WANTED)
        assert some.attributes == {name: found.attributes[name] for name in found.attributes if name in WANTED}
    try:
        again = encode(table, found.attributes)
    except EncodeError:  # a text with a NUL inside, which the kernel cannot have either
        return
    assert decode(table, again) == found.attributes
    LAYOUTS.clear()
    assert decode(table, again) == found.attributes


def acknowledgement(choice: int, data: bytes) -> None:
    """The body of an NLMSG_ERROR or NLMSG_DONE, with every combination of flags, explained."""
    for flags in (0, 0x100, 0x200, 0x300, choice):
        for echoes in (True, False):
            try:
                ack = unpack_ack(flags, 1, data, echoes=echoes)
            except DecodeError:
                continue
            str(explain(REQUEST, ack))


def offset(choice: int, data: bytes) -> None:
    """The path to an offset, which never raises, in our own requests and in anything else."""
    for table in {id(table): table for _, table in all_formats().values()}.values():
        path_at(table, data, choice)
    for request in GOLDEN.values():
        if request[4:6] != b"\x02\x00" and len(request) >= HEADER_SIZE:
            explain(request, Ack(1, 22, "", choice))


USES = (datagram, message, acknowledgement, offset)
SEEDS = [
    *(bytes((0, 0)) + data for data in GOLDEN.values()),
    *(bytes((1, int.from_bytes(data[4:6], "little"))) + data[HEADER_SIZE:] for data in GOLDEN.values()),
    *(bytes((2, 0)) + data[HEADER_SIZE:] for name, data in GOLDEN.items() if name.startswith(("ack", "dump"))),
    *(bytes((3, 40)) + data[HEADER_SIZE + 16 :] for data in GOLDEN.values()),
]


def run_one(data: bytes) -> None:
    """One input of the fuzzer; any exception is a finding."""
    if len(data) >= 2:
        USES[data[0] % len(USES)](data[1], data[2:])
