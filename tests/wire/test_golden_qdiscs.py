"""netem and tbf: our bytes in both directions, what pyroute2 reads in them, and how they compare with tc's."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from kokofast.ends.shaping import options_of, shaper_for, shaper_in
from kokofast.topology.units import parse_rate, parse_share, parse_time
from kokofast.wire import tc
from kokofast.wire.message import NLM_F_CREATE, NLM_F_REPLACE, Request, pack, split, unpack
from tests import golden
from tests.wire.test_golden import _without_zero_header
from tests.wire.test_golden_kinds import read_tc

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes are those of a little-endian machine")

IMPAIRMENTS = {
    "delay": parse_time("20ms"),
    "jitter": parse_time("2ms"),
    "delay_correlation": parse_share("25%"),
    "loss": parse_share("1%"),
    "loss_correlation": parse_share("10%"),
    "duplicate": parse_share("0.5%"),
    "duplicate_correlation": parse_share("5%"),
    "reorder": parse_share("5%"),
    "reorder_correlation": parse_share("50%"),
    "corrupt": parse_share("0.1%"),
    "corrupt_correlation": parse_share("20%"),
    "rate": parse_rate("10mbit"),
    "limit": 5000,
}
FAST = {"delay": parse_time("6s"), "rate": parse_rate("40gbit"), "limit": 1000}


def netem(impairments: dict[str, int]) -> dict[str, Any]:
    shaper = shaper_for(impairments, 1500)
    assert shaper is not None
    assert shaper.kind == "netem"
    return options_of(shaper)


def newqdisc(kind: str, options: dict[str, object]) -> Request:
    header = {"index": 3, "handle": 0x100000, "parent": tc.TC_H_ROOT}
    return Request(tc.RTM_NEWQDISC, header, {"kind": kind, "options": options}, NLM_F_CREATE | NLM_F_REPLACE)


TBF_OPTIONS: dict[str, object] = {
    "parms": {"header": {"linklayer": 1, "rate": 1_250_000, "limit": 77_500, "buffer": 187_500}},
    "burst": 15_000,
}
CASES = {
    "newqdisc_netem": newqdisc("netem", netem(IMPAIRMENTS | {"rate": parse_rate("40gbit")})),
    "newqdisc_tbf": newqdisc("tbf", TBF_OPTIONS),
}


@pytest.mark.parametrize("name", CASES)
def test_a_request_becomes_the_golden_bytes(name: str) -> None:
    assert pack(CASES[name], 7, ack=True).hex(" ") == golden.read(name).hex(" ")


def read(name: str) -> dict[str, Any]:
    (part,) = split(golden.read(name))
    message = unpack(*part)
    assert message.type == tc.RTM_NEWQDISC
    assert message.header == {"family": 0, "index": 3, "handle": 0x100000, "parent": tc.TC_H_ROOT, "info": 0}
    return message.attributes


@pytest.mark.parametrize("name", CASES)
def test_the_golden_bytes_become_the_request(name: str) -> None:
    assert _without_zero_header(read(name)) == _without_zero_header(dict(CASES[name].attributes))


def test_pyroute2_reads_netem() -> None:
    options = read_tc(golden.read("newqdisc_netem")).get_attr("TCA_OPTIONS")
    assert (options["delay"], options["limit"], options["gap"], options["jitter"]) == (312_500, 5000, 1, 31_250)
    assert (options["loss"], options["duplicate"]) == (IMPAIRMENTS["loss"], IMPAIRMENTS["duplicate"])
    corr = options.get_attr("TCA_NETEM_CORR")
    assert (corr["delay_corr"], corr["loss_corr"], corr["dup_corr"]) == tuple(
        IMPAIRMENTS[f"{name}_correlation"] for name in ("delay", "loss", "duplicate")
    )
    for name, field in (("reorder", "prob_reorder"), ("corrupt", "prob_corrupt")):
        found = options.get_attr(f"TCA_NETEM_{name.upper()}")
        assert found[field] == IMPAIRMENTS[name]
        assert found[field.replace("prob", "corr")] == IMPAIRMENTS[f"{name}_correlation"]
    assert options.get_attr("TCA_NETEM_RATE")["rate"] == 0xFFFFFFFF


def test_pyroute2_reads_tbf() -> None:
    parms = read_tc(golden.read("newqdisc_tbf")).get_attr("TCA_OPTIONS").get_attr("TCA_TBF_PARMS")
    assert (parms["rate"], parms["rate___reserved"]) == (1_250_000, 1)
    assert (parms["limit"], parms["buffer"]) == (77_500, 187_500)


@pytest.mark.parametrize(("name", "impairments"), [("tc_netem", IMPAIRMENTS), ("tc_netem_fast", FAST)])
def test_tc_sends_the_same_netem(name: str, impairments: dict[str, int]) -> None:
    """tc leaves out what it does not set, and the times in nanoseconds where those in ticks say the same."""
    theirs = read(name)["options"]
    ours = _without_zero_header(netem(impairments))
    assert {key: ours[key] for key in theirs} == _without_zero_header(theirs)
    shaper = shaper_for(impairments, 1500)
    assert shaper is not None
    assert shaper_in("netem", theirs).is_like(shaper)


def test_tc_sends_the_same_tbf() -> None:
    theirs = read("tc_tbf")["options"]
    parms = dict(theirs["parms"]["header"])
    # Of the table of transmission times, which no kernel has needed since Linux 3.8.
    assert (parms.pop("cell_log"), parms.pop("cell_align")) == (3, -1)
    wanted: Any = TBF_OPTIONS["parms"]
    assert {key: value for key, value in parms.items() if value} == wanted["header"]
    assert theirs["burst"] == 15_000
