"""netem and tbf on the real kernel: what tc makes and what we make of the same words."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping

import pytest

from kokofast.ends.shaping import options_of, shaper_for, shaper_in
from kokofast.host.namespaces import named, open_namespace, open_sockets
from kokofast.topology.units import parse_rate, parse_share, parse_time
from kokofast.wire import tc
from kokofast.wire.attributes import encode
from kokofast.wire.message import FORMATS, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, Request
from tests.conftest import NamespaceFactory, ip, ip_json
from tests.wire.test_witness import dump

pytestmark = pytest.mark.usefixtures("requires_root")

QDISCS = Request(tc.RTM_GETQDISC, {}, {}, NLM_F_DUMP)
HANDLE = 0x100000

PARSERS: dict[str, Callable[[str], int]] = {"delay": parse_time, "jitter": parse_time, "rate": parse_rate, "limit": int}


def numbers(texts: Mapping[str, str]) -> dict[str, int]:
    return {name: PARSERS.get(name, parse_share)(text) for name, text in texts.items()}


@pytest.fixture
def pair(netns: NamespaceFactory) -> str:
    """A namespace with v0 and v1."""
    name = netns()
    ip(name, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    return name


def tc_add(namespace: str, ifname: str, options: str) -> None:
    words = ["tc", "-n", namespace, "qdisc", "add", "dev", ifname, "root", *options.split()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def set_qdisc(namespace: str, ifname: str, impairments: Mapping[str, int], flags: int) -> None:
    (link,) = ip_json(namespace, "link", "show", "dev", ifname)
    shaper = shaper_for(impairments, int(link["mtu"]))
    assert shaper is not None
    header = {"index": int(link["ifindex"]), "handle": HANDLE, "parent": tc.TC_H_ROOT}
    request = Request(tc.RTM_NEWQDISC, header, {"kind": shaper.kind, "options": options_of(shaper)}, flags)
    fd = open_namespace(named(namespace))
    try:
        (ours,) = open_sockets([fd])
    finally:
        os.close(fd)
    try:
        (refusal,) = ours.send([request])
    finally:
        ours.close()
    assert refusal is None


def shown(namespace: str, ifname: str) -> object:
    """What tc shows, without the number that tells the qdisc from others."""
    words = ["tc", "-n", namespace, "-j", "qdisc", "show", "dev", ifname, "root"]
    (qdisc,) = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return qdisc["kind"], qdisc["options"]


guest = pytest.mark.guest


@pytest.mark.parametrize(
    "command",
    [
        "tbf rate 10mbit burst 15000 latency 50ms",
        "tbf rate 40gbit burst 1mb limit 2mb",
        "tbf rate 1gbit burst 1mb latency 10ms peakrate 2gbit mtu 9000",
        pytest.param("netem limit 5000", marks=guest),
        pytest.param("netem delay 6s rate 40gbit loss 0.1% reorder 1% gap 5", marks=guest),
        pytest.param("netem delay 1ms 2ms slot 800us 1ms loss gemodel 1% 10% 70% 0.1%", marks=guest),
    ],
)
def test_a_dump_written_again_is_the_same_bytes(pair: str, command: str) -> None:
    tc_add(pair, "v0", command)
    kinds = []
    for raw, message in dump(pair, QDISCS):
        header, table = FORMATS[message.type]
        assert (header.pack(message.header) + encode(table, message.attributes)).hex(" ") == raw[16:].hex(" ")
        kinds.append(message.attributes["kind"])
    assert command.split()[0] in kinds


ALL = {
    "delay": "20ms",
    "jitter": "2ms",
    "delay_correlation": "25%",
    "loss": "1%",
    "loss_correlation": "10%",
    "duplicate": "0.5%",
    "duplicate_correlation": "5%",
    "reorder": "5%",
    "reorder_correlation": "50%",
    "corrupt": "0.1%",
    "corrupt_correlation": "20%",
    "rate": "40gbit",
    "limit": "5000",
}
NETEM = (
    "netem delay 20ms 2ms 25% loss 1% 10% duplicate 0.5% 5% reorder 5% 50% corrupt 0.1% 20% rate 40gbit limit 5000",
    ALL,
)


@pytest.mark.parametrize(
    ("command", "impairments"),
    [
        # The burst and the queue that shaping.py documents, in tc's words.
        ("tbf rate 10mbit burst 12500 limit 75000", {"rate": "10mbit"}),
        ("tbf rate 10gbit burst 1250000 limit 63750000", {"rate": "10gbit"}),
        ("tbf rate 100gbit burst 12500000 limit 637500000", {"rate": "100gbit"}),
        ("tbf rate 64kbit burst 3028 limit 18168", {"rate": "64kbit"}),
        pytest.param(*NETEM, marks=guest),
        pytest.param("netem delay 50ms rate 10gbit limit 82563", {"delay": "50ms", "rate": "10gbit"}, marks=guest),
        pytest.param("netem delay 50ms limit 41282", {"delay": "50ms"}, marks=guest),
        pytest.param("netem loss 10%", {"loss": "10%"}, marks=guest),
        pytest.param("netem delay 200s rate 8bit", {"delay": "200s", "rate": "8bit"}, marks=guest),
    ],
)
def test_tc_makes_the_same(pair: str, command: str, impairments: dict[str, str]) -> None:
    tc_add(pair, "v0", command)
    wanted = numbers(impairments)
    set_qdisc(pair, "v1", wanted, NLM_F_CREATE | NLM_F_EXCL)
    assert shown(pair, "v1") == shown(pair, "v0")
    shaper = shaper_for(wanted, 1500)
    assert shaper is not None
    found = [message for _, message in dump(pair, QDISCS) if message.attributes["kind"] == shaper.kind]
    assert len(found) == 2
    assert all(shaper_in(shaper.kind, message.attributes["options"]).is_like(shaper) for message in found)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"rate": "40gbit"}, {"rate": "10mbit"}),
        pytest.param(ALL, {"loss": "10%"}, marks=guest),
        pytest.param({"loss": "10%"}, ALL, marks=guest),
    ],
)
def test_a_change_in_place_leaves_nothing_of_before(pair: str, before: dict[str, str], after: dict[str, str]) -> None:
    set_qdisc(pair, "v0", numbers(before), NLM_F_CREATE | NLM_F_EXCL)
    set_qdisc(pair, "v0", numbers(after), NLM_F_CREATE | NLM_F_REPLACE)
    set_qdisc(pair, "v1", numbers(after), NLM_F_CREATE | NLM_F_EXCL)
    assert shown(pair, "v0") == shown(pair, "v1")
