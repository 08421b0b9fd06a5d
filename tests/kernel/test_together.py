"""Several runs at once."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kokofast.host.lock import LOCK_DIR, LabLock
from tests.conftest import RunKokofast
from tests.kernel.conftest import COMMAND, PATIENCE, Lab, until

pytestmark = [pytest.mark.usefixtures("requires_root"), pytest.mark.native]

Start = Callable[..., subprocess.Popen[str]]


def test_a_lab_is_worked_on_by_one_run_at_a_time(lab: Lab, start: Start) -> None:
    lab.chain(2)
    lock = LabLock(lab.name)
    assert lock.acquire()
    try:
        waiting = start(*COMMAND, "batch", lab.file, "--create", "--format", "json", stdout=subprocess.PIPE)
        path = f"/proc/{waiting.pid}/fd"
        until(lambda: any(f"{lab.name}.lock" in target for target in _targets(path)), "the run waits")
        assert not lab.inspect()
    finally:
        lock.release()
    output, _ = waiting.communicate(timeout=60)
    assert json.loads(output)["status"] == "applied"


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--name", "{lab}"], "another run works on the lab {lab}"), (["--all"], "another run is")]
)
def test_a_run_that_waits_says_so(lab: Lab, start: Start, arguments: list[str], words: str) -> None:
    lab.bundle(1)
    lock = LabLock(lab.name)
    assert lock.acquire()
    try:
        given = [text.format(lab=lab.name) for text in arguments]
        waiting = start(*COMMAND, "destroy", *given, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert waiting.stderr is not None
        assert select.select([waiting.stderr], [], [], PATIENCE)[0], "nothing is said"
        assert waiting.stderr.readline().startswith(f"kokofast: {words.format(lab=lab.name)}")
        quiet = start(*COMMAND, "destroy", "-q", *given, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        lock.release()
    for run in (waiting, quiet):
        assert run.communicate(timeout=60)[1] == "" or run is waiting
        assert run.returncode == 0


def test_the_lock_file_goes_with_the_lab(lab: Lab) -> None:
    lab.chain(2)
    lab.batch("--create")
    lab.destroy()
    assert not Path(LOCK_DIR, f"{lab.name}.lock").exists()


def _targets(path: str) -> list[str]:
    targets: list[str] = []
    with contextlib.suppress(OSError):  # a descriptor, or the process, that is gone by now
        targets += [os.readlink(item) for item in Path(path).iterdir()]
    return targets


def test_two_batches_of_one_lab_at_once_make_it_once(lab: Lab, start: Start) -> None:
    lab.chain(40)
    command = [*COMMAND, "batch", lab.file, "--create", "--format", "json"]
    runs = [start(*command, stdout=subprocess.PIPE) for _ in range(3)]
    results = [json.loads(run.communicate(timeout=120)[0]) for run in runs]
    assert sorted(result["status"] for result in results) == ["applied", "unchanged", "unchanged"]
    assert len(lab.inspect()) == 40


def test_two_labs_share_their_namespaces_at_once(lab: Lab, start: Start, tmp_path: Path) -> None:
    a, b = lab.node("a"), lab.node("b")
    names = [f"{lab.name}-{number}" for number in range(3)]
    files = [tmp_path / f"{name}.json" for name in names]
    for number, file in enumerate(files):
        links = [{"endpoints": [f"{a}:x{number}-{k}", f"{b}:x{number}-{k}"]} for k in range(40)]
        file.write_text(json.dumps({"name": names[number], "links": links}))
    try:
        runs = [start(*COMMAND, "batch", str(file), "--quiet") for file in files]
        assert [run.wait(timeout=120) for run in runs] == [0, 0, 0]
    finally:
        for name in names:
            lab.kokofast("destroy", "--name", name)


def test_a_sandbox_takes_no_node_of_the_machine(lab: Lab, kokofast: RunKokofast) -> None:
    lab.write([{"endpoints": ["p:e0", "q:e0"]}], nodes={"p": {"pid": 1}, "q": {"path": "/run/netns/q"}})
    done = kokofast("batch", lab.file, "--sandbox")
    assert done.returncode == 2
    assert "$.nodes.p: a pid node cannot be in a sandbox" in done.stderr
    assert "$.nodes.q: a path node cannot be in a sandbox" in done.stderr
