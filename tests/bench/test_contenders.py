"""Every contender makes every scenario it claims to, and takes it away again. Times are no test's business."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from bench.contender import CHANGE, DESTROY, PHASES, ROOT, UNCHANGED, UP, Contender
from bench.contenders import Kokofast, PythonPass, contenders
from bench.measure import ContenderFailed, run
from bench.peers.koko import Koko
from bench.report import Results
from bench.runner import Runner
from bench.scenario import SCENARIOS, Chain, Scenario
from tests.bench.conftest import LINKS, PREFIX, Fresh, lacking

Everyone = Callable[[str], Contender]
# Other parts of the same code, or of the same program, are tried by another one.
TRIED = {
    "floor": ["chain", "chain-create", "star", "bundle", "mesh", "vxlan", "mirror", "single"],
    "floor-group": ["chain", "star", "bundle", "mesh", "vxlan", "mirror"],
    "kokofast": [
        *("chain", "chain-create", "star", "star-no-link-local", "star-no-ipv6"),
        *("star-create", "chain-star-create", "bundle"),
        *("mesh", "vxlan", "mirror", "single", "chain-rate", "mesh-rate", "routes", "segment", "segments"),
    ],
    "kokofast-1024": ["chain-star-create"],
    "ip": ["chain", "chain-create", "vxlan", "mirror"],
    "ip-batch": ["chain", "chain-create", "mesh", "vxlan", "mirror"],
    "go-1": ["mesh"],
    "go-8": ["chain", "bundle"],
    "pyroute2": ["chain", "mesh"],
}


@pytest.fixture
def koko(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kokofast in koko's place, by its flags."""
    file = tmp_path / "bin" / "koko"
    file.parent.mkdir()
    file.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m kokofast "$@"\n')
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}:{os.environ['PATH']}")


def bring_up_and_destroy(one: Contender, scenario: Scenario, directory: Path) -> None:
    assert scenario.name in one.scenarios
    assert one.missing() is None
    scenario.verify_gone()
    changed = False
    for phase in PHASES:
        command = getattr(one, phase)(scenario, directory)
        if command is None:
            assert phase in (CHANGE, UNCHANGED)
            continue
        changed = changed or phase == CHANGE
        taken = run(command, ROOT, partial(one.stages, phase))
        assert taken.seconds > 0
        if phase == DESTROY:
            scenario.verify_gone()
        elif changed:
            scenario.verify_changed()
        else:
            scenario.verify_up(one.queues)


@pytest.mark.parametrize(("contender", "name"), [(one, name) for one, names in TRIED.items() for name in names])
def test_a_contender_makes_and_removes_a_scenario(
    everyone: Everyone, fresh: Fresh, tmp_path: Path, contender: str, name: str
) -> None:
    bring_up_and_destroy(everyone(contender), fresh(name), tmp_path)


@pytest.mark.parametrize(("contender", "name"), [("koko", "single"), ("koko-8", "chain")])
def test_koko_makes_and_removes_a_scenario(
    everyone: Everyone, fresh: Fresh, tmp_path: Path, koko: None, contender: str, name: str
) -> None:
    bring_up_and_destroy(everyone(contender), fresh(name), tmp_path)


