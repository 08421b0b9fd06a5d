"""Bytes as text: each byte once, in order, and beside it what it means; whatever the bytes are."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.wire.attributes import encode
from kokofast.wire.debug import lines
from kokofast.wire.link import IFINFOMSG, LINK, RTM_NEWLINK
from kokofast.wire.message import Request, pack
from tests import golden
from tests.fuzz.wire import GOLDEN

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes are those of a little-endian machine")

CREATION = """\
e0 00 00 00 10 00 05 06 07 00 00 00 00 00 00 00  # RTM_NEWLINK seq 7 pid 0 flags REQUEST|ACK|EXCL|CREATE, 224 bytes
00 00 00 00 05 00 00 00 00 00 00 00 00 00 00 00  # ifinfomsg family 0 type 0 index 5 flags 0 change 0
09 00 03 00 65 74 68 31 00 00 00 00              # ifname 'eth1'
08 00 1b 00 56 34 12 4b                          # group 1259484246
08 00 0d 00 e8 03 00 00                          # txqlen 1000
08 00 1c 00 09 00 00 00                          # net_ns_fd 9
08 00 1f 00 01 00 00 00                          # num_tx_queues 1
08 00 20 00 01 00 00 00                          # num_rx_queues 1
08 00 04 00 aa 05 00 00                          # mtu 1450
0a 00 01 00 02 aa bb cc dd 01 00 00              # address 02:aa:bb:cc:dd:01
78 00 12 00                                      # linkinfo, 116 bytes
09 00 01 00 76 65 74 68 00 00 00 00              # linkinfo.kind 'veth'
68 00 02 00                                      # linkinfo.data, 100 bytes
64 00 01 00                                      # linkinfo.data.peer, 96 bytes
00 00 00 00 06 00 00 00 00 00 00 00 00 00 00 00  # ifinfomsg family 0 type 0 index 6 flags 0 change 0
14 00 03 00 65 74 68 2d 6f 66 2d 31 35 2d 62 79  # linkinfo.data.peer.ifname 'eth-of-15-bytes'
74 65 73 00
08 00 1b 00 56 34 12 4b                          # linkinfo.data.peer.group 1259484246
08 00 0d 00 f4 01 00 00                          # linkinfo.data.peer.txqlen 500
08 00 1c 00 0a 00 00 00                          # linkinfo.data.peer.net_ns_fd 10
08 00 1f 00 04 00 00 00                          # linkinfo.data.peer.num_tx_queues 4
08 00 20 00 04 00 00 00                          # linkinfo.data.peer.num_rx_queues 4
08 00 04 00 ff ff 00 00                          # linkinfo.data.peer.mtu 65535
0a 00 01 00 02 aa bb cc dd 02 00 00              # linkinfo.data.peer.address 02:aa:bb:cc:dd:02
"""
REFUSAL = """\
50 00 00 00 02 00 00 03 07 00 00 00 39 30 00 00  # NLMSG_ERROR seq 7 pid 12345 flags CAPPED|ACK_TLVS, 80 bytes
de ff ff ff                                      # error -34
e0 00 00 00 10 00 05 06 07 00 00 00 00 00 00 00  # the request
23 00 01 00 41 74 74 72 69 62 75 74 65 20 66 61  # message 'Attribute failed validation :)'
69 6c 65 64 20 76 61 6c 69 64 61 74 69 6f 6e 20
3a 29 00 00
08 00 02 00 c0 00 00 00                          # offset 192
# refused: linkinfo.data.peer.num_tx_queues: Attribute failed validation :) (ERANGE)
"""
QUEUES_OFFSET = 192


def text(data: bytes, sent: bytes = b"") -> str:
    return "".join(f"{line}\n" for line in lines(data, sent))


def bytes_of(shown: str) -> bytes:
    return bytes.fromhex(" ".join(line.partition("#")[0] for line in shown.splitlines()))


def test_a_creation() -> None:
    assert text(golden.read("newlink_veth")) == CREATION


def test_a_refusal_names_the_attribute_and_the_reason() -> None:
    ack = golden.read("ack_refused")
    ack = ack[:-4] + QUEUES_OFFSET.to_bytes(4, "little")
    assert text(ack, golden.read("newlink_veth")) == REFUSAL
    # What was sent is not known, or is another request: the path is left out.
    assert text(ack).endswith("\n# refused: Attribute failed validation :) (ERANGE)\n")
    assert text(ack, golden.read("newaddr_v4")) == text(ack)


def test_the_request_is_found_among_others() -> None:
    ack = golden.read("ack_refused")
    ack = ack[:-4] + QUEUES_OFFSET.to_bytes(4, "little")
    assert text(ack, golden.read("newaddr_v4") + golden.read("newlink_veth")) == REFUSAL


@pytest.mark.parametrize("name", GOLDEN)
def test_each_byte_is_shown_once(name: str) -> None:
    shown = text(GOLDEN[name])
    assert bytes_of(shown) == GOLDEN[name]
    assert "cannot be decoded" not in shown
    assert "not known" not in shown


def test_addresses_and_words_of_others() -> None:
    assert "# local 192.0.2.1\n" in text(golden.read("newaddr_v4"))
    assert "# linkinfo.data.group6 2001:db8::2\n" in text(golden.read("newlink_vxlan_v6"))
    # Whoever is in a namespace writes what it likes: no terminal shall carry it out.
    evil = pack(Request(RTM_NEWLINK, {}, {"ifalias": "\x1b[2J\udcff\n# x"}), 1, ack=False)
    assert "# ifalias '\\x1b[2J\\udcff\\n# x'\n" in text(evil)


def test_what_cannot_be_decoded_is_shown() -> None:
    data = golden.read("setlink_up_alias")
    assert bytes_of(text(data[:-2])) == data[:-2]
    wrong = data[:32] + b"\xff\xff" + data[34:]
    assert bytes_of(text(wrong)) == wrong
    assert "cannot be decoded: attribute 20 says 65535 of 44 bytes" in text(wrong)


def test_nests_without_end() -> None:
    inner: dict[str, object] = {}
    for _ in range(40):
        inner = {"linkinfo": {"kind": "veth", "data": {"peer": inner}}}
    body = IFINFOMSG.pack({}) + encode(LINK, inner)
    data = (16 + len(body)).to_bytes(4, "little") + RTM_NEWLINK.to_bytes(2, "little") + bytes(10) + body
    assert bytes_of(text(data)) == data


@given(st.binary(max_size=200), st.sampled_from(sorted(GOLDEN)), st.integers(0, 200), st.binary(max_size=60))
def test_any_bytes(data: bytes, name: str, place: int, sent: bytes) -> None:
    assert bytes_of(text(data, sent)) == data
    changed = bytearray(GOLDEN[name])
    changed[place : place + len(data)] = data[: max(0, len(changed) - place)]
    assert bytes_of(text(bytes(changed), GOLDEN["newlink_veth"] + sent)) == changed
