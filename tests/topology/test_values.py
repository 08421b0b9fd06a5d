"""The rules of single values: tables of what is taken and what is refused, with the words."""

from __future__ import annotations

import ipaddress
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.topology import values


@pytest.mark.parametrize("name", ["eth0", "a", "x" * 15, "wg-1.2@x", "Ä" * 7, "...", "all0", "ether"])
def test_ifname_taken(name: str) -> None:
    assert values.check_ifname(name) == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is empty"),
        ("x" * 16, "16 bytes, the limit is 15"),
        ("Ä" * 8, "16 bytes"),
        (".", "cannot be called"),
        ("..", "cannot be called"),
        ("all", "sysctl"),
        ("default", "sysctl"),
        ("a/b", "slash or a colon"),
        ("a:b", "slash or a colon"),
        ("a b", "white space"),
        ("a\tb", "white space"),
        ("a\u2003b", "white space"),
        ("à", "white space"),  # C3 A0: the kernel's isspace() is true of A0
        ("a\x01b", "control character"),
        ("a\x1b[31m", "control character"),
        ("a\u202eb", "control character"),
        ("eth%d", "template"),
        ("\ud800", "not valid Unicode"),
    ],
)
def test_ifname_refused(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        values.check_ifname(name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["r1", "a:b", "a b", "Ä", "x" * 255])
def test_netns_name_taken(name: str) -> None:
    assert values.check_netns_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\x00b", "a\nb", "x" * 256, "\udcff"])
def test_netns_name_refused(name: str) -> None:
    with pytest.raises(ValueError, match="namespace name"):
        values.check_netns_name(name)


@pytest.mark.parametrize("name", ["a", "fabric1", "9", "a.b_c-d", "x" * 64])
def test_lab_name_taken(name: str) -> None:
    assert values.check_lab_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a:b", "x" * 65, "ä", "a\n"])
def test_lab_name_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be the lab.s name: .* a letter or digit first$"):
        values.check_lab_name(name)


@pytest.mark.parametrize(
    ("text", "family", "packed", "prefixlen"),
    [
        ("10.0.0.1/24", 2, "0a000001", 24),
        ("10.0.0.1", 2, "0a000001", 32),
        ("10.0.0.0/31", 2, "0a000000", 31),
        ("255.255.255.254/0", 2, "fffffffe", 0),
        ("2001:db8::1/64", 10, "20010db8000000000000000000000001", 64),
        ("2001:DB8::1", 10, "20010db8000000000000000000000001", 128),
        ("::ffff:10.0.0.1/128", 10, "00000000000000000000ffff0a000001", 128),
        ("fe80::1/10", 10, "fe800000000000000000000000000001", 10),
    ],
)
def test_address_taken(text: str, family: int, packed: str, prefixlen: int) -> None:
    address = values.parse_address(text)
    assert (address.family, address.packed.hex(), address.prefixlen, address.text) == (family, packed, prefixlen, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not an IPv4 or IPv6"),
        ("10.0.0.300/24", "not an IPv4 or IPv6"),
        ("10.0.0/24", "not an IPv4 or IPv6"),
        ("010.0.0.1/24", "not an IPv4 or IPv6"),
        (" 10.0.0.1/24", "not an IPv4 or IPv6"),
        ("eth1", "not an IPv4 or IPv6"),
        ("2001:db8::g/64", "not an IPv4 or IPv6"),
        ("10.0.0.1/33", "0 to 32"),
        ("2001:db8::1/129", "0 to 128"),
        ("10.0.0.1/", "prefix length"),
        ("10.0.0.1/-1", "prefix length"),
        ("10.0.0.1/255.255.255.0", "prefix length"),
        ("10.0.0.1/2_4", "prefix length"),
        ("10.0.0.1/\u0662", "prefix length"),
        ("10.0.0.1/24/24", "prefix length"),
        ("fe80::1%eth0/64", "zone"),
        ("0.0.0.0/8", "unspecified"),
        ("::/64", "unspecified"),
        ("ff02::1/64", "multicast"),
        ("224.0.0.1/24", "multicast"),
        ("239.255.255.255/32", "multicast"),
        ("::1/128", "loopback"),
        ("127.0.0.5/8", "loopback"),
        ("255.255.255.255/32", "broadcast"),
        ("10.0.0.1\x1b[2J", r"\\x1b"),
    ],
)
def test_address_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        values.parse_address(text)
    assert str(caught.value).isprintable()


@given(st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){2,4}", fullmatch=True) | st.ip_addresses().map(str) | st.text())
def test_addresses_are_those_of_ipaddress(text: str) -> None:
    try:
        address = ipaddress.ip_address(text)
        expected: bytes | None = None if address.is_unspecified else address.packed
    except ValueError:
        expected = None
    try:
        found: bytes | None = values.parse_ip(text).packed
    except ValueError:
        found = None
    assert found == (None if "%" in text else expected)


@pytest.mark.parametrize("text", ["02:aa:c1:00:00:01", "02-AA-C1-00-00-01"])
def test_mac_taken(text: str) -> None:
    assert values.parse_mac(text) == bytes.fromhex("02aac1000001")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "six hex pairs"),
        ("02:aa:c1:00:00", "six hex pairs"),
        ("02:aa:c1:00:00:01:02", "six hex pairs"),
        ("2:aa:c1:00:00:01", "six hex pairs"),
        ("02:aa:c1:00:00:+1", "six hex pairs"),
        ("02aac1000001", "six hex pairs"),
        ("02:aa-c1:00:00:01", "six hex pairs"),
        ("01:00:5e:00:00:01", "multicast"),
        ("ff:ff:ff:ff:ff:ff", "multicast"),
        ("00:00:00:00:00:00", "all zeros"),
    ],
)
def test_mac_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        values.parse_mac(text)


@pytest.mark.parametrize(("text", "pid"), [("1", 1), ("4194304", 4194304)])
def test_pid_taken(text: str, pid: int) -> None:
    assert values.parse_pid(text) == pid


@pytest.mark.parametrize("text", ["0", "-1", "4194305", "x", "", "1" * 5000, "1_0"])
def test_pid_refused(text: str) -> None:
    with pytest.raises(ValueError, match="process id"):
        values.parse_pid(text)


def test_path_and_socket() -> None:
    assert values.check_path("/run/netns/x") == "/run/netns/x"
    assert values.check_socket("unix:///run/crio/crio.sock") == "/run/crio/crio.sock"
    for bad in ("", "run/x", "/a\nb", "/" + "x" * 5000):
        with pytest.raises(ValueError, match="path"):
            values.check_path(bad)


def test_values_are_light() -> None:
    code = (
        "import sys; from kokofast.topology import parse_address, check_ifname, parse_mac; parse_address('10.0.0.1/8');"
        "print(sorted({'msgspec', 'json', 'ipaddress', 'yaml', 're', 'kokofast.kinds'} & set(sys.modules)))"
    )
    # -S: what the interpreter's own site hooks import is not ours
    paths = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env=paths)
    assert done.stdout.strip() == "[]"
