"""A dump read as rows is what the same messages are, decoded one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kokofast.wire import decode as decode_module
from kokofast.wire import rows as rows_module
from kokofast.wire.attributes import DecodeError, encode
from kokofast.wire.message import NLM_F_DUMP_INTR, NLM_F_MULTI, NLMSG_DONE, NLMSGHDR, split, unpack
from kokofast.wire.route import ROUTE, RTM_NEWROUTE, RTMSG
from kokofast.wire.rows import MAX_FORMATS, Rows
from tests.wire.decoded import row_of

NAMES = ("dst", "gateway", "multipath", "oif", "priority")
SEQ = 7
ADDRESS = {2: st.binary(min_size=4, max_size=4), 10: st.binary(min_size=16, max_size=16)}


def message(
    header: dict[str, int], attributes: dict[Any, Any], *, type: int = RTM_NEWROUTE, flags: int = 2, seq: int = SEQ
) -> bytes:
    body = RTMSG.pack(header) + encode(ROUTE, attributes)
    return NLMSGHDR.pack(NLMSGHDR.size + len(body), type, flags, seq, 0) + body


def read(rows: Rows, data: bytes, seq: int = SEQ) -> list[Any]:
    """As Socket._answer() does."""
    found: list[Any] = []
    for type, flags, number, _, body in rows.split(data, seq, found):
        if number == seq and type != NLMSG_DONE:
            found.append(rows.decode(type, flags, body))
    return found


def one_by_one(rows: Rows, data: bytes, seq: int = SEQ) -> list[Any]:
    return [
        row_of(rows, unpack(type, flags, number, pid, body))
        for type, flags, number, pid, body in split(data)
        if number == seq and type != NLMSG_DONE
    ]


@st.composite
def routes(draw: st.DrawFn) -> bytes:
    """A few shapes, in runs and in turns; some with another number, or with the sign of a change meanwhile."""
    family = draw(st.sampled_from((2, 10)))
    header = {"family": family, "dst_len": draw(st.integers(0, 128)), "table": 254, "protocol": 75, "type": 1}
    attributes: dict[Any, Any] = {"table": 254}
    for name in draw(st.sets(st.sampled_from(("dst", "gateway")))):
        attributes[name] = draw(ADDRESS[family])
    for name in draw(st.sets(st.sampled_from(("oif", "priority")))):
        attributes[name] = draw(st.integers(0, 2**32 - 1))
    if draw(st.booleans()):
        attributes["multipath"] = draw(st.binary(max_size=20))
    if draw(st.booleans()):
        attributes[20] = draw(st.binary(max_size=6))  # one that the table does not have
    flags = draw(st.sampled_from((NLM_F_MULTI,) * 5 + (NLM_F_MULTI | NLM_F_DUMP_INTR,)))
    one = message(header, attributes, flags=flags, seq=draw(st.sampled_from((SEQ,) * 5 + (SEQ - 1,))))
    return one * draw(st.integers(1, 4))


@given(st.lists(routes(), max_size=12), st.lists(routes(), max_size=12))
@settings(max_examples=200)
def test_rows_are_the_messages(first: list[bytes], second: list[bytes]) -> None:
    rows = Rows(RTM_NEWROUTE, *NAMES)
    done = NLMSGHDR.pack(NLMSGHDR.size + 4, NLMSG_DONE, NLM_F_MULTI, SEQ, 0) + bytes(4)
    for data in (b"".join(first), b"".join(second) + done, b"".join([*second, *first])):
        assert read(rows, data) == one_by_one(rows, data)


@given(st.lists(routes(), min_size=1, max_size=4), st.data())
@settings(max_examples=300)
def test_damaged_bytes_are_read_the_same_or_refused_the_same(parts: list[bytes], data: st.DataObject) -> None:
    rows = Rows(RTM_NEWROUTE, *NAMES)
    whole = b"".join(parts)
    read(rows, whole)  # the formats are known
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.sampled_from((0, 1, 3, 4, 0x7F, 0xFF)))
    damaged = bytes(changed[: data.draw(st.integers(0, len(changed)))])
    try:
        wanted = one_by_one(rows, damaged) if all(one[0] in (RTM_NEWROUTE, 3) for one in split(damaged)) else None
    except DecodeError:
        wanted = None
    try:
        found = read(rows, damaged)
    except DecodeError:
        assert wanted is None
    else:
        assert wanted is None or found == wanted


def test_those_that_are_alike_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    original = decode_module.decode

    def decode(*arguments: Any) -> Any:
        decoded.append(1)
        return original(*arguments)

    monkeypatch.setattr(rows_module, "decode", decode)
    rows = Rows(RTM_NEWROUTE, *NAMES)
    header = {"family": 2, "dst_len": 31, "table": 254, "protocol": 75, "type": 1}
    for seq in (1, 2):
        data = b"".join(
            message(header, {"dst": bytes((10, 0, 0, number)), "gateway": bytes(4), "oif": number}, seq=seq)
            for number in range(200)
        )
        assert read(rows, data, seq) == one_by_one(rows, data, seq)
    assert len(decoded) == 1


def test_what_is_remembered_is_bounded() -> None:
    rows = Rows(RTM_NEWROUTE, *NAMES)
    for size in range(1000):
        data = message({"family": 2}, {"multipath": bytes(size)})
        assert read(rows, data) == one_by_one(rows, data)
    assert len(rows._formats) <= MAX_FORMATS


def test_a_message_of_another_type_is_an_error() -> None:
    with pytest.raises(DecodeError, match="a message of type 25 among those of type 24"):
        read(Rows(RTM_NEWROUTE, *NAMES), message({"family": 2}, {}, type=25))
