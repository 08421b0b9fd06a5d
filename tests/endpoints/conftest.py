"""A place for sockets and a /proc of the test's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kokofast.endpoints import process
from tests.endpoints.fakes import FakeDocker, FakeProc


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A free path for a socket, and no variable of the user's that leads elsewhere."""
    for name in ("DOCKER_HOST", "CONTAINER_HOST", "CONTAINER_RUNTIME_ENDPOINT", "DOCKER_TLS_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    # tmp_path may be longer than the 107 bytes that a socket's path has.
    with tempfile.TemporaryDirectory(prefix="kft-") as directory:
        yield Path(directory) / "x.sock"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProc:
    """The /proc that the endpoints look into."""
    root = tmp_path / "proc"
    root.mkdir()
    monkeypatch.setattr(process, "PROC", str(root))
    return FakeProc(root)


@pytest.fixture
def docker(path: Path, proc: FakeProc) -> Iterator[FakeDocker]:
    """A docker daemon at path."""
    fake = FakeDocker()
    with fake.serve(path):
        yield fake
