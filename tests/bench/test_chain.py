"""The floor and its judge, on real namespaces. Times are no test's business."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import __main__ as program
from bench.contenders import ROOT, Floor, IpBatch, compile_floor
from bench.measure import ContenderFailed, Measurement, run
from bench.report import Results, markdown, rows
from bench.scenario import Chain, WrongState
from tests.conftest import ip, namespaces

LINKS = 6


@pytest.fixture
def chain(requires_root: None) -> Iterator[Chain]:
    scenario = Chain(f"kfbt{os.getpid()}-", LINKS)
    with program.namespaces_of(scenario):
        yield scenario
    assert not [name for name in namespaces() if name.startswith(scenario.prefix)]


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which(os.environ.get("CC", "cc")) is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler here, and the floor is written in C")
    compiled = compile_floor(tmp_path_factory.mktemp("floor"))
    assert compiled is not None, "floor.c does not compile"
    return compiled


@pytest.mark.parametrize("group", [0, 77])
def test_the_floor_makes_and_removes_the_chain(chain: Chain, binary: Path, tmp_path: Path, group: int) -> None:
    floor = Floor(binary, group=group)
    chain.verify_gone()
    run(floor.up(chain, tmp_path), tmp_path)
    chain.verify_up()
    run(floor.destroy(chain, tmp_path), tmp_path)
    chain.verify_gone()


def test_the_floor_fails_aloud(chain: Chain, binary: Path, tmp_path: Path) -> None:
    floor = Floor(binary)
    run(floor.up(chain, tmp_path), tmp_path)
    with pytest.raises(ContenderFailed, match=r"exit 1: refused: "):
        run(floor.up(chain, tmp_path), tmp_path)


def test_ip_batch_makes_and_removes_the_chain(chain: Chain, tmp_path: Path) -> None:
    peer = IpBatch(limit=LINKS)
    run(peer.up(chain, tmp_path), tmp_path)
    chain.verify_up()
    run(peer.destroy(chain, tmp_path), tmp_path)
    chain.verify_gone()


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (("link", "set", "eth0", "down"), "eth0 is down"),
        (("link", "set", "eth0", "name", "x0", "down"), r"has \['eth1'\], should have \['eth0', 'eth1'\]"),
        (("address", "delete", "10.0.0.1/31", "dev", "eth0"), "eth0 has no address"),
        (("link", "add", "eth7", "type", "veth", "peer", "name", "x7"), "has .*'eth7'"),
        (("link", "set", "eth1", "arp", "off", "address", "02:00:00:00:00:01"), "no datagram from "),
    ],
)
def test_the_judge_sees_damage(
    chain: Chain,
    binary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: tuple[str, ...],
    complaint: str,
) -> None:
    monkeypatch.setattr("bench.scenario.DATAGRAM_TIMEOUT", 1.5)  # one ARP repetition
    run(Floor(binary).up(chain, tmp_path), tmp_path)
    ip(f"{chain.prefix}1", *damage)
    with pytest.raises(WrongState, match=complaint):
        chain.verify_up()


def test_the_program_reports_every_contender(
    requires_root: None, binary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    code = program.main(
        ["--links", "3", "--repeat", "2", "--contenders", "floor,ip-batch", "--ip-batch-max", "2", "--json", str(file)]
    )
    assert code == 0
    found = json.loads(file.read_text())
    assert [(row["phase"], row["contender"], row["runs"]) for row in found["rows"]] == [
        ("up", "floor", 2),
        ("destroy", "floor", 2),
    ]
    assert found["notes"] == ["ip-batch, chain 3: left out above 2 links (--ip-batch-max): it takes too long"]
    assert found["notes"][0] in capsys.readouterr().out


def test_a_stopped_program_leaves_nothing(requires_root: None, binary: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "--links", "300", "--contenders", "floor"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        process.stderr.readline()  # the first run is done
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert not [name for name in namespaces() if name.startswith(f"kfb{process.pid}-")]


def test_the_table_has_medians_and_ratios() -> None:
    machine = {"processor": "x", "processors": 2, "memory_gib": 1, "kernel": "6", "python": "3", "ip": "iproute2-6"}
    results = Results({**machine, "load_before": 0.0, "load_after": 0.0})
    for contender, times in (("floor", (1.0, 2.0, 9.0)), ("kokofast", (3.0, 3.0, 4.0))):
        for seconds in times:
            results.add("chain", 100, "up", contender, Measurement(seconds, 0.5, 2048, False))
    floor, kokofast = rows(results)
    assert (floor.median, floor.low, floor.high, floor.times_floor) == (2.0, 1.0, 9.0, 1.0)
    assert (kokofast.times_floor, kokofast.ms_per_link) == (1.5, 30.0)
    assert (
        "| chain | 100 | up | kokofast | 3 | 3.000 (3.000..4.000) | 30.000 | 1.50 | 0.50 | 2 |"
        in markdown(results).splitlines()
    )
