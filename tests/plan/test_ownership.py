"""Whose interface is it?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.plan.observed import Interface, Namespace
from kokofast.plan.ownership import (
    BROADCAST,
    GROUP_PREFIX,
    MAX_ALIAS,
    alias_of,
    first_broadcast,
    first_mac,
    group_of,
    is_our_group,
    lab_of,
    lab_of_alias,
    lab_of_namespace,
    namespace_alias,
)
from kokofast.topology.model import End, Link
from tests.plan.builders import BOOT, LAB, end, identity_of, veth

HERE = Namespace(identity_of(0))
GROUP = group_of(LAB)
MARK = first_broadcast(BOOT, HERE.identity, GROUP, 7)
MAC = first_mac(BOOT, HERE.identity, GROUP, 7)
ALIAS = f"kokofast:{LAB}:r1:eth1--r2:eth1"


@pytest.mark.parametrize(
    ("group", "alias", "mark", "lab", "owner"),
    [
        # With its alias, whatever the broadcast address is by now.
        (GROUP, ALIAS, BROADCAST, LAB, LAB),
        (GROUP, ALIAS, BROADCAST, None, LAB),
        (GROUP, ALIAS, BROADCAST, "other", LAB),
        (GROUP, ALIAS, MARK, LAB, LAB),
        # Just made: the mark only.
        (GROUP, "", MARK, LAB, LAB),
        (GROUP, "", MARK, None, ""),
        (GROUP, "", MARK, "other", ""),
        # The group alone proves nothing.
        (GROUP, "", BROADCAST, LAB, None),
        (GROUP, "", bytes((MARK[0] ^ 4,)) + MARK[1:], LAB, None),
        (GROUP, "uplink of the office", MARK, LAB, None),
        (GROUP, "uplink of the office", BROADCAST, LAB, None),
        # Nor does the alias alone, or the mark alone: both can be copied.
        (0, ALIAS, BROADCAST, LAB, None),
        (0, "", MARK, LAB, None),
        (42, ALIAS, MARK, LAB, None),
        # An alias of another lab under this lab's group.
        (GROUP, "kokofast:other:r1:eth1--r2:eth1", BROADCAST, LAB, None),
        (group_of("other"), "kokofast:other:r1:eth1--r2:eth1", BROADCAST, LAB, "other"),
        (group_of("other"), ALIAS, BROADCAST, LAB, None),
        # Aliases that only look like ours.
        (GROUP, "kokofast:", MARK, LAB, None),
        (GROUP, f"kokofast:{LAB}", MARK, LAB, None),
        (GROUP, "kokofast::r1:eth1--r2:eth1", MARK, LAB, None),
        (GROUP, f"Kokofast:{LAB}:x", MARK, LAB, None),
    ],
)
def test_the_lab_of_an_interface(group: int, alias: str, mark: bytes, lab: str | None, owner: str | None) -> None:
    by_broadcast = Interface(7, "eth1", group=group, alias=alias, broadcast=mark, mac=MAC[:5] + b"\0")
    mac = bytes((mark[0] & 0xFC | 2,)) + mark[1:]
    by_mac = Interface(7, "eth1", group=group, alias=alias, broadcast=BROADCAST, mac=mac)
    assert lab_of(by_broadcast, HERE, BOOT, lab) == owner
    assert lab_of(by_mac, HERE, BOOT, lab) == owner


@pytest.mark.parametrize("mark", ["broadcast", "mac"])
@pytest.mark.parametrize("change", ["ifindex", "namespace", "boot", "group"])
def test_the_mark_holds_in_one_place_only(change: str, mark: str) -> None:
    group = group_of("other") if change == "group" else GROUP
    seen = Interface(8 if change == "ifindex" else 7, "eth1", group=group)
    setattr(seen, mark, MARK if mark == "broadcast" else MAC)
    here = Namespace(identity_of(1)) if change == "namespace" else HERE
    assert lab_of(seen, here, "another boot" if change == "boot" else BOOT, LAB) is None


def test_the_mark_is_what_nobody_sets() -> None:
    marks = {first_broadcast(BOOT, identity_of(ns), GROUP, index) for ns in range(20) for index in range(2, 52)}
    assert len(marks) == 1000  # 48 bits of a digest: no two alike
    assert all(len(mark) == 6 for mark in marks)
    assert BROADCAST not in marks


def test_the_mark_is_a_mac_address_that_an_interface_may_have() -> None:
    macs = {first_mac(BOOT, identity_of(ns), GROUP, index) for ns in range(20) for index in range(2, 52)}
    assert len(macs) == 1000
    # IEEE 802: bit 0 of the first byte is for groups of receivers, bit 1 says that no manufacturer gave the address.
    assert all(len(mac) == 6 and mac[0] & 0b11 == 0b10 for mac in macs)


@given(st.text(max_size=70))
def test_a_group_is_recognised_and_fits(lab: str) -> None:
    group = group_of(lab)
    assert group >> 24 == GROUP_PREFIX
    assert is_our_group(group)
    assert 0 < group < 1 << 31  # IFLA_GROUP is a u32, but tools read it as an int


@pytest.mark.parametrize("group", [0, 1, 42, 0xFFFFFF, 0x4A << 24, 0x4C << 24, (1 << 32) - 1, 1 << 31])
def test_the_groups_of_others(group: int) -> None:
    assert not is_our_group(group)


def test_a_group_does_not_change_from_one_release_to_the_next() -> None:
    # It is in the kernel of our users: gzip says that the CRC-32 of "lab" is 61d6b1c4.
    assert group_of("lab") == 0x4BD6B1C4


def test_an_alias_names_both_ends() -> None:
    assert alias_of(LAB, veth("r1:eth1", "r2:eth1")) == ALIAS
    assert lab_of_alias(ALIAS) == LAB
    assert alias_of(LAB, veth("r2:eth1", "r1:eth1")) != ALIAS


def test_an_alias_that_would_be_too_long_is_a_digest() -> None:
    def alias(length: int) -> str:
        fixed = len(f"kokofast:{LAB}:") + len(":eth1--r2:eth1")
        return alias_of(LAB, veth("n" * (length - fixed) + ":eth1", "r2:eth1"))

    longest = alias(MAX_ALIAS)
    assert len(longest) == MAX_ALIAS
    assert longest.endswith(":eth1--r2:eth1")
    digests = {alias(MAX_ALIAS + more) for more in range(1, 20)}
    assert len(digests) == 19
    for text in digests:
        assert text.startswith(f"kokofast:{LAB}:#")
        assert len(text) == len(f"kokofast:{LAB}:#") + 32
        assert lab_of_alias(text) == LAB


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_an_alias_always_fits_and_names_its_lab(first: str, second: str) -> None:
    text = alias_of(LAB, Link("veth", (End(first, "eth0"), End(second, "eth0"))))
    assert len(text.encode()) <= MAX_ALIAS
    assert text.isprintable()
    assert lab_of_alias(text) == LAB


def test_characters_count_as_bytes() -> None:
    assert "#" in alias_of(LAB, veth("ä" * 120 + ":eth1", "r2:eth1"))
    assert "#" in alias_of(LAB, Link("veth", (end("r\n1:eth1"), end("r2:eth1"))))
    assert "#" in alias_of(LAB, Link("veth", (End("r1", "e\udcff"), end("r2:eth1"))))


@pytest.mark.parametrize(
    ("alias", "lab"),
    [
        (namespace_alias(LAB), LAB),
        (namespace_alias("a.b-c_d"), "a.b-c_d"),
        (ALIAS, None),
        ("", None),
        (f"kokofast:{LAB}:namespaces", None),
        (f"kokofast:{LAB}:namespace:", None),
        ("kokofast::namespace", None),
        ("kokofast:namespace", None),
        (f"x{namespace_alias(LAB)}", None),
    ],
)
def test_the_lab_of_a_namespace(alias: str, lab: str | None) -> None:
    assert lab_of_namespace(Namespace((4, 1), loopback_alias=alias)) == lab


def test_no_link_has_the_alias_of_a_namespace() -> None:
    assert lab_of_namespace(Namespace((4, 1), loopback_alias=alias_of(LAB, veth("namespace:a", "b:c")))) is None
