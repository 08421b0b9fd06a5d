"""Container daemons that would fill the memory: their answers are refused, whatever they say."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.endpoints.conftest import path  # noqa: F401
from tests.endpoints.fakes import OK, EndlessDocker
from tests.endpoints.test_cri import Runtime
from tests.endpoints.test_docker import ZEROS
from tests.kernel.conftest import COMMAND, run

pytestmark = pytest.mark.usefixtures("requires_root")

MEMORY = 1 << 30
PLAIN = OK + b"\r\n"
PACKED = OK + b"Content-Encoding: gzip\r\n\r\n"


def refused(directory: Path, kind: str, path: Path, counts: Counter[str]) -> str:  # noqa: F811
    """What a batch with a container of this daemon says, for which there is little memory."""
    file = directory / "links.json"
    nodes = {"c": {kind: "web", "socket": str(path)}, "me": {"host": True}}
    file.write_text(json.dumps({"nodes": nodes, "links": [{"endpoints": ["c:e0", "me:e0"]}]}))
    done = run(["prlimit", f"--as={MEMORY}", *COMMAND, "batch", str(file), "--runtime-timeout", "60"])
    counts["faults injected"] += 1
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith(f"kokofast: {file}:1:12 $.nodes.c: node c: the ")
    return done.stderr


@pytest.mark.parametrize(("head", "piece"), [(PLAIN, b"0," * 32768), (PACKED, ZEROS)], ids=["plain", "packed"])
def test_a_docker_daemon_that_streams_without_an_end(
    tmp_path: Path,
    path: Path,  # noqa: F811
    counts: Counter[str],
    head: bytes,
    piece: bytes,
) -> None:
    daemon = EndlessDocker(head, piece)
    with daemon.serve(path):
        assert refused(tmp_path, "docker", path, counts).endswith("ClientPayloadError: more than 4 MiB\n")


def test_a_cri_runtime_with_millions_of_containers(tmp_path: Path, path: Path, counts: Counter[str]) -> None:  # noqa: F811
    runtime = Runtime()
    runtime.answers["ListContainers"] = lambda _, __: b"\x0a\x00" * ((8 << 20) - 1)
    with runtime.serve(path):
        said = refused(tmp_path, "cri", path, counts)
    assert said.endswith("gave an answer to ListContainers that is longer than any of CRI\n")
