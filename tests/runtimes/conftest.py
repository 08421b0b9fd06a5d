"""The engines, each started once for all tests that need it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunKokofast
from tests.runtimes.engines import Containerd, Docker, Podman

Batch = Callable[..., dict[str, Any]]


def _need(*commands: str) -> None:
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = [command for command in commands if shutil.which(command, path=path) is None]
    if not missing:
        return
    reason = f"not installed: {', '.join(missing)}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI=true allows no skipping for lack of it")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def docker(requires_root: None) -> Iterator[Docker]:
    """dockerd."""
    _need("dockerd", "docker", "containerd", "runc", "busybox")
    with Docker() as engine:
        yield engine


@pytest.fixture(scope="session")
def podman(requires_root: None) -> Iterator[Podman]:
    """podman's service."""
    _need("podman", "runc", "busybox")
    with Podman() as engine:
        yield engine


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Docker:
    """Both, one after the other."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Docker)
    return found


@pytest.fixture(scope="session")
def containerd(requires_root: None) -> Iterator[Containerd]:
    """containerd with its CRI plugin."""
    _need("containerd", "ctr", "runc", "busybox")
    if not Path("/usr/lib/cni/ptp").exists():
        _need("/usr/lib/cni/ptp")
    with Containerd() as engine:
        yield engine


@pytest.fixture
def batch(kokofast: RunKokofast, tmp_path: Path) -> Iterator[Batch]:
    """``batch(nodes, links, *options, expect=0)`` runs a batch and returns its JSON result; destroyed afterwards by the
    same file, whatever has become of the containers and their daemons."""
    file = tmp_path / "lab.json"
    lab = f"kft-{os.getpid()}"

    def run(nodes: dict[str, object], links: list[object], *options: str, expect: int = 0) -> dict[str, Any]:
        file.write_text(json.dumps({"name": lab, "nodes": nodes, "links": links}))
        done = kokofast("batch", str(file), "--format", "json", *options)
        assert done.returncode == expect, done.stderr
        assert "Traceback" not in done.stderr
        if expect == 0:
            assert done.stderr == ""
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    yield run
    if file.exists():
        done = kokofast("destroy", str(file), env={"DOCKER_HOST": "unix:///nowhere"})
        assert done.returncode == 0, done.stderr


def errors(result: dict[str, Any]) -> list[tuple[str, str]]:
    """(place, sentence) of each error."""
    assert result["status"] == "invalid"
    return [(error["source"], error["message"]) for error in result["errors"]]


def ancestors(pid: int) -> list[int]:
    """The parent of a process, its parent, and so on."""
    found: list[int] = []
    while pid := int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]):
        found.append(pid)
    return found
