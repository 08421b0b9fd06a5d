"""The action that measures how far the clocks of hosts are ahead: its arithmetic, and on simulated hosts."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.underlay import Underlay
from tests.hosts.ansible import ABOVE, run_ansible
from tests.hosts.clocks import ahead

# Seconds that a question needs until the clock is read, and its answer from then on.
WAYS = st.tuples(st.floats(0, 5), st.floats(0, 5))


def plugin() -> Any:
    sys.path.insert(0, str(ABOVE))
    try:
        return importlib.import_module("ansible_collections.kokofast.lab.plugins.plugin_utils.clock")
    finally:
        sys.path.remove(str(ABOVE))


@pytest.mark.parametrize(
    ("exchanges", "offset", "error"),
    [
        ([(100.0, 0.2, 100.1)], 0.0, 0.1),
        ([(100.0, 0.2, 103.1)], 3.0, 0.1),
        ([(100.0, 0.2, 97.1)], -3.0, 0.1),
        ([(100.0, 0.2, 100.2), (101.0, 0.02, 101.01), (102.0, 4.0, 109.0)], 0.0, 0.01),  # the shortest one
        ([(100.0, 0.0, 100.5)], 0.5, 0.0),
    ],
)
def test_the_shortest_exchange_counts(exchanges: list[tuple[float, float, float]], offset: float, error: float) -> None:
    found = plugin().estimate([plugin().Exchange(*one) for one in exchanges])
    assert (found["offset"], found["error"]) == (pytest.approx(offset), pytest.approx(error))


@given(st.floats(-1e6, 1e6), st.lists(WAYS, min_size=1))
def test_the_offset_is_never_wrong_by_more_than_the_error(true: float, ways: list[tuple[float, float]]) -> None:
    asked = 1_769_860_800.0
    found = plugin().estimate([plugin().Exchange(asked, there + back, asked + there + true) for there, back in ways])
    assert abs(found["offset"] - true) <= found["error"] + 2e-6
    assert found["error"] <= min(map(sum, ways)) / 2 + 1e-6


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1769860800.123456789\n", pytest.approx(1769860800.123456789)),
        ("1769860800.\n", None),  # a date without %N: it may be wrong by a second
        ("1769860800.%N\n", None),
        ("1769860800.N\n", None),
        ("1769860800\n", None),
        ("nan", None),
        ("welcome\n1769860800.123456789\n", None),
        ("", None),
    ],
)
def test_a_time_has_nanoseconds(text: str, time: float | None) -> None:
    assert plugin().told_time(text) == time


def test_a_clock_that_is_ahead_is_found(underlay: Underlay, tmp_path: Path) -> None:
    hosts = {host.name: {"ansible_host": host.address, **underlay.variables(host)} for host in underlay.hosts.values()}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    kept = "{{ ansible_play_hosts_all | map('extract', hostvars, 'clock') | to_json }}"
    tasks = [
        {"kokofast.lab.clock": None, "register": "clock"},
        {
            "ansible.builtin.copy": {"content": kept, "dest": str(tmp_path / "answers"), "mode": "0600"},
            "delegate_to": "localhost",
            "run_once": True,
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
        },
    ]
    (tmp_path / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    with ahead(underlay.hosts["h2"], tmp_path, 7):
        done = run_ansible(
            underlay.controller.command,
            "ansible-playbook",
            f"--inventory={tmp_path / 'hosts.json'}",
            str(tmp_path / "play.json"),
            folder=tmp_path,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    found = dict(zip(hosts, json.loads((tmp_path / "answers").read_text()), strict=True))
    for name, true in {"h1": 0.0, "h2": 7.0, "h3": 0.0}.items():
        assert abs(found[name]["offset"] - true) <= found[name]["error"]
        assert found[name]["changed"] is False


@pytest.mark.parametrize(
    ("date", "samples", "words"),
    [
        ("echo 1769860800.%N", 8, "'date +%s.%N' printed '1769860800.%N' on this host, not the time: install"),
        ("exit 1", 8, "not the time: install the date of GNU coreutils"),
        ("exec date", 0, "samples: 0 is not a number from 1 to 100"),
    ],
)
def test_a_date_that_prints_no_time_is_an_error(
    requires_root: None, tmp_path: Path, date: str, samples: int, words: str
) -> None:
    (tmp_path / "date").write_text(f"#!/bin/sh\n{date}\n")
    (tmp_path / "date").chmod(0o755)
    task = {"kokofast.lab.clock": {"samples": samples}}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}
    (tmp_path / "play.json").write_text(json.dumps([play]))

    def where(*command: str) -> list[str]:
        return ["sh", "-c", f'PATH={tmp_path}:$PATH exec "$@"', "sh", *command]

    done = run_ansible(where, "ansible-playbook", str(tmp_path / "play.json"), folder=tmp_path)
    assert done.returncode == 2
    assert words in done.stdout + done.stderr
