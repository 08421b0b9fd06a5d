"""Topologies that change: every change is made whole, or not at all, and means what the file would."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kokofast.timeline.json_schema import schema
from kokofast.topology import TopologyError, load
from kokofast.topology import live as module
from kokofast.topology.change import make_change
from kokofast.topology.live import LiveTopology
from kokofast.topology.model import Topology

LINKS: list[Any] = [
    {"endpoints": ["a:e0:10.0.0.1/24", "b:e0:10.0.0.2/24"], "rate": "1mbit"},
    {"endpoints": ["b:e1", "c:e0"], "delay": "5ms", "loss": "1%"},
    {"endpoints": ["a:e1", "c:e1"]},
]


def topology(links: list[Any] = LINKS, **more: Any) -> Topology:
    return load(json.dumps({"name": "lab", "links": links, **more}).encode(), filename="lab.json")


def at(path: str) -> str:
    return f"t:1 {path}"


def values(live: Topology) -> set[tuple[Any, ...]]:
    """What the links of a topology are, without places and order."""
    return {
        (
            link.kind,
            tuple(
                sorted(
                    (end.node, end.ifname, end.mtu, end.up, str(end.addresses), str(sorted(end.properties.items())))
                    for end in link.ends
                )
            ),
        )
        for link in live.links
    }


def problems(changes: dict[str, Any], **more: Any) -> list[str]:
    live = LiveTopology(topology(**more))
    before = list(live.links.values())
    with pytest.raises(TopologyError) as caught:
        make_change(live, changes, at)
    assert sorted(map(id, live.links.values())) == sorted(map(id, before))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"set": [{"endpoints": ["a:e0", "b:e0"], "rate": "2mbit"}]}, [{**LINKS[0], "rate": "2mbit"}, *LINKS[1:]]),
        ({"set": [{"endpoints": ["b:e0", "a:e0"], "rate": "2mbit"}]}, [{**LINKS[0], "rate": "2mbit"}, *LINKS[1:]]),
        (  # as the file may have them
            {"set": [{"endpoints": ["a:e0:10.0.0.1/24,10.1.0.1/24", "b:e0:2001:db8::1/64"], "rate": "2mbit"}]},
            [{**LINKS[0], "rate": "2mbit"}, *LINKS[1:]],
        ),
        ({"set": [{"endpoints": ["a", "b"], "rate": "2mbit"}]}, [{**LINKS[0], "rate": "2mbit"}, *LINKS[1:]]),
        ({"set": [{"endpoints": ["c", "b"], "delay": None}]}, [LINKS[0], {**LINKS[1], "delay": "0s"}, LINKS[2]]),
        ({"set": [{"endpoints": ["c", "a"], "rate": "2mbit"}]}, [*LINKS[:2], {**LINKS[2], "rate": "2mbit"}]),
        ({"set": [{"select": "a:*", "mtu": 1400}]}, None),
        ({"remove": [["a:e1", "c:e1"]]}, LINKS[:2]),
        ({"remove": [{"select": "c:*"}]}, LINKS[:1]),
        ({"remove": [{"endpoint": "c:e1"}], "add": [["a:e1", "b:e2"]]}, [*LINKS[:2], ["a:e1", "b:e2"]]),
        ({"add": [["a:e9", "new:e0"]]}, [*LINKS, ["a:e9", "new:e0"]]),
        ({"remove": [["a", "c"]], "add": [LINKS[2]]}, LINKS),
    ],
)
def test_a_change_means_what_the_file_would(changes: dict[str, Any], same: list[Any] | None) -> None:
    live = LiveTopology(topology())
    delta = make_change(live, changes, at)
    if same is not None:
        found, wanted = values(live.whole()), values(topology(same))
        assert {str(one).replace("('delay', 0), ", "") for one in found} == {
            str(one).replace("'delay': 0, ", "") for one in wanted
        }
    live.undo(delta)
    assert values(live.whole()) == values(topology())
    assert live.whole().nodes.keys() == {"a", "b", "c"}


@pytest.mark.parametrize("key", ["mac", "mtu", "txqlen", "dad", "master", "altnames", "link_local", "offload", "lacp"])
def test_null_for_a_field_that_batch_would_leave_as_it_is_is_refused(key: str) -> None:
    found = problems({"set": [{"endpoint": "a:e0", key: None}]})
    assert found == [f"t:1 set[0].{key}: null leaves {key} as it is: give the value that it is to have"]


@pytest.mark.parametrize(
    "key", ["addresses", "up", "cost", "delay", "jitter", "loss", "rate", "limit", "reorder_correlation"]
)
def test_null_takes_back_what_batch_takes_back(key: str) -> None:
    make_change(LiveTopology(topology()), {"set": [{"endpoint": "a:e0", key: None}]}, at)


def test_each_added_link_keeps_its_own_place() -> None:
    live = LiveTopology(topology())
    first = {"endpoints": ["a:x", {"node": "b", "interface": "x", "mtu": 1400}], "txqlen": 5}
    make_change(live, {"add": [first, ["a:y", "b:y"]]}, at)
    one, other = live.whole().links[-2:]
    assert one.ends[1].where("mtu") == "t:1 add[0].endpoints[1].mtu"
    assert (one.ends[0].where("txqlen"), other.place) == ("t:1 add[0].txqlen", "t:1 add[1]")


def test_null_has_the_mtu_of_a_link_follow_its_parent() -> None:
    on_a_parent = {"type": "macvlan", "parent": "e0", "endpoint": "a:m0", "mtu": 1400}
    live = LiveTopology(topology([*LINKS, on_a_parent]))
    make_change(live, {"set": [{"endpoint": "a:m0", "mtu": None}]}, at)
    assert live.whole().links[-1].ends[0].mtu is None
    tunnel = {"type": "vxlan", "vni": 7, "remote": "10.0.0.2", "endpoint": "a:v0"}
    assert problems({"set": [{"endpoint": "a:v0", "mtu": None}]}, links=[*LINKS, tunnel])


def test_the_schema_takes_null_where_a_change_does() -> None:
    fields = schema()["properties"]["set"]["items"]["properties"]
    takes = {key for key, value in fields.items() if {"type": "null"} in value.get("anyOf", ())}
    assert takes >= {"addresses", "up", "delay", "rate", "mtu"}
    assert takes.isdisjoint({"mac", "txqlen", "dad", "master", "altnames", "link_local", "offload", "lacp"})


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"sett": []}, "t:1 sett: unknown key 'sett'; did you mean 'set'?"),
        ({"at": 1}, "t:1 at: unknown key 'at'"),
        ({"set": 3}, "t:1 set: must be a list, not 3"),
        ({"set": [3]}, "t:1 set[0]: must be an object, not 3"),
        (
            {"set": [{"rate": "1mbit"}]},
            "t:1 set[0]: needs exactly one of endpoints, endpoint, select; this",
        ),
        ({"set": [{"endpoint": "a:e0"}]}, "t:1 set[0]: sets nothing: give a field, such as rate"),
        ({"set": [{"endpoint": "a:e9", "up": True}]}, "t:1 set[0].endpoint: there is no link 'a:e9' at this time"),
        ({"set": [{"endpoint": 3, "up": True}]}, 't:1 set[0].endpoint: must be "node:interface", not 3'),
        ({"set": [{"endpoints": ["a:e0"], "up": True}]}, "t:1 set[0].endpoints: the link is 'a:e0--b:e0': name all"),
        ({"set": [{"endpoints": ["a:e0", "c:e0"], "up": True}]}, "t:1 set[0].endpoints: there is no link 'a:e0--c:e0'"),
        (
            {"set": [{"endpoints": ["a", "d"], "up": True}]},
            "t:1 set[0].endpoints: there is no link between 'a' and 'd'",
        ),
        ({"set": [{"select": "x*", "up": True}]}, "t:1 set[0].select: no end matches 'x*' at this time"),
        ({"set": [{"endpoint": "a:e0", "rate": "x"}]}, "t:1 set[0].rate: 'x' is not a rate"),
        ({"set": [{"endpoint": "a:e0", "queues": 2}]}, "t:1 set[0].queues: queues cannot be set later"),
        ({"set": [{"endpoint": "a:e0", "vni": 2}]}, "t:1 set[0].vni: vni cannot be set later"),
        ({"set": [{"endpoint": "a:e0", "jitter": "1ms"}]}, "t:1 set[0].jitter: it has no effect without delay"),
        ({"set": [{"endpoint": "a:e0", "addresses": ["10.0.0.2/24"]}]}, "t:1: $.links[0].endpoints[1]: both ends of"),
        ({"remove": [{"endpoint": "a:e0", "rate": 1}]}, "t:1 remove[0].rate: unknown key 'rate'"),
        ({"remove": [["a:e0", "b:e0"], ["a:e0", "b:e0"]]}, "t:1 remove[1].endpoints: there is no link 'a:e0--b:e0'"),
        (
            {"add": [["a:e0", "c:e5"]]},
            "t:1 add[0]: a:e0--c:e5: an interface of it is already that",
        ),
        ({"add": [["a", "c"]]}, "t:1 add[0]: an added link needs the names of its interfaces: node:interface"),
        (
            {"add": [{"endpoints": ["a:e7", "c:e7"], "rat": 1}]},
            "t:1 add[0].rat: unknown key 'rat'; did you",
        ),
        (
            {"add": [{"endpoints": ["a:e7", "c:e7"], "subnet": "10.0.0.0/8"}]},
            "t:1 add[0].subnet: an added link",
        ),
        ({"add": [["host:e7", "c:e7"]]}, "t:1 add[0][0]: 'host' is not declared"),
    ],
)
def test_mistakes_have_their_places_and_nothing_is_changed(changes: dict[str, Any], found: str) -> None:
    good = {"set": [{"endpoint": "c:e1", "rate": "5mbit"}]}
    assert problems({**changes, **({} if "set" in changes else good)})[0].startswith(found)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"set": [{"select": "*", 1: 2}]}, "t:1 set[0].1: unknown key '1'"),
        ({"remove": [{"select": "*", ("a",): 2}]}, "t:1 remove[0][\"('a',)\"]: unknown key"),
        ({"add": [{"endpoints": ["a:n", "b:n"], None: 2}]}, "t:1 add[0]: has a key that is no text"),
        ({"add": [{"endpoints": ["a:n", {"node": "b", 1: 2}]}]}, "t:1 add[0]: has a key that is no text"),
    ],
)
def test_keys_that_only_a_program_can_give(changes: dict[str, Any], found: str) -> None:
    (problem,) = problems({"remove": [["a", "b"]], **changes} if "remove" not in changes else changes)
    assert problem.startswith(found)


def test_an_error_that_is_no_problem_of_the_change_leaves_the_topology_as_it_was() -> None:
    live = LiveTopology(topology())
    before = values(live.whole())

    class Odd(str):
        def __hash__(self) -> int:
            raise TypeError("odd")

    with pytest.raises(TypeError, match="odd"):
        make_change(live, {"remove": [["a", "b"]], "set": [{"endpoint": "b:e1", "rate": Odd("1mbit")}]}, at)
    assert values(live.whole()) == before


def test_what_is_kept_of_the_changes_before_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARSED_MAX", 5)
    monkeypatch.setattr(module, "PATTERNS_MAX", 5, raising=False)
    live = LiveTopology(topology())
    for number in range(1, 40):
        make_change(live, {"set": [{"select": f"[ax{number}]*", "rate": f"{number}mbit"}]}, at)
    assert 0 < len(live._patterns) <= 5
    assert 0 < len(live._parsed) <= 5


def test_a_change_knows_which_fields_it_sets() -> None:
    live = LiveTopology(topology())
    first = live.whole()

    def fields(changes: dict[str, Any]) -> set[str] | None:
        return make_change(live, changes, at).fields

    rate: list[object] = [{"select": "a:*", "rate": "3mbit"}, {"endpoint": "b:e1", "loss": None}]
    assert fields({"set": rate}) == {"impairments"}
    assert fields({"set": [*rate, {"select": "*", "mtu": 1400, "up": False}]}) == {"impairments", "mtu", "up"}
    assert live.difference(first, "t").fields == {"impairments", "mtu", "up"}
    assert live.difference(first, "t").fields == set()
    assert fields({"set": rate, "remove": [["a:e1", "c:e1"]]}) is None
    assert live.difference(first, "t").fields is None  # the link comes back
    both = make_change(live, {"set": rate}, at)
    both.follow(make_change(live, {"set": [{"endpoint": "c:e0", "addresses": ["10.9.0.1/24"]}]}, at))
    assert both.fields == {"impairments", "addresses"}
    assert both.only_sets(frozenset({"impairments", "addresses"}))
    assert not both.only_sets(frozenset({"impairments"}))


def test_an_added_link_has_the_defaults_of_the_file() -> None:
    live = LiveTopology(topology(defaults={"mtu": 9000, "rate": "3mbit", "subnet": "10.0.0.0/8", "create": True}))
    make_change(live, {"add": [["a:x", "new:x"]]}, at)
    link = live.whole().links[-1]
    assert {(end.mtu, str(end.properties), end.addresses) for end in link.ends} == {
        (9000, "{'impairments': {'rate': 375000}}", ())
    }
    assert live.nodes["new"].create


ENDS = ["a:e0", "b:e0", "b:e1", "c:e0", "a:e1", "c:e1", "d:e0", "a:e5"]
ENTRIES = st.one_of(
    st.fixed_dictionaries({"endpoint": st.sampled_from(ENDS), "rate": st.sampled_from(["1mbit", "2mbit", None])}),
    st.fixed_dictionaries({"endpoints": st.lists(st.sampled_from(ENDS), min_size=2, max_size=2)}),
    st.fixed_dictionaries({"select": st.sampled_from(["a:*", "*:e0", "z"]), "up": st.booleans()}),
)
EPOCHS = st.fixed_dictionaries({}, optional={name: st.lists(ENTRIES, max_size=2) for name in ("set", "add", "remove")})


@settings(max_examples=150)
@given(st.lists(EPOCHS, max_size=6))
def test_several_changes_are_one_change_and_can_be_undone(epochs: list[dict[str, Any]]) -> None:
    live = LiveTopology(topology())
    start = values(live.whole())
    whole = None
    for epoch in epochs:
        before = values(live.whole())
        try:
            delta = make_change(live, epoch, at)
        except TopologyError:
            assert values(live.whole()) == before
            continue
        if whole is None:
            whole = delta
        else:
            whole.follow(delta)
    if whole is not None:
        whole.settle()
        end = live.whole()
        live.undo(whole)
        assert values(live.whole()) == start
        assert live.whole().nodes.keys() == {"a", "b", "c"}
        back = LiveTopology(topology())
        back.difference(end, "t")
        assert values(back.whole()) == values(end)
