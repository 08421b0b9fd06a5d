"""Links between real containers of Docker and Podman."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kokofast.endpoints import process
from kokofast.endpoints.containers import CONNECTIONS
from kokofast.engine.result import Result
from kokofast.host.kernel import Handle, LinuxKernel
from kokofast.topology.model import End, Link, Node, Topology
from tests.conftest import NamespaceFactory, RunKokofast, ip, links
from tests.endpoints.fakes import FakeDocker, RawServer, refusal
from tests.runs import apply
from tests.runtimes.conftest import Batch, ancestors, errors
from tests.runtimes.engines import Docker
from tests.runtimes.proxy import Proxy


def node(engine: Docker, container: str) -> dict[str, object]:
    return {engine.kind: container, "socket": str(engine.socket)}


def ping(engine: Docker, container: str, address: str) -> None:
    engine("exec", container, "ping", "-c", "1", "-W", "5", address)


def test_a_link_between_two_containers(engine: Docker, batch: Batch, kokofast: RunKokofast, tmp_path: Path) -> None:
    first, second = engine.start(), engine.start()
    nodes = {"a": node(engine, first), "b": node(engine, second)}
    wires: list[object] = [{"endpoints": ["a:eth1:10.1.0.1/24,2001:db8::1/64", "b:eth1:10.1.0.2/24,2001:db8::2/64"]}]
    result = batch(nodes, wires)
    assert result["status"] == "applied"
    assert result["seconds"]["resolve"] > 0
    ping(engine, first, "10.1.0.2")
    ping(engine, second, "2001:db8::1")
    assert batch(nodes, wires)["status"] == "unchanged"
    # destroy needs no daemon: this one's socket leads nowhere.
    file = tmp_path / "lab.json"
    file.write_text(file.read_text().replace(str(engine.socket), "/nowhere.sock"))
    assert kokofast("destroy", str(file)).returncode == 0
    assert "eth1" not in engine("exec", first, "ip", "link")


def test_a_link_between_a_container_and_a_namespace(engine: Docker, batch: Batch, netns: NamespaceFactory) -> None:
    container, namespace = engine.start(), netns()
    nodes = {"a": node(engine, container), "b": {"netns": namespace}}
    batch(nodes, [{"endpoints": ["a:eth1:10.1.0.1/24", "b:eth1:10.1.0.2/24"]}])
    ping(engine, container, "10.1.0.2")
    ip(namespace, "link", "show", "eth1")


def test_a_container_by_part_of_its_id(engine: Docker, batch: Batch, netns: NamespaceFactory) -> None:
    identity = engine("inspect", "--format", "{{.Id}}", engine.start())
    nodes = {"a": node(engine, identity[:12]), "b": node(engine, identity), "c": {"netns": netns()}}
    wires: list[object] = [{"endpoints": [f"{end}:eth{end}", f"c:eth{end}"]} for end in "ab"]
    assert batch(nodes, wires)["links"]["created"] == 2
    seen = engine("exec", identity, "ip", "link")
    assert "etha@" in seen
    assert "ethb@" in seen


def test_a_paused_container(engine: Docker, batch: Batch, netns: NamespaceFactory) -> None:
    container, namespace = engine.start(), netns()
    engine("pause", container)
    try:
        batch({"a": node(engine, container), "b": {"netns": namespace}}, [{"endpoints": ["a:eth1", "b:eth1"]}])
    finally:
        engine("unpause", container)
    assert "eth1" in engine("exec", container, "ip", "link")


def test_a_container_in_the_network_of_another(engine: Docker, batch: Batch, netns: NamespaceFactory) -> None:
    first = engine.start()
    second = engine.start("--network", f"container:{first}")
    namespace = netns()
    nodes = {"a": node(engine, second), "b": {"netns": namespace}}
    batch(nodes, [{"endpoints": ["a:eth1:10.1.0.1/24", "b:eth1:10.1.0.2/24"]}])
    ping(engine, first, "10.1.0.2")


@pytest.mark.parametrize("cgroupns", ["private", "host"])
async def test_only_the_processes_of_a_container_bear_its_id(
    engine: Docker, cgroupns: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    container, other = engine.start("--network", "none", "--cgroupns", cgroupns), engine.start()
    identity, pid = engine("inspect", "--format", "{{.Id}} {{.State.Pid}}", container).split()
    foreign = engine("inspect", "--format", "{{.Id}}", other)
    assert not process.belongs_to(int(pid), [foreign])
    for way in ("MOUNTED", "PREFIXES"):  # by its control group alone, and by its mounts alone
        with monkeypatch.context() as patch:
            patch.setattr(process, way, ())
            assert process.belongs_to(int(pid), [identity])
    # Its shim or monitor, and all above it: processes of the host, which see the mounts of every container.
    above = ancestors(int(pid))
    assert above
    liar = FakeDocker()
    path = tmp_path_factory.mktemp("liar") / "x.sock"
    with liar.serve(path):
        for one in above:
            liar.add("web", one, identity)
            assert "is not that of container 'web'" in await refusal(Node("a", "docker", "web", socket=str(path)))


def test_the_same_namespace_by_two_containers_is_seen(engine: Docker, batch: Batch, netns: NamespaceFactory) -> None:
    first = engine.start()
    second = engine.start("--network", f"container:{first}")
    nodes = {"a": node(engine, first), "b": node(engine, second), "c": {"netns": netns()}}
    wires: list[object] = [{"endpoints": ["a:eth1", "c:eth1"]}, {"endpoints": ["b:eth1", "c:eth2"]}]
    assert batch(nodes, wires, expect=2)["status"] == "invalid"


def test_what_does_not_run_is_refused_with_its_place(engine: Docker, batch: Batch, netns: NamespaceFactory) -> None:
    running, stopped = engine.start(), engine.start()
    engine("stop", "--time", "0", stopped)
    namespace = netns()
    nodes = {
        "a": node(engine, running),
        "b": node(engine, stopped),
        "c": node(engine, "no-such-container"),
        "d": {"netns": namespace},
    }
    wires: list[object] = [{"endpoints": [f"{end}:eth1", f"d:eth{end}"]} for end in "abc"]
    (stop_place, stop), (missing_place, missing) = errors(batch(nodes, wires, expect=2))
    assert (stop_place, missing_place) == ("$.nodes.b", "$.nodes.c")
    assert f"container '{stopped}' is not running (it is exited)" in stop
    assert "knows no container 'no-such-container'" in missing
    assert links(namespace) == {}
    assert "eth1" not in engine("exec", running, "ip", "link")


def test_what_does_not_run_does_not_keep_the_others_back(engine: Docker, batch: Batch, netns: NamespaceFactory) -> None:
    running, stopped = engine.start(), engine.start()
    engine("stop", "--time", "0", stopped)
    nodes = {"a": node(engine, running), "b": node(engine, stopped), "c": {"netns": netns()}}
    wires: list[object] = [{"endpoints": [f"{end}:eth1", f"c:eth{end}"]} for end in "ba"]
    for _ in range(2):  # made, and then found as it is
        result = batch(nodes, wires, "--keep-going", expect=3)
        assert (result["status"], result["links"]["failed"]) == ("partial", 1)
        (error,) = result["errors"]
        assert (error["source"], error["message"].rpartition("; ")[2]) == ("$.nodes.b", "links that need it: 1")
        assert error["position"]
        assert "eth1" in engine("exec", running, "ip", "link")
    engine("start", stopped)
    found = batch(nodes, wires, "--keep-going")["links"]
    assert (found["created"], found["unchanged"], found["failed"]) == (1, 1, 0)


class Meanwhile(LinuxKernel):
    """A kernel in front of which something happens just before or after the namespaces are opened."""

    def __init__(self, *, before: list[str], after: list[str]) -> None:
        super().__init__()
        self._before = before
        self._after = after

    def open_all(self, paths: Sequence[str]) -> list[Handle | OSError]:
        if not any(path.startswith("/proc/") for path in paths):  # a part of the survey that is not the container's
            return super().open_all(paths)
        self._do(self._before)
        found = super().open_all(paths)
        self._do(self._after)
        return found

    @staticmethod
    def _do(command: list[str]) -> None:
        if command:
            subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["rm", "restart"])
async def test_a_container_that_ends_while_its_namespace_is_opened(
    docker: Docker, netns: NamespaceFactory, when: str, what: str
) -> None:
    container, namespace = docker.start(), netns()
    action = [*docker.client, *(("rm", "--force") if what == "rm" else ("restart", "--time", "0")), container]
    kernel = Meanwhile(before=action if when == "before" else [], after=action if when == "after" else [])
    nodes = {
        "a": Node("a", "docker", container, socket=str(docker.socket), place="here"),
        "b": Node("b", "netns", namespace),
    }
    topology = Topology("kft-race", nodes, (Link("veth", (End("a", "eth1"), End("b", "eth1"))),))
    try:
        result: Result = await apply(topology, kernel=kernel)
    finally:
        kernel.close()
    assert result.status == "invalid"
    (error,) = result.errors
    assert error.source == "here"
    expected = f"knows no container '{container}'" if what == "rm" else f"container '{container}' was restarted while"
    assert expected in error.message
    assert links(namespace) == {}


def test_a_batch_asks_for_each_container_once(docker: Docker, batch: Batch, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        names = list(pool.map(lambda _: docker.start(), range(30)))
    proxy = Proxy(docker.socket, docker.directory / "proxy.sock")
    nodes = {name: {"docker": name, "socket": str(proxy.path)} for name in names}
    pairs = list(zip(names, names[1:] + names[:1], strict=True))
    wires: list[object] = [{"endpoints": [f"{a}:right", f"{b}:left"]} for a, b in pairs]
    with proxy.serve():
        result = batch(nodes, wires)
    assert result["links"]["created"] == 30
    assert "resolve" in result["seconds"]
    asked = [path.rpartition("containers/")[2].removesuffix("/json") for path in proxy.requests if "containers" in path]
    # Once by name; and once by id, when the namespaces have been opened.
    assert sorted(asked[:30]) == sorted(names)
    assert len(asked) == len(set(asked)) == 60
    assert proxy.requests.count("/_ping") == 1  # which tells the version of the API
    assert proxy.connections <= CONNECTIONS


def test_a_batch_without_containers_has_no_such_stage(batch: Batch, netns: NamespaceFactory) -> None:
    first, second = netns(), netns()
    nodes: dict[str, object] = {"a": {"netns": first}, "b": {"netns": second}}
    assert "resolve" not in batch(nodes, [{"endpoints": ["a:eth1", "b:eth1"]}])["seconds"]


@pytest.fixture
def hung(tmp_path_factory: pytest.TempPathFactory) -> tuple[RawServer, Path]:
    """A server that accepts and never answers, and where it is to listen."""
    return RawServer(), tmp_path_factory.mktemp("hung") / "x.sock"


@pytest.mark.usefixtures("requires_root")
@pytest.mark.parametrize(("kind", "title"), [("docker", "docker daemon"), ("podman", "podman service"), ("cri", "CRI")])
def test_a_hung_daemon_is_given_up(batch: Batch, hung: tuple[RawServer, Path], kind: str, title: str) -> None:
    server, path = hung
    nodes: dict[str, object] = {"a": {kind: "c1", "socket": str(path)}, "b": {"host": True}}
    with server.serve(path):
        result = batch(nodes, [{"endpoints": ["a:eth1", "b:kft-eth1"]}], "--runtime-timeout", "0.3", expect=2)
    ((place, sentence),) = errors(result)
    assert place == "$.nodes.a"
    assert sentence.startswith(f"node a: the {title}")
    assert sentence.endswith(f"at {path} did not answer in 0.3 s")


@pytest.mark.usefixtures("requires_root")
@pytest.mark.parametrize("kind", ["docker", "podman", "cri"])
def test_an_interrupt_leaves_a_hung_daemon(hung: tuple[RawServer, Path], tmp_path: Path, kind: str) -> None:
    server, path = hung
    file = tmp_path / "lab.json"
    nodes = {"a": {kind: "c1", "socket": str(path)}}
    file.write_text(json.dumps({"nodes": nodes, "links": [{"endpoints": ["a:eth1", "a:eth2"]}]}))
    # So long that only the signal can be what ended it.
    command = [sys.executable, "-m", "kokofast", "batch", str(file), "--runtime-timeout", "9999"]
    with server.serve(path), subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert server.accepted.wait(30)
            os.kill(process.pid, signal.SIGINT)
            _, complaint = process.communicate(timeout=30)
        finally:
            process.kill()
        assert process.returncode == 1
        assert "interrupted by SIGINT" in complaint
        assert "Traceback" not in complaint


@pytest.mark.usefixtures("requires_root")
@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e3", "x", "", "1_0"])
def test_a_time_that_is_none(kokofast: RunKokofast, seconds: str) -> None:
    done = kokofast("batch", "x.json", f"--runtime-timeout={seconds}")
    assert done.returncode == 2
    assert "is not a number of seconds above 0" in done.stderr


def test_nothing_heavy_is_imported_without_a_container() -> None:
    code = (
        "import sys, kokofast.api, kokofast.endpoints.local, kokofast.engine.destroy\n"
        "heavy = {'asyncio', 'aiodocker', 'aiohttp', 'grpc', 'cri_api', 'google.protobuf'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_no_thread_is_left() -> None:
    assert not [thread for thread in threading.enumerate() if thread.name == "kokofast-asyncio"]
