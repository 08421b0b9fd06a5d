"""Timelines, from text to epochs: every mistake has its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.timeline.epoch import Epoch
from kokofast.timeline.read import Reader
from kokofast.topology import TopologyError


def read(*values: object, is_live: bool = False) -> list[Epoch]:
    reader = Reader(is_live=is_live)
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return [reader.read(text, f"t.jsonl:{number}") for number, text in enumerate(texts, 1)]


def problems(*values: object, is_live: bool = False) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        read(*values, is_live=is_live)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("values", "times"),
    [
        (({"at": 0}, {"at": 1}, {"at": 1.5}, {"at": 1.5}), [0, 1, 1.5, 1.5]),
        (({"at": "2026-01-31T12:00:00Z"}, {"at": "2026-01-31T13:00:01.5+01:00"}), [0, 1.5]),
        (({"at": "2026-01-31T12:00:00"}, {"at": "2026-02-01T12:00:00Z"}), [0, 86400]),
        (({"time": "2026-01-31T12:00:00Z", "links-add": []}, {"time": "2026-01-31T12:00:05Z"}), [0, 5]),
    ],
)
def test_times(values: tuple[object, ...], times: list[float]) -> None:
    assert [epoch.at for epoch in read(*values)] == times


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (("{",), "t.jsonl:1:2: not JSON: expecting property name enclosed in double quotes"),
        (("[" * 200_000,), "t.jsonl:1: nested too deeply"),
        (([],), "t.jsonl:1: an epoch must be an object, not a list"),
        (({},), "t.jsonl:1: needs 'at': when it is, in seconds after the start"),
        (({"at": -1},), "t.jsonl:1 at: must be seconds from 0 to 1,000,000,000, or a date and time, not -1"),
        (('{"at": 1e400}',), "t.jsonl:1 at: must be seconds from 0 to 1,000,000,000, or a date and time, not "),
        (('{"at": NaN}',), "t.jsonl:1 at: must be seconds from 0 to 1,000,000,000, or a date and time, not "),
        (({"at": True},), "t.jsonl:1 at: must be seconds from 0 to 1,000,000,000, or a date and time, not true"),
        (({"at": "noon"},), "t.jsonl:1 at: 'noon' is not a date and time such as 2026-01-31T12:00:00Z"),
        (({"at": 2}, {"at": 1}), "t.jsonl:2 at: is before that of the epoch before, t.jsonl:1"),
        (({"at": 2}, {"at": "2026-01-31"}), "t.jsonl:2 at: is a date, and that of t.jsonl:1 is in seconds"),
        (({"at": "2026-01-31"}, {"at": 2}), "t.jsonl:2 at: is in seconds, and the first epoch has a date"),
        (({"at": "2026-01-31"}, {"at": "2026-01-30"}), "t.jsonl:2 at: is before the first epoch, which is the start"),
        (({"at": 0, "sett": []},), "t.jsonl:1 sett: unknown key 'sett'; did you mean 'set'?"),
        (({"at": 0, "set": {}},), "t.jsonl:1 set: must be a list, not an object"),
        (('{"at": 0, "at": 1}',), "t.jsonl:1 at: the key 'at' is given more than once"),
        (({"at": 0, "run": "ls"},), 't.jsonl:1 run: must be an object with "node" and "command", not \'ls\''),
        (({"at": 0, "run": {"node": "a", "command": "ls"}},), "t.jsonl:1 run.command: must be a list of texts"),
        (({"at": 0, "run": [{"node": "a", "command": ["a\0"]}]},), "t.jsonl:1 run[0].command: must be a list of texts"),
        (({"at": 0, "run": {"node": "a", "command": [""]}},), "t.jsonl:1 run.command: must be a list of texts"),
        (({"at": 0, "run": {"node": "a", "command": ["a\ud800"]}},), "t.jsonl:1 run.command: must be a list of texts"),
        (({"at": 0, "run": {"node": 1, "command": ["ls"]}},), "t.jsonl:1 run.node: must be the name of a node, not 1"),
        (({"time": "2026-01-31", "links-add": [3]},), "t.jsonl:1 links-add[0]: must be an object, not 3"),
        (({"time": "2026-01-31", "links-del": [{}]},), "t.jsonl:1 links-del[0]: needs 'endpoint1', the name of a node"),
        (({"time": "2026-01-31", "run": {"a": "echo 'x"}},), "t.jsonl:1 run.a: must be a command in text"),
        (({"time": "2026-01-31", "run": {"a": "''"}},), "t.jsonl:1 run.a: must be a command in text"),
        (({"links-add": []},), "t.jsonl:1: needs 'time': when it is"),
    ],
)
def test_mistakes(values: tuple[object, ...], found: str) -> None:
    assert problems(*values)[0].startswith(found)


def test_standard_input_needs_no_times_and_they_may_go_back() -> None:
    times = [epoch.at for epoch in read({}, {"at": 3}, {"at": 2}, is_live=True)]
    assert times == [None, 3, 2]


def test_an_epoch_of_netsatbench() -> None:
    entry = {"endpoint1": "sat1", "endpoint2": "a-station-with-a-long-name", "rate": "50mbit", "loss": 0.5, "limit": 9}
    (epoch,) = read(
        {
            "time": "2026-01-31T12:00:00Z",
            "links-add": [entry],
            "links-update": [{"endpoint1": "sat1", "endpoint2": "sat2", "delay": "5ms"}],
            "links-del": [{"endpoint1": "sat1", "endpoint2": "sat3"}],
            "run": {"sat1": ["ping -c 1 'a b'", "ls"]},
        }
    )
    (added,) = epoch.changes["add"]
    assert isinstance(added, dict)
    assert added["endpoints"][1] == "a-station-with-a-long-name:sat1"
    assert 0 < len(added["endpoints"][0].removeprefix("sat1:")) <= 15
    assert {key: added[key] for key in ("rate", "loss", "limit")} == {"rate": "50mbit", "loss": "0.5%", "limit": 9}
    assert epoch.changes["set"] == [{"endpoints": ["sat1", "sat2"], "delay": "5ms"}]
    assert epoch.changes["remove"] == [{"endpoints": ["sat1", "sat3"]}]
    assert [command.arguments for command in epoch.commands] == [("ping", "-c", "1", "a b"), ("ls",)]
    assert epoch.where("set[0].delay") == "t.jsonl:1 links-update[0].delay"


def outcome(reader: Reader, text: str, number: int) -> list[str]:
    """The problems of a text, or the place of its epoch."""
    try:
        return [reader.read(text, f"t.jsonl:{number}").where("")]
    except TopologyError as error:
        return [str(problem) for problem in error.problems] or ["no problem"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["at", "time", "set", "add", "remove", "run", "links-add", "links-del", "links-update", "x"])


@given(st.lists(st.dictionaries(KEYS, JSON, max_size=5), max_size=3), st.booleans())
def test_whatever_is_written_is_an_epoch_or_a_problem_at_its_line(values: list[object], is_live: bool) -> None:
    reader = Reader(is_live=is_live)
    for number, value in enumerate(values, 1):
        assert all(place.startswith(f"t.jsonl:{number}") for place in outcome(reader, json.dumps(value), number))


@given(st.text(max_size=40))
def test_whatever_the_text_is(text: str) -> None:
    assert all(place.startswith("t.jsonl:1") for place in outcome(Reader(), text, 1))
