"""A dump read as rows is what the same messages are, decoded one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kokofast.wire import decode as decode_module
from kokofast.wire import rows as rows_module
from kokofast.wire.attributes import DecodeError, encode
from kokofast.wire.link import IFINFOMSG, LINK, RTM_NEWLINK
from kokofast.wire.message import NLM_F_DUMP_INTR, NLM_F_MULTI, NLMSG_DONE, NLMSGHDR, is_end, split, unpack
from kokofast.wire.route import ROUTE, RTM_NEWROUTE, RTMSG
from kokofast.wire.rows import MAX_FORMATS, MAX_TOGETHER, Rows
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


def assert_same_or_refused(rows: Rows, damaged: bytes) -> None:
    """Check that damaged bytes give the same rows as message by message, or DecodeError either way."""
    try:
        wanted = one_by_one(rows, damaged) if all(one[0] in (rows.type, 3) for one in split(damaged)) else None
    except DecodeError:
        wanted = None
    try:
        found = read(rows, damaged)
    except DecodeError:
        assert wanted is None
    else:
        assert wanted is None or found == wanted


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
    assert_same_or_refused(rows, damaged)


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


LINK_NAMES = ("ifname", "ifalias", "linkinfo", "mtu", "address", "link_netnsid", "prop_list")
LINK_KINDS: tuple[dict[Any, Any], ...] = (
    {"kind": "veth"},
    {"kind": "vlan", "data": {"id": 7}},
    {"kind": "veth", "slave_kind": "bridge", "slave_data": bytes(8)},
)


def interface(header: dict[str, int], attributes: dict[Any, Any]) -> bytes:
    body = IFINFOMSG.pack(header) + encode(LINK, attributes)
    return NLMSGHDR.pack(NLMSGHDR.size + len(body), RTM_NEWLINK, NLM_F_MULTI, SEQ, 0) + body


@st.composite
def interfaces(draw: st.DrawFn) -> bytes:
    """An interface with names of any length, and without some of the attributes."""
    attributes: dict[Any, Any] = {"ifname": draw(st.text("abc", min_size=1, max_size=6))}
    some: dict[str, st.SearchStrategy[Any]] = {
        "ifalias": st.text("xy", max_size=9),
        "linkinfo": st.sampled_from(LINK_KINDS),
        "mtu": st.sampled_from((68, 1500)),
        "address": st.binary(min_size=6, max_size=6),
        "txqlen": st.just(1000),  # not among LINK_NAMES: must be skipped
        "link_netnsid": st.integers(0, 3),
        "prop_list": st.just({"alt_ifname": ["one", "two"]}),
    }
    for name in draw(st.sets(st.sampled_from(sorted(some)))):
        attributes[name] = draw(some[name])
    return interface({"index": draw(st.integers(1, 9)), "flags": 1}, attributes)


@given(st.lists(st.lists(interfaces(), min_size=1, max_size=4), min_size=1, max_size=5), st.permutations(range(5)))
@settings(max_examples=200)
def test_interfaces_are_the_messages_in_each_namespace(namespaces: list[list[bytes]], order: list[int]) -> None:
    rows = Rows(RTM_NEWLINK, *LINK_NAMES)
    for _ in range(3):  # decoded, each by its format, all by one
        for number in order:
            data = b"".join(namespaces[number % len(namespaces)])
            assert read(rows, data) == one_by_one(rows, data)


@given(st.lists(interfaces(), min_size=2, max_size=4), st.data())
@settings(max_examples=200)
def test_a_datagram_that_differs_in_a_byte_is_read_as_what_it_is(parts: list[bytes], data: st.DataObject) -> None:
    rows = Rows(RTM_NEWLINK, *LINK_NAMES)
    changed = bytearray(b"".join(parts))
    for _ in range(3):
        read(rows, bytes(changed))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = bytes(changed)
    assert_same_or_refused(rows, damaged)


def test_a_datagram_of_a_few_messages_is_read_by_one_format(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows(RTM_NEWROUTE, *NAMES)

    def datagram(count: int, last: int) -> bytes:
        one = message({"family": 2, "dst_len": 31}, {"dst": bytes((10, 0, 0, last)), "oif": last})
        other = message({"family": 10}, {"dst": bytes(15) + bytes((last,)), "oif": last})
        return one + other * (count - 1)

    for last in range(3):
        for count in (2, MAX_TOGETHER, MAX_TOGETHER + 1):
            read(rows, datagram(count, last))
    assert sorted(rows._together) == [len(datagram(count, 0)) for count in (2, MAX_TOGETHER)]
    monkeypatch.setattr(rows, "_formats", {})  # not needed any more
    for count in (2, MAX_TOGETHER):
        data = datagram(count, 9)
        found: list[Any] = []
        assert not list(rows.split(data, SEQ, found))
        assert found == one_by_one(rows, data)
        assert list(rows.split(data, SEQ + 1, [])), "the answers to another request"


def test_rows_leave_out_what_is_not_asked_for() -> None:
    rows = Rows(RTM_NEWLINK, *LINK_NAMES, only=("ifname",))
    data = interface({"index": 3}, {"ifname": "e0", "mtu": 1500, "linkinfo": {"kind": "veth"}})
    for _ in range(3):
        assert read(rows, data) == [(0, 0, 3, 0, 0, "e0", None, None, None, None, None, None)]


@pytest.mark.parametrize(
    ("flags", "seq", "error", "more", "wanted"),
    [
        (NLM_F_MULTI, SEQ, 0, b"", True),
        (NLM_F_MULTI | NLM_F_DUMP_INTR, SEQ, 0, b"", False),
        (NLM_F_MULTI, SEQ - 1, 0, b"", False),
        (NLM_F_MULTI, SEQ, -16, b"", False),
        (NLM_F_MULTI, SEQ, 0, bytes(4), False),
    ],
    ids=["the end", "it changed", "of another dump", "an error", "more behind it"],
)
def test_the_end_of_a_dump(flags: int, seq: int, error: int, more: bytes, wanted: bool) -> None:
    end = NLMSGHDR.pack(NLMSGHDR.size + 4, NLMSG_DONE, flags, seq, 4711) + error.to_bytes(4, "little", signed=True)
    assert is_end(end + more, SEQ) is wanted
