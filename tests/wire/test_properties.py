"""What holds for all mappings and all bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kokofast.wire import decode as decode_module
from kokofast.wire.ack import unpack_ack
from kokofast.wire.addr import ADDR, RTM_NEWADDR
from kokofast.wire.attributes import (
    BYTES,
    FLAG,
    NEST,
    NLA_TYPE_MASK,
    S32,
    STRING,
    U8,
    U16,
    U16_BE,
    U32,
    U64,
    Attr,
    DecodeError,
    EncodeError,
    Header,
    Table,
    encode,
)
from kokofast.wire.decode import LAYOUTS, MAX_DEPTH, MAX_KNOWN, decode, path_at
from kokofast.wire.link import IFINFOMSG, LINK, RTM_NEWLINK, RTM_SETLINK
from kokofast.wire.message import FORMATS, Request, pack, split, unpack
from tests import golden

# One attribute of every codec and every way to nest. Not the kernel's, but read by the same code.
INNER = Table("inner", {"number": Attr(1, U32), "word": Attr(2, STRING)})
HEADED = Table("headed", INNER.rows, header=Header("pair", "Bxxxi", "first second"))
SELF = Attr(20, NEST)
OUTER = Table(
    "outer",
    {
        "u8": Attr(1, U8),
        "u16": Attr(2, U16),
        "u32": Attr(3, U32),
        "u64": Attr(4, U64),
        "s32": Attr(5, S32),
        "u16_be": Attr(6, U16_BE),
        "string": Attr(8, STRING),
        "bytes": Attr(9, BYTES),
        "flag": Attr(10, FLAG),
        "nest": Attr(11, NEST, INNER),
        "headed": Attr(12, NEST, HEADED),
        "numbers": Attr(13, U16, many=True),
        "nests": Attr(14, NEST, INNER, many=True),
        "kind": Attr(15, STRING),
        "data": Attr(16, NEST, select="kind", tables={"inner": INNER, "headed": HEADED}),
        "self": SELF,
    },
)
SELF.table = OUTER

TABLES = [OUTER, LINK, ADDR]


def numbers(format: struct.Struct) -> st.SearchStrategy[int]:
    bits = 8 * format.size
    if format.format[-1:].islower():
        return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)
    return st.integers(0, (1 << bits) - 1)


# As the kernel holds them: any bytes but NUL. What is not UTF-8 keeps its value.
strings = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b"\x80").decode("utf-8", "surrogateescape")),
)


def headers(header: Header) -> st.SearchStrategy[dict[str, int]]:
    letters = header.struct.format.replace("x", "").lstrip("=<>")
    fields = {name: numbers(struct.Struct("=" + letter)) for name, letter in zip(header.fields, letters, strict=True)}
    return st.fixed_dictionaries(fields)


def one_value(attr: Attr, siblings: Mapping[Any, object], depth: int) -> st.SearchStrategy[Any]:
    if attr.codec.format is not None:
        return numbers(attr.codec.format)
    if attr.codec is STRING:
        return strings
    if attr.codec is FLAG:
        return st.just(True)
    inside = attr.inside(siblings)
    if attr.codec is BYTES or inside is None:
        return st.binary(max_size=20)
    if inside.header is None:
        return mappings(inside, depth - 1)
    return st.builds(
        lambda header, rest: {"header": header, **rest}, headers(inside.header), mappings(inside, depth - 1)
    )


@st.composite
def mappings(draw: st.DrawFn, table: Table, depth: int = 3) -> dict[Any, Any]:
    """A mapping that the table can encode, in any order, unknown attributes among the known ones."""
    names = [name for name, attr in table.rows.items() if depth > 0 or attr.codec is not NEST]
    unknown = st.integers(0, 0xFFFF).filter(lambda number: number & NLA_TYPE_MASK not in table.by_type)
    chosen: list[Any] = draw(st.lists(st.one_of(st.sampled_from(names), unknown), unique=True, max_size=6))
    values: dict[Any, Any] = dict.fromkeys(chosen)
    selectors = {name: attr.tables for attr in table.rows.values() if (name := attr.select) is not None}
    for name in chosen:
        if name in selectors:
            values[name] = draw(st.one_of(st.sampled_from(sorted(selectors[name] or ())), strings))
    for name in chosen:
        if name in selectors:
            continue
        attr = table.rows.get(name)
        if attr is None:
            values[name] = draw(st.binary(max_size=20))
        elif attr.many:
            values[name] = draw(st.lists(one_value(attr, values, depth), min_size=1, max_size=3))
        else:
            values[name] = draw(one_value(attr, values, depth))
    return values


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@given(data=st.data())
@settings(max_examples=60)
def test_decode_undoes_encode(table: Table, data: st.DataObject) -> None:
    values = data.draw(mappings(table))
    raw = encode(table, values)
    LAYOUTS.clear()
    for _ in range(2):  # the second time by what is remembered of the first
        found = decode(table, raw)
        assert found == values
        assert list(found) == list(values)
        assert encode(table, found) == raw


@given(st.data())
@settings(max_examples=100)
def test_every_attribute_can_be_found_by_its_offset(data: st.DataObject) -> None:
    values = data.draw(mappings(OUTER))
    raw = encode(OUTER, values)
    offset = 0
    for name, value in values.items():
        shown = str(name & NLA_TYPE_MASK) if isinstance(name, int) else name
        for _ in value if isinstance(value, list) else [value]:
            assert path_at(OUTER, raw, offset) == (shown,)
            offset += (struct.unpack_from("=H", raw, offset)[0] + 3) & ~3
    assert offset == len(raw)


REAL = [golden.read(name) for name in ("newlink_veth", "setlink_up_alias", "newaddr_v6", "ack_refused", "dump_refused")]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real message that was cut, or in which some bytes are others."""
    data = bytearray(draw(st.sampled_from(REAL)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.sampled_from([0, 1, 3, 4, 5, 0x7F, 0x80, 0xFF]))
    return bytes(data[: draw(st.integers(0, len(data)))])


any_bytes = st.one_of(st.binary(max_size=300), mutated(), mutated().map(lambda data: data[32:]))


@given(any_bytes, st.sampled_from(TABLES))
@settings(max_examples=400)
def test_decode_raises_nothing_else(data: bytes, table: Table) -> None:
    LAYOUTS.clear()
    try:
        values = decode(table, data)
    except DecodeError:
        with pytest.raises(DecodeError):
            decode(table, data)
        return
    # By what was remembered of the first time.
    assert decode(table, data) == values
    # What was read once is read the same after it was written.
    if all("\0" not in text for text in texts(values)):
        again = encode(table, values)
        assert decode(table, again) == values


def texts(values: object) -> list[str]:
    if isinstance(values, str):
        return [values]
    if isinstance(values, list):
        return [text for item in values for text in texts(item)]
    return [text for item in values.values() for text in texts(item)] if isinstance(values, dict) else []


@given(any_bytes)
@settings(max_examples=400)
def test_split_and_unpack_raise_nothing_else(data: bytes) -> None:
    try:
        for type, flags, seq, pid, body in split(data):
            unpack(type, flags, seq, pid, body)
    except DecodeError:
        pass


@given(any_bytes, st.integers(0, 0xFFFF), st.booleans())
@settings(max_examples=400)
def test_unpack_ack_raises_nothing_else(data: bytes, flags: int, echoes: bool) -> None:
    try:
        ack = unpack_ack(flags, 1, data, echoes=echoes)
    except DecodeError:
        return
    assert ack.errno >= 0
    assert ack.offset is None or ack.offset >= 0


@given(any_bytes, st.sampled_from(TABLES), st.one_of(st.integers(-40, 400), st.integers()))
@settings(max_examples=400)
def test_path_at_never_raises(data: bytes, table: Table, offset: int) -> None:
    assert all(isinstance(name, str) for name in path_at(table, data, offset))


@pytest.mark.parametrize("type", FORMATS)
def test_a_zero_length_does_not_hang(type: int) -> None:
    with pytest.raises(DecodeError):
        list(split(bytes(64)))
    header, table = FORMATS[type]
    for attribute in (bytes(64), b"\x03\0\x01\0" + bytes(8)):
        with pytest.raises(DecodeError):
            decode(table, attribute)
        assert path_at(table, attribute, 4) == ()
        with pytest.raises(DecodeError):
            unpack(type, 0, 0, 0, bytes(header.size) + attribute)


def deep(levels: int) -> bytes:
    """An interface whose peer has a peer whose peer ..., as deep as nla_len lets it be."""
    data = b""
    for _ in range(levels):
        peer = b"\0" * IFINFOMSG.size + data
        peer = struct.pack("=HH", 4 + len(peer), 1) + peer
        info = b"\x09\0\x01\0veth\0\0\0\0" + struct.pack("=HH", 4 + len(peer), 2) + peer
        data = struct.pack("=HH", 4 + len(info), 18) + info
    return data


def test_deep_nesting_does_not_exhaust_the_stack() -> None:
    assert decode(LINK, deep(MAX_DEPTH // 3))
    data = deep(1500)
    with pytest.raises(DecodeError, match="nested deeper"):
        decode(LINK, data)
    assert len(path_at(LINK, data, len(data) - 4)) <= MAX_DEPTH + 1


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"mtuu": 1}, "no attribute 'mtuu'"),
        ({"linkinfo": {"kindd": "veth"}}, "no attribute 'kindd'"),
        ({"linkinfo": {"kind": "veth", "data": {"pear": {}}}}, "no attribute 'pear'"),
        ({"linkinfo": {"kind": "veth", "data": {"peer": {"header": {"idx": 1}}}}}, "no field 'idx'"),
        ({"linkinfo": {"kind": "nosuch", "data": {}}}, "sibling 'kind'"),
        ({"linkinfo": {"data": {}}}, "sibling 'kind'"),
        ({"linkinfo": 3}, "not a NEST"),
        ({"header": {"index": 1}}, "no attribute 'header'"),
        ({"mtu": -1}, "not a U32"),
        ({"mtu": 1 << 32}, "not a U32"),
        ({"mtu": "1500"}, "not a U32"),
        ({"mtu": 1500.0}, "not a U32"),
        ({"mtu": None}, "not a U32"),
        ({"link_netnsid": 1 << 31}, "not a S32"),
        ({"carrier": 256}, "not a U8"),
        ({"ifname": "a\0b"}, "NUL"),
        ({"ifname": b"eth0"}, "not a STRING"),
        ({"ifname": "\ud800"}, "not a STRING"),
        ({"address": "02:00"}, "not a BYTES"),
        ({"address": 6}, "not a BYTES"),
        ({"ifalias": "x" * 65531}, "65535"),
        ({"address": bytes(65532)}, "65535"),
        ({77: bytes(65532)}, "65535"),
        ({77: "text"}, "no attribute 77"),
        ({1 << 16: b""}, "16 bits"),
        ({-1: b""}, "16 bits"),
        ({None: b""}, "no attribute None"),
    ],
)
def test_encode_refuses(values: dict[Any, Any], complaint: str) -> None:
    with pytest.raises(EncodeError, match=complaint):
        encode(LINK, values)
    with pytest.raises(EncodeError, match=complaint):
        pack(Request(RTM_NEWLINK, {}, values), 1, ack=True)


