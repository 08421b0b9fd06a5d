"""RTM_GETNSID as the kernel takes it: bytes by hand."""

from __future__ import annotations

from kokofast.wire.message import Request, pack, unpack
from kokofast.wire.netns import RTM_DELNSID, RTM_GETNSID, RTM_NEWNSID


def test_the_question() -> None:
    packed = pack(Request(RTM_GETNSID, {}, {"fd": 5}), 1, ack=True)
    assert packed.hex(" ", 4) == "1c000000 5a000500 01000000 00000000 00000000 08000300 05000000"


def test_the_answer() -> None:
    for raw, number in (("ffffffff", -1), ("03000000", 3)):
        found = unpack(RTM_NEWNSID, 0, 1, 0, bytes.fromhex("00000000" + "08000100" + raw))
        assert found.attributes == {"nsid": number}


def test_a_namespace_that_has_ended() -> None:
    found = unpack(RTM_DELNSID, 0, 0, 0, bytes.fromhex("00000000 08000100 07000000 08000400 ffffffff"))
    assert found.attributes["nsid"] == 7
