"""A watch of real containers: they are restarted, and so are their daemons."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import NamespaceFactory, RunKokofast, ip, links
from tests.runtimes.engines import Containerd, Docker
from tests.watching import watching, within

WriteLab = Callable[..., Path]
PATIENCE = 60.0


@pytest.fixture
def write_lab(kokofast: RunKokofast, tmp_path: Path) -> Iterator[WriteLab]:
    """``write_lab(nodes, links)`` writes the file of a lab, which is destroyed at the end."""
    file = tmp_path / "lab.json"
    lab = f"kft-{os.getpid()}"

    def write(nodes: dict[str, object], wires: list[object]) -> Path:
        file.write_text(json.dumps({"name": lab, "nodes": nodes, "links": wires}))
        return file

    yield write
    done = kokofast("destroy", "--name", lab)
    assert done.returncode == 0, done.stderr


def test_a_container_that_is_restarted_gets_its_links_back(
    engine: Docker, write_lab: WriteLab, netns: NamespaceFactory, request: pytest.FixtureRequest
) -> None:
    container, namespace = engine.start(), netns()
    nodes = {"a": {engine.kind: container, "socket": str(engine.socket)}, "b": {"netns": namespace}}
    file = write_lab(nodes, [{"endpoints": ["a:eth1:10.1.0.1/24", "b:eth1:10.1.0.2/24"]}])
    with watching(file) as watch:
        for _ in range(20 if request.config.getoption("long") else 6):
            since = len(watch.lines)
            engine("restart", "--time", "0", container)
            watch.until("done", since=since, kind="link", patience=PATIENCE)
            engine("exec", container, "ping", "-c", "1", "-W", "5", "10.1.0.2")
        assert watch.of("left_alone") == []
    assert "eth1" in links(namespace)


def test_a_container_that_was_stopped_is_waited_for(
    engine: Docker, write_lab: WriteLab, netns: NamespaceFactory
) -> None:
    container, namespace = engine.start(), netns()
    nodes = {"a": {engine.kind: container, "socket": str(engine.socket)}, "b": {"netns": namespace}}
    file = write_lab(nodes, [{"endpoints": ["a:eth1", "b:eth1"]}, {"endpoints": ["b:eth2", "b:eth3"]}])
    engine("stop", "--time", "0", container)
    with watching(file) as watch:
        assert "is not running" in watch.until("waiting", node="a")["message"]
        assert "eth2" in links(namespace)
        engine("start", container)
        watch.until("found", node="a", patience=PATIENCE)
        within(PATIENCE, lambda: "eth1" in links(namespace), "the link is there")


def test_a_container_of_a_pod_that_is_made_anew(
    containerd: Containerd, write_lab: WriteLab, netns: NamespaceFactory
) -> None:
    namespace = netns()
    nodes = {"a": {"cri": "kft/watched/web", "socket": str(containerd.socket)}, "b": {"netns": namespace}}
    file = write_lab(nodes, [{"endpoints": ["a:eth1", "b:eth1"]}])
    with watching(file) as watch:
        watch.until("waiting", node="a")
        pod = containerd.pod("watched")
        containerd.container(pod, "web")
        watch.until("found", node="a", patience=PATIENCE)
        within(PATIENCE, lambda: "eth1" in links(namespace), "the link is there")
        since = len(watch.lines)
        containerd.end_pod(pod[0])
        watch.until("waiting", node="a", since=since, patience=PATIENCE)
        containerd.container(containerd.pod("watched"), "web")
        watch.until("found", node="a", since=since, patience=PATIENCE)
        within(PATIENCE, lambda: "eth1" in links(namespace), "the link is there again")


def test_a_daemon_that_is_killed_and_started_again(
    engine: Docker, write_lab: WriteLab, netns: NamespaceFactory
) -> None:
    container, namespace = engine.start(), netns()
    nodes = {"a": {engine.kind: container, "socket": str(engine.socket)}, "b": {"netns": namespace}}
    file = write_lab(nodes, [{"endpoints": ["a:eth1", "b:eth1"]}, {"endpoints": ["b:eth2", "b:eth3"]}])
    with watching(file) as watch:
        engine.kill()
        try:
            watch.until("daemon_lost", patience=PATIENCE)
            ip(namespace, "link", "delete", "eth2")  # others are kept meanwhile
            within(PATIENCE, lambda: "eth2" in links(namespace), "the other link is there")
        finally:
            engine.begin()
        watch.until("daemon_back", patience=PATIENCE)
        since = len(watch.lines)
        engine("restart", "--time", "0", container)
        watch.until("done", since=since, kind="link", patience=PATIENCE)
        assert "eth1" in engine("exec", container, "ip", "link")


def test_many_containers_that_are_restarted_at_once(
    engine: Docker, write_lab: WriteLab, netns: NamespaceFactory, request: pytest.FixtureRequest
) -> None:
    count = 50 if request.config.getoption("long") else 8
    namespace = netns()
    containers = [engine.start() for _ in range(count)]
    nodes: dict[str, object] = {
        f"c{i}": {engine.kind: name, "socket": str(engine.socket)} for i, name in enumerate(containers)
    }
    nodes["hub"] = {"netns": namespace}
    file = write_lab(nodes, [{"endpoints": [f"c{i}:eth1", f"hub:eth{i}"]} for i in range(count)])
    with watching(file) as watch:
        before = {name: link["ifindex"] for name, link in links(namespace).items()}
        assert len(before) == count
        engine("restart", "--time", "0", *containers)
        ended = time.monotonic()

        def are_back() -> bool:
            now = {name: link["ifindex"] for name, link in links(namespace).items()}
            return len(now) == count and all(now[name] != before[name] for name in now)

        within(PATIENCE, are_back, "all links are back")
        print(f"{engine.kind}: {count} containers, links back {time.monotonic() - ended:.2f} s after the last start")
        assert watch.of("left_alone") == []