def test_the_longest_payload() -> None:
    assert decode(LINK, encode(LINK, {"address": bytes(65531), "mtu": 1})) == {"address": bytes(65531), "mtu": 1}
    assert len(encode(LINK, {"ifalias": "x" * 65530})) == 65536  # padded by one


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ({"indexx": 1}, "no field 'indexx'"),
        ({"index": 1 << 31}, "ifinfomsg"),
        ({"flags": -1}, "ifinfomsg"),
        ({"family": 256}, "ifinfomsg"),
        ({"index": "1"}, "ifinfomsg"),
    ],
)
def test_pack_refuses_a_header(header: dict[str, object], complaint: str) -> None:
    with pytest.raises(EncodeError, match=complaint):
        pack(Request(RTM_SETLINK, header), 1, ack=True)


def test_pack_refuses_a_message_type_it_does_not_know() -> None:
    with pytest.raises(EncodeError, match="type 999"):
        pack(Request(999, {}), 1, ack=True)
    with pytest.raises(DecodeError, match="type 999"):
        unpack(999, 0, 0, 0, bytes(64))


def test_references_are_resolved_where_they_stand() -> None:
    known: dict[object, object] = {("index", 1): 5, ("fd", 2): 9, ("mac", 3): b"\2\0\0\0\0\1"}
    plain: dict[str, object] = {"ifname": "e", "net_ns_fd": 9, "address": b"\2\0\0\0\0\1"}
    typed: dict[str, object] = {"ifname": "e", "net_ns_fd": ("fd", 2), "address": ("mac", 3)}

    def request(index: object, attributes: dict[str, object]) -> Request:
        peer = {"header": {"index": index}, **attributes}
        return Request(
            RTM_NEWLINK, {"index": index}, {**attributes, "linkinfo": {"kind": "veth", "data": {"peer": peer}}}
        )

    resolved = pack(request(("index", 1), typed), 1, ack=True, resolve=known.__getitem__)
    assert resolved == pack(request(5, plain), 1, ack=True)


