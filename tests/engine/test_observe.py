"""Dumps that change while they are read."""

from __future__ import annotations

from typing import Any

import pytest

from kokofast.host.netlink import UnreadableError
from kokofast.ops.dumps import ADDRESS_PROTOCOL, ADDRESSES, LINKS, Patience
from kokofast.wire.addr import AF_INET6, IFA_F_PERMANENT, IFA_F_TENTATIVE, RT_SCOPE_LINK, RTM_NEWADDR
from kokofast.wire.message import Message
from tests.wire.decoded import row_of

KERNEL_LL = b"\x03"


Row = Any  # a tuple


def address(last: int, index: int = 2, *, scope: int = 0, proto: bytes = ADDRESS_PROTOCOL, flags: int = 0) -> Row:
    header = {"family": AF_INET6, "prefixlen": 64, "flags": 0, "scope": scope, "index": index}
    attributes = {"address": bytes(15) + bytes((last,)), "flags": IFA_F_PERMANENT | flags, "proto": proto}
    return row_of(ADDRESSES.rows, Message(RTM_NEWADDR, 0, 0, 0, header, attributes))


def link_local(last: int, *, flags: int = 0, proto: bytes = KERNEL_LL) -> Row:
    return address(last, scope=RT_SCOPE_LINK, proto=proto, flags=flags)


BEFORE = [address(1), address(2, 3), link_local(9, flags=IFA_F_TENTATIVE)]


@pytest.mark.parametrize(
    "found",
    [
        BEFORE,
        [*BEFORE[:2], link_local(9)],  # known to be the only one
        [*BEFORE, link_local(10)],
        BEFORE[:2],
    ],
    ids=["the same", "known to be the only one", "one more of the kernel's", "one less"],
)
def test_link_local_addresses_may_change(found: list[Any]) -> None:
    assert ADDRESSES.accept is not None
    assert ADDRESSES.accept(found, BEFORE)
    assert not ADDRESSES.accept(found, None)


@pytest.mark.parametrize(
    "found",
    [
        BEFORE[1:],
        [*BEFORE, address(4)],
        [address(1), address(2, 4), BEFORE[2]],
        [address(1, proto=b""), *BEFORE[1:]],
        [*BEFORE, link_local(77, proto=ADDRESS_PROTOCOL)],
    ],
    ids=["one is gone", "one came", "of another interface", "not ours any more", "a link-local one of ours"],
)
def test_others_may_not(found: list[Any]) -> None:
    assert ADDRESSES.accept is not None
    assert not ADDRESSES.accept(found, BEFORE)


def attempts(patience: Patience, found: list[Any], most: int) -> int:
    """How often a namespace's interfaces are asked for, that are never consistent."""
    accept = patience.links.accept
    assert accept is not None
    before: list[Any] | None = None
    for number in range(1, most + 1):
        try:
            accept(found, before)
        except UnreadableError:
            return number
        before = found
    return most


def test_patience_is_for_all_namespaces_together() -> None:
    patience = Patience(LINKS)
    hindered = [attempts(patience, [address(1)], 60) for _ in range(1000)]
    assert hindered == [60] * 4 + [2] * 996  # each is asked for a second time: most changes are over by then
    patience = Patience(LINKS)
    assert attempts(patience, [address(1)] * 5000, 60) == 41
    assert attempts(patience, [address(1)] * 5000, 60) == 2


def test_addresses_that_change_use_up_the_same_patience() -> None:
    patience = Patience(LINKS)
    accept = patience.addresses.accept
    assert accept is not None
    assert accept(BEFORE, BEFORE)
    for number in range(patience.ATTEMPTS):
        assert not accept([address(number % 256)], BEFORE)
    with pytest.raises(UnreadableError):
        accept([address(1)], BEFORE)
    assert accept(BEFORE, BEFORE)
