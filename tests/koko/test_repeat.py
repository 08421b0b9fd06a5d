"""The same command again: a link that is there, and in nothing different, is what was asked for."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ip, ip_json
from tests.koko.conftest import done, inside, koko


def state(*namespaces: str) -> list[object]:
    """What kokofast sets: no states, which settle by themselves a moment later."""
    links = [link for name in namespaces for link in ip_json(name, "address", "show")]
    fields = ("ifname", "ifindex", "address", "ifalias", "group", "mtu")
    addresses = [sorted((one["local"], one["prefixlen"]) for one in link["addr_info"]) for link in links]
    filters = [inside(name, ["tc", "filter", "show", "dev", "lo", "ingress"]).stdout for name in namespaces]
    return [*([link.get(field) for field in fields] for link in links), addresses, filters]


COMMANDS = {
    "veth": "-n {a},link1,10.0.0.1/24,2001:db8::1/64 -n {b},link2,10.0.0.2/24",
    "with a mirror": "-n {a},link1,mirror:both:lo -n {b},link2",
    "vxlan": "-n {a},link1,10.0.0.1/24 -x up0,10.99.0.2,1,mtu=1400",
    "macvlan": "-n {a},link1,10.0.0.1/24 -M up0,bridge",
    "in the caller's namespace": "-c link1,10.0.0.1/24 -n {b},link2",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_the_same_again_changes_nothing_and_says_so(here: str, pair: tuple[str, str], command: str) -> None:
    a, b = pair
    argv = command.format(a=a, b=b).split()
    done(here, *argv)
    before = state(here, a, b)
    said = done(here, *argv)
    assert said.startswith("kokofast: ")
    assert said.endswith("is there already; nothing to do\n")
    assert state(here, a, b) == before


DIFFERENT = {
    "another address": "-n {a},link1,10.0.0.1/25 -n {b},link2,10.0.0.2/24",
    "an address less": "-n {a},link1 -n {b},link2,10.0.0.2/24",
    "another name": "-n {a},link1,10.0.0.1/24 -n {b},link3,10.0.0.2/24",
    "another kind": "-n {a},link1,10.0.0.1/24 -M up0,bridge",
    "a mirror more": "-n {a},link1,10.0.0.1/24,mirror:both:lo -n {b},link2,10.0.0.2/24",
}


@pytest.mark.parametrize("command", DIFFERENT.values(), ids=list(DIFFERENT))
def test_what_differs_is_refused(here: str, pair: tuple[str, str], command: str) -> None:
    a, b = pair
    done(here, "-n", f"{a},link1,10.0.0.1/24", "-n", f"{b},link2,10.0.0.2/24")
    before = state(here, a, b)
    answer = koko(here, *command.format(a=a, b=b).split())
    assert answer.returncode == 2, answer.stderr
    assert "there is an interface link1 already, of a link that differs; delete it (" in answer.stderr
    assert state(here, a, b) == before
    cure = re.search(r"link1 already, .*; delete it \(kokofast (-N .*)\) or take another name", answer.stderr)
    assert cure is not None, answer.stderr
    done(here, *cure[1].split())
    done(here, *command.format(a=a, b=b).split())


def test_what_others_have_made_is_told_as_theirs(here: str, pair: tuple[str, str]) -> None:
    a, b = pair
    ip(a, "link", "add", "link1", "type", "veth", "peer", "name", "other")
    answer = koko(here, "-n", f"{a},link1", "-n", f"{b},link2")
    assert answer.returncode == 2
    assert answer.stderr.endswith("link1 already, not ours; delete it or take another name\n")


def test_a_mirror_less_and_a_link_that_was_set_down_are_refused(here: str, pair: tuple[str, str]) -> None:
    a, b = pair
    done(here, "-n", f"{a},link1,mirror:both:lo", "-n", f"{b},link2")
    assert koko(here, "-n", f"{a},link1", "-n", f"{b},link2").returncode == 2
    ip(b, "link", "set", "link2", "down")
    assert koko(here, "-n", f"{a},link1,mirror:both:lo", "-n", f"{b},link2").returncode == 2
