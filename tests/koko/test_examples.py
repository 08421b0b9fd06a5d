"""The examples of koko's README as they are written there, with namespaces where it has containers; and their end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import NamespaceFactory, addresses, ip, ip_json, links
from tests.koko.conftest import KOKO, done, inside, koko, ping, state

V4 = ("192.168.1.1/24", "192.168.1.2/24")
V6 = ("2001:DB8::1/64", "2001:DB8::2/64")


@contextmanager
def process_in(namespace: str) -> Iterator[int]:
    """A process that lives in a namespace; its pid."""
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("first", "second"),
    [(V4[:1], V4[1:]), (V6[:1], V6[1:]), ((V4[0], V6[0]), (V4[1], V6[1]))],
    ids=["IPv4", "IPv6", "both"],
)
def test_netns_to_netns(here: str, pair: tuple[str, str], first: tuple[str, ...], second: tuple[str, ...]) -> None:
    a, b = pair
    before = state(a, b)
    done(here, "-n", ",".join([a, "link1", *first]), "-n", ",".join([b, "link2", *second]))
    assert addresses(a, "link1") == [text.lower() for text in first]
    for address in second:
        ping(a, address.partition("/")[0])
    done(here, "-N", f"{b},link2")
    assert state(a, b) == before


def test_more_than_two_addresses(here: str, pair: tuple[str, str]) -> None:
    a, b = pair
    many = [f"10.{number}.0.1/24" for number in range(5)]
    done(here, "-n", ",".join([a, "link1", *many]), "-n", f"{b},link2")
    assert addresses(a, "link1") == many


def test_glued_options(here: str, pair: tuple[str, str]) -> None:
    a, b = pair
    done(here, f"-n{a},link1,{V4[0]}", f"-n{b},link2,{V4[1]}")
    ping(b, "192.168.1.1")
    done(here, f"-N{a},link1")
    assert not links(b)


@pytest.mark.parametrize(("create", "delete"), [("-a", "-A"), ("-n", "-N")])
def test_a_namespace_by_its_file(here: str, pair: tuple[str, str], create: str, delete: str) -> None:
    a, b = pair
    done(here, create, f"/run/netns/{a},link1,{V4[0]}", "-n", f"{b},link2,{V4[1]}")
    ping(a, "192.168.1.2")
    done(here, delete, f"/run/netns/{a},link1")
    assert not links(a)
    assert not links(b)


def test_a_namespace_by_a_pid(here: str, pair: tuple[str, str]) -> None:
    a, b = pair
    with process_in(a) as pid:
        done(here, "-p", f"{pid},link1,{V4[0]}", "-n", f"{b},link2,{V4[1]}")
        ping(a, "192.168.1.2")
        done(here, "-P", f"{pid},link1")
    assert not links(b)


def test_the_current_namespace(here: str, pair: tuple[str, str]) -> None:
    a, _ = pair
    done(here, "-c", f"link1,{V4[0]}", "-n", f"{a},link2,{V4[1]}")
    ping(here, "192.168.1.2")
    done(here, "-C", "link1")
    assert not links(a)


@pytest.mark.usefixtures("requires_root")
def test_the_current_namespace_when_it_has_no_name(pair: tuple[str, str]) -> None:
    a, _ = pair
    script = f"""set -e
    {" ".join(KOKO)} -c link1,{V4[0]} -n {a},link2,{V4[1]}
    ping -n -c 1 -W 5 192.168.1.2
    {" ".join(KOKO)} -C link1
    ! ip link show link1"""
    answer = subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert not links(a)


def test_both_ends_in_one_namespace(here: str, pair: tuple[str, str]) -> None:
    a, _ = pair
    done(here, "-n", f"{a},link1", "-n", f"{a},link2")
    assert set(links(a)) == {"link1", "link2"}


def test_one_name_at_both_ends(here: str, pair: tuple[str, str]) -> None:
    a, b = pair
    done(here, "-n", f"{a},eth0,{V4[0]}", "-n", f"{b},eth0,{V4[1]}")
    ping(a, "192.168.1.2")


def test_a_name_that_is_busy_in_the_first_namespace_only(here: str, pair: tuple[str, str]) -> None:
    a, b = pair
    ip(a, "link", "add", "link2", "type", "veth", "peer", "name", "other")
    done(here, "-n", f"{a},link1,{V4[0]}", "-n", f"{b},link2,{V4[1]}")
    ping(a, "192.168.1.2")


def test_ipv6_where_it_is_off_and_the_name_has_a_dot(here: str, pair: tuple[str, str]) -> None:
    a, b = pair
    for name in pair:
        inside(name, ["sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=1"])
    done(here, "-n", f"{a},link.1,{V6[0]}", "-n", f"{b},link.2,{V6[1]}")
    ping(a, "2001:db8::2")


def test_vxlan_between_two_hosts(netns: NamespaceFactory, pair: tuple[str, str]) -> None:
    hosts, parents = (netns("host1"), netns("host2")), ("eth1", "eth2")
    ip(hosts[0], "link", "add", parents[0], "type", "veth", "peer", "name", parents[1], "netns", hosts[1])
    for number, (host, parent) in enumerate(zip(hosts, parents, strict=True), 1):
        ip(host, "address", "add", f"10.1.1.{number}/24", "dev", parent)
        ip(host, "link", "set", parent, "up")
    before = state(*pair)
    done(hosts[0], "-n", f"{pair[0]},link1,{V4[0]}", "-x", "eth1,10.1.1.2,1")
    done(hosts[1], "-n", f"{pair[1]},link1,{V4[1]}", "-X", "eth2,10.1.1.1,1")
    ping(pair[0], "192.168.1.2")
    ping(pair[0], "192.168.1.2", "-s", "1400", "-M", "do")
    assert links(pair[0])["link1"]["mtu"] == 1450
    for host, name in zip(hosts, pair, strict=True):
        done(host, "-N", f"{name},link1")
    assert state(*pair) == before


def test_vxlan_options(here: str, pair: tuple[str, str]) -> None:
    a, _ = pair
    done(here, "-n", f"{a},link1", "-x", "up0,10.99.0.2,77,port=8472,mtu=1300")
    (link,) = ip_json(a, "link", "show", "link1")
    data = link["linkinfo"]["info_data"]
    assert (link["mtu"], data["id"], data["port"], data["remote"], data["learning"]) == (
        *(1300, 77, 8472, "10.99.0.2"),
        True,
    )


@pytest.mark.parametrize("mode", ["default", "private", "vepa", "bridge", "passthru"])
def test_macvlan(here: str, pair: tuple[str, str], mode: str) -> None:
    a, _ = pair
    # The parent's own name: busy where the command runs, not where the interface goes.
    done(here, "-n", f"{a},up0,10.99.0.5/24", "-M", f"up0,{mode}")
    (link,) = ip_json(a, "link", "show", "up0")
    assert link["linkinfo"]["info_kind"] == "macvlan"
    assert link["linkinfo"]["info_data"]["mode"] == ("vepa" if mode == "default" else mode)
    done(here, "-N", f"{a},up0")
    assert not links(a)


def test_two_macvlans_reach_each_other(here: str, pair: tuple[str, str]) -> None:
    for number, name in enumerate(pair, 1):
        done(here, "-n", f"{name},link1,192.168.1.{number}/24", "-M", "up0,bridge")
    ping(pair[0], "192.168.1.2")


@pytest.mark.parametrize("spelling", ["mirror:both:lo", "mirror:both,lo"])
def test_a_mirror_lasts_as_long_as_its_link(here: str, pair: tuple[str, str], spelling: str) -> None:
    a, b = pair
    before = state(a)
    done(here, "-n", f"{a},tap,{spelling}", "-n", f"{b},tap")
    filters = [inside(a, ["tc", "filter", "show", "dev", "lo", way]).stdout for way in ("ingress", "egress")]
    assert all("device tap" in text for text in filters), filters
    ping(a, "127.0.0.1")
    # By the end that mirrors nothing: the filters of the other must go as well.
    done(here, "-N", f"{b},tap")
    assert state(a) == before


def test_a_mirror_into_a_tunnel_lowers_the_mtu_and_says_so(here: str, pair: tuple[str, str]) -> None:
    a, _ = pair
    said = done(here, "-n", f"{a},tap,mirror:ingress:lo", "-x", "up0,10.99.0.2,1")
    assert "the mtu of" in said
    assert links_of_lo(a)["mtu"] == 1450
    done(here, "-N", f"{a},tap")
    assert inside(a, ["tc", "filter", "show", "dev", "lo", "ingress"]).stdout == ""


def links_of_lo(namespace: str) -> dict[str, int]:
    (link,) = ip_json(namespace, "link", "show", "lo")
    return link


def test_the_links_are_a_lab_like_any_other(here: str, pair: tuple[str, str]) -> None:
    a, b = pair
    done(here, "-n", f"{a},link1", "-n", f"{b},link2")
    assert links(a)["link1"]["ifalias"] == f"kokofast:koko:{a}:link1--{b}:link2"
    seen = koko(here, "inspect", "koko")
    assert f"{a}:link1 -- {b}:link2" in seen.stdout


@pytest.mark.parametrize(("option", "words"), [("-v", "kokofast "), ("-h", "ENDPOINT")])
def test_help_and_version(option: str, words: str) -> None:
    answer = subprocess.run([*KOKO, option], capture_output=True, text=True, timeout=60, check=True)
    assert words in answer.stdout
    assert answer.stderr == ""


def test_all_options_are_in_the_help() -> None:
    shown = subprocess.run([*KOKO, "-h"], capture_output=True, text=True, timeout=60, check=True).stdout
    for letter in "aAcCdDeEnNpPxXVMhv":
        assert f"-{letter}" in shown.split() or f"-{letter} " in shown


@pytest.mark.parametrize("argv", [[], [""], ["frob"], ["--frob"]])
def test_what_is_not_koko_s_gets_the_usage_of_the_commands(argv: list[str]) -> None:
    answer = subprocess.run([*KOKO, *argv], capture_output=True, text=True, timeout=60, env={**os.environ})
    assert answer.returncode == 2
    assert answer.stderr.startswith("usage: kokofast")