def test_koko_is_compiled_from_sources_in_the_gopath(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("go") is None:
        lacking("no Go here")
    monkeypatch.setenv("GOPATH", str(tmp_path))
    assert Koko.compile(tmp_path) is None  # no sources there
    sources = {
        "github.com/redhat-nfvpe/koko/koko.go": """package main
import docker "github.com/moby/moby/client"
func main() { println(docker.Name) }
""",
        # The name by which koko imports it is not that of Debian, and Go refuses another.
        "github.com/docker/docker/client/client.go": """package client // import "github.com/docker/docker/client"
const Name = "a client"
""",
    }
    for name, text in sources.items():
        file = tmp_path / "src" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    binary = Koko.compile(tmp_path)
    assert binary is not None
    assert subprocess.run([binary], capture_output=True, text=True, check=True).stderr == "a client\n"
    assert "moby" in (tmp_path / "src" / "github.com/redhat-nfvpe/koko/koko.go").read_text()  # the user's is left alone
    koko = Koko(1, binary)
    assert koko.missing() is None
    assert str(binary) in koko.up(SCENARIOS["single"](PREFIX, 1), tmp_path)


def test_links_of_containers(everyone: Everyone, fresh: Fresh, tmp_path: Path, koko: None) -> None:
    containers = fresh("docker")
    for name in ("kokofast", "koko", "floor", "ip-batch"):
        bring_up_and_destroy(everyone(name), containers, tmp_path)


def test_every_contender_is_tried() -> None:
    assert {*TRIED, "koko", "koko-8", "python-pass"} == set(contenders())
    assert {*TRIED["kokofast"], "docker"} == set(SCENARIOS) == Kokofast.scenarios


def test_one_with_few_open_files_cannot_have_more() -> None:
    (program,) = Kokofast().command
    limited = Kokofast(1_024).command
    asking = [*limited[: limited.index(program)], "sh", "-c", "ulimit -Sn; ulimit -Hn"]
    assert subprocess.run(asking, capture_output=True, text=True, check=True).stdout.split() == ["1024", "1024"]


def test_half_of_the_links_of_chain_and_star_are_each() -> None:
    links = list(SCENARIOS["chain-star-create"]("n", 5).links())
    assert [(a.namespace, a.interface, b.namespace, b.interface) for a, b, *_ in links if b is not None] == [
        ("n0", "eth1", "n1", "eth0"),
        ("n1", "eth1", "n2", "eth0"),
        ("n2", "eth2", "n3", "eth0"),
        ("n2", "eth3", "n4", "eth0"),
        ("n2", "eth4", "n5", "eth0"),
    ]


def test_an_interpreter_alone_is_measured_without_a_judge(requires_root: None, tmp_path: Path) -> None:
    results = Results({})
    Runner(tmp_path, results, repeat=2).in_turns(SCENARIOS["single"](PREFIX, 1), [PythonPass()])
    ((key, taken),) = results.measurements.items()
    assert key == ("single", 1, UP, "python-pass")
    assert len(taken) == 2


def test_the_floor_fails_aloud(everyone: Everyone, fresh: Fresh, tmp_path: Path) -> None:
    floor, chain = everyone("floor"), fresh("chain")
    run(floor.up(chain, tmp_path), tmp_path)
    with pytest.raises(ContenderFailed, match=r"exit 1: refused: "):
        run(floor.up(chain, tmp_path), tmp_path)


def test_one_that_says_it_did_something_else_fails(fresh: Fresh, tmp_path: Path) -> None:
    chain, ours = fresh("chain"), Kokofast()
    made = run(ours.up(chain, tmp_path), ROOT, lambda output: ours.stages(UP, output))
    assert {"survey", "plan", "apply"} <= set(made.stages)
    again = ours.unchanged(chain, tmp_path)
    assert again is not None
    with pytest.raises(ContenderFailed, match="says unchanged, should say applied"):
        run(again, ROOT, lambda output: ours.stages(UP, output))
    run(ours.destroy(chain, tmp_path), ROOT, lambda output: ours.stages(DESTROY, output))


class Lazy(Kokofast):
    """Does nothing, and says that it is done."""

    name = "lazy"

    def up(self, scenario: object, directory: Path) -> list[str]:
        return ["true"]


def test_a_wrong_end_state_does_not_count(requires_root: None, tmp_path: Path) -> None:
    results = Results({})
    Runner(tmp_path, results, repeat=2).in_turns(Chain(PREFIX, LINKS), [Lazy()])
    assert results.failed
    assert not results.measurements
    (note,) = results.notes
    assert note.startswith(f"lazy, chain {LINKS}: FAILED: {PREFIX}")


def test_who_takes_no_part_is_named_with_the_reason(
    requires_root: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results({})
    runner = Runner(tmp_path, results, patience=2.0)
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    every = contenders()
    slow = [every[name] for name in ("ip", "koko", "go-8", "python-pass", "floor")]
    runner.in_turns(Chain(PREFIX, 100), slow)
    assert results.notes == [
        "ip, chain 100: left out: one run would take about 6 s (--patience 2)",
        "koko: absent: no koko in the PATH, and its sources are not in the GOPATH "
        "(bench/README.md says how to get them)",
        "go-8: absent: no Go, or not its netlink library, here (apt-get install golang-go "
        "golang-github-vishvananda-netlink-dev)",
        "python-pass does not do chain",
        "floor: absent: no C compiler here (apt-get install gcc libc6-dev), or it failed on floor.c",
    ]
    monkeypatch.setenv("PATH", str(tmp_path))
    runner.in_turns(SCENARIOS["docker"](PREFIX, 3), slow)
    assert results.notes[-1].startswith("docker: absent: not here: ")
    assert "apt-get install docker.io" in results.notes[-1]