def test_a_repeated_attribute_is_a_list_only_where_the_table_says_so() -> None:
    raw = encode(OUTER, {"numbers": [1, 2, 1]}) + encode(OUTER, {"u8": 1}) + encode(OUTER, {"u8": 2})
    assert decode(OUTER, raw) == {"numbers": [1, 2, 1], "u8": 2}
    assert encode(OUTER, {"numbers": [], "flag": False}) == b""


def test_what_is_inside_is_known_also_when_the_kind_comes_later() -> None:
    raw = encode(OUTER, {"kind": "inner", "data": {"number": 7}})
    kind, data = raw[:12], raw[12:]
    assert decode(OUTER, data + kind) == {"data": {"number": 7}, "kind": "inner"}
    assert decode(OUTER, data) == {"data": encode(INNER, {"number": 7})}


def test_a_string_without_its_nul() -> None:
    assert decode(LINK, b"\x08\0\x03\0eth1") == {"ifname": "eth1"}
    assert decode(LINK, b"\x04\0\x03\0") == {"ifname": ""}
    assert decode(LINK, b"\x06\0\x03\0\xff\0\0\0") == {"ifname": "\udcff"}


@pytest.mark.parametrize(("name", "payload"), [("mtu", b"\1\2\3"), ("mtu", b"\1\2\3\4\5"), ("carrier", b"")])
def test_a_number_of_another_size_is_refused(name: str, payload: bytes) -> None:
    raw = struct.pack("=HH", 4 + len(payload), LINK.rows[name].type) + payload + b"\0" * (-len(payload) % 4)
    with pytest.raises(DecodeError, match=name):
        decode(LINK, raw)


