"""The commands of the documents that take a container engine run, as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests import ROOT
from tests.conftest import NamespaceFactory, RunKokofast, links
from tests.runtimes.engines import IMAGE, Docker


def block(document: str, language: str, word: str) -> str:
    """The fenced block in which the word is."""
    text = (ROOT / document).read_text(encoding="utf-8")
    (found,) = [one for one in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if word in one]
    assert isinstance(found, str)
    return found


def shell(script: str, docker: Docker, folder: Path) -> str:
    """Runs a script with the tests' own engine, kokofast on its PATH; returns its output."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "kokofast").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m kokofast "$@"\n')
    (tools / "kokofast").chmod(0o755)
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=folder,
        env={
            **os.environ,
            "DOCKER_HOST": f"unix://{docker.socket}",
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_with_docker_runs(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(block("README.md", "yaml", "docker"))
    script = block("README.md", "bash", "docker run").replace("alpine", IMAGE)
    try:
        said = shell(script, docker, tmp_path)
        assert "shop: applied, 1 link created" in said
        assert "1 packets received" in said
        assert "shop: destroyed, 1 link removed" in said
    finally:
        docker("rm", "-f", "web", "db")


def test_kokofast_in_a_container_wires_the_machine(
    docker: Docker, tmp_path: Path, netns: NamespaceFactory, kokofast: RunKokofast
) -> None:
    container, name, made = docker.start(), netns("here"), netns.reserve("made")
    lab = f"kft-{os.getpid()}-inside"
    (tmp_path / "shop.yaml").write_text(
        f"name: {lab}\n"
        f"nodes: {{web: {{docker: {container}}}, made: {{netns: {made}, create: true}}}}\n"
        f"links: [{{endpoints: ['web:eth1', '{name}:web']}}, {{endpoints: ['web:eth2', 'made:web']}}]\n"
    )
    Path("/run/kokofast").mkdir(mode=0o700, exist_ok=True)
    # The image of the tests has no Python: this one's is lent to it.
    places = {"/usr", "/lib", "/lib64", sys.base_prefix, sys.prefix, str(ROOT)}
    lent = [f"-v {place}:{place}:ro" for place in sorted(places) if Path(place).exists()]
    script = block("docs/running.md", "bash", "--pid host")
    script = script.replace("/var/run/docker.sock:/", f"{docker.socket}:/")
    script = script.replace(
        "kokofast kokofast batch", f"{' '.join(lent)} -e PYTHONPATH={ROOT} {IMAGE} {sys.executable} -m kokofast batch"
    )
    try:
        assert f"{lab}: applied, 2 links created, 1 namespace created" in shell(script, docker, tmp_path)
        assert "web" in links(name)
        assert "web" in links(made)
        assert "eth1" in docker("exec", container, "ip", "link")
    finally:
        assert kokofast("destroy", "--name", lab).returncode == 0


def test_a_container_that_was_restarted_gets_its_links_again(
    docker: Docker, tmp_path: Path, netns: NamespaceFactory, kokofast: RunKokofast
) -> None:
    container, name = docker.start(), netns("here")
    lab = f"kft-{os.getpid()}-again"
    file = tmp_path / "again.yaml"
    file.write_text(
        f"name: {lab}\nnodes: {{web: {{docker: {container}, socket: {docker.socket}}}}}\n"
        f"links: [{{endpoints: ['web:eth1', '{name}:web']}}]\n"
    )
    try:
        assert "1 link created" in kokofast("batch", str(file)).stdout
        docker("restart", "-t", "0", container)
        assert "1 link created" in kokofast("batch", str(file)).stdout
        assert "eth1" in docker("exec", container, "ip", "link")
    finally:
        assert kokofast("destroy", "--name", lab).returncode == 0