def test_a_table_refuses_a_number_twice() -> None:
    with pytest.raises(ValueError, match="one number"):
        Table("t", {"a": Attr(1, U8), "b": Attr(1, U8)})


def test_an_error_number_that_cannot_be() -> None:
    for code in (1, -4096, -(1 << 31)):
        with pytest.raises(DecodeError, match="impossible error"):
            unpack_ack(0, 1, struct.pack("=i", code))
    with pytest.raises(DecodeError, match="of 3 bytes"):
        unpack_ack(0, 1, b"\0\0\0")


@pytest.mark.parametrize("only", [None, frozenset(("u8", "u16_be", "string", "numbers", "data", "kind"))])
@pytest.mark.parametrize("leave_out", [(), ("numbers", "nests")])
def test_bytes_of_a_known_layout_are_read_the_same(only: frozenset[str] | None, leave_out: tuple[str, ...]) -> None:
    def whole(seed: int) -> dict[str, Any]:
        values: dict[str, Any] = {
            **{"u8": seed, "u16": seed, "u32": seed << 20, "u64": seed << 40, "s32": -seed, "u16_be": seed},
            **{"string": f"ab{seed:03}", "bytes": bytes((seed, 0)), "flag": True, "kind": "inner"},
            **{"nest": {"number": seed, "word": f"{seed:03}"}, "data": {"word": f"{seed:03}"}},
            **{"headed": {"header": {"first": seed, "second": -seed}, "number": 1}},
            **{"numbers": [seed, 1], "nests": [{"number": seed}]},
        }
        return {name: value for name, value in values.items() if name not in leave_out}

    LAYOUTS.clear()
    for seed in (1, 2, 200):
        values = whole(seed)
        wanted = {name: value for name, value in values.items() if only is None or name in only}
        assert decode(OUTER, encode(OUTER, values), 0, only) == wanted
    assert sum(table is OUTER for table, *_ in LAYOUTS) == (1 if "numbers" in leave_out else 0)


def test_values_that_were_read_before_are_not_taken_for_others() -> None:
    """Short ones are remembered: those of another attribute, of another length, and of as many as there may be."""
    LAYOUTS.clear()
    for number in (*range(MAX_KNOWN + 10), 0, 1):
        values = {"string": f"{number:03}", "kind": "inner", "nest": {"word": f"{number:03}"}}
        assert decode(OUTER, encode(OUTER, values)) == values
    # What is inside depends on the sibling, also where the bytes are the same.
    data = encode(INNER, {"number": 7})
    for kind, inside in (("inner", {"number": 7}), ("other", data), ("inner", {"number": 7})):
        assert decode(OUTER, encode(OUTER, {"kind": kind, "data": data})) == {"kind": kind, "data": inside}


def test_of_a_message_whose_header_does_not_pass_no_attribute_is_read() -> None:
    header, table = FORMATS[RTM_NEWADDR]
    bodies = [header.pack({"index": index}) + encode(table, {"local": bytes(4)}) for index in (1, 2)]
    found = [unpack(RTM_NEWADDR, 0, 1, 0, body, None, lambda fields: fields["index"] != 1) for body in bodies]
    assert [(message.header["index"], message.attributes) for message in found] == [(1, {}), (2, {"local": bytes(4)})]


def test_layouts_of_one_length_do_not_displace_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of interfaces in turns whose names and aliases make up for each other's length."""
    walks: list[int] = []

    def walk(*arguments: Any) -> Any:
        walks.append(1)
        return original(*arguments)

    original = decode_module.walk
    monkeypatch.setattr(decode_module, "walk", walk)
    LAYOUTS.clear()
    for _ in range(5):
        for ifname, alias in (("e1", "longer"), ("longer", "e1"), ("long", "er1")):
            values = {"ifname": ifname, "ifalias": alias}
            assert decode(LINK, encode(LINK, values)) == values
    assert len(walks) == 3


def test_a_layout_is_not_used_for_another_one_of_its_length() -> None:
    LAYOUTS.clear()
    first, second = {"u8": 1, "string": "abc"}, {"string": "abc", "u8": 1}
    other = {"u16": 1, "string": "abc"}
    twice = encode(OUTER, {"string": "xyz"}) + encode(OUTER, {"string": "abc"})
    for values in (first, second, other, first):
        assert decode(OUTER, encode(OUTER, values)) == values
    assert decode(OUTER, twice) == decode(OUTER, twice) == {"string": "abc"}
