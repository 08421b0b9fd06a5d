"""Links between containers of containerd, found as kubelet knows them."""

from __future__ import annotations

import json
import os

import pytest
from cri_api.v1 import api_pb2

from kokofast.endpoints import process
from tests.conftest import NamespaceFactory, ip, links
from tests.runtimes.conftest import Batch, ancestors, errors
from tests.runtimes.engines import Containerd


@pytest.fixture(scope="module")
def pods(containerd: Containerd) -> tuple[str, str]:
    """The ids of container "web" in pod p1 and of container "db" in pod p2."""
    first = containerd.container(containerd.pod("p1"), "web")
    second = containerd.container(containerd.pod("p2"), "db")
    return first, second


def node(containerd: Containerd, target: str) -> dict[str, object]:
    return {"cri": target, "socket": str(containerd.socket)}


@pytest.mark.parametrize("way", ["id", "prefix", "name", "pod"])
def test_a_link_between_the_containers_of_two_pods(
    containerd: Containerd, pods: tuple[str, str], batch: Batch, way: str
) -> None:
    first, second = {
        "id": pods,
        "prefix": (pods[0][:10], pods[1][:12]),
        "name": ("web", "db"),
        "pod": ("kft/p1/web", "kft/p2/db"),
    }[way]
    nodes: dict[str, object] = {"a": node(containerd, first), "b": node(containerd, second)}
    wires: list[object] = [{"endpoints": ["a:eth1:10.1.0.1/24", "b:eth1:10.1.0.2/24"]}]
    result = batch(nodes, wires)
    assert result["status"] == "applied"
    assert "resolve" in result["seconds"]
    containerd.execute(pods[0], "ping", "-c", "1", "-W", "5", "10.1.0.2")
    assert batch(nodes, wires)["status"] == "unchanged"


def test_only_the_processes_of_a_container_bear_its_id(containerd: Containerd, pods: tuple[str, str]) -> None:
    answers = [
        containerd.call(
            "ContainerStatus",
            api_pb2.ContainerStatusRequest(container_id=identity, verbose=True),
            api_pb2.ContainerStatusResponse,
        )
        for identity in pods
    ]
    facts = [json.loads(one.info["info"]) for one in answers if isinstance(one, api_pb2.ContainerStatusResponse)]
    for mine, other, identity in zip(facts, facts[::-1], pods, strict=True):
        # By its control group, and by what is mounted from its pod's folder.
        assert process.belongs_to(mine["pid"], [identity])
        assert process.belongs_to(mine["pid"], [mine["sandboxID"]])
        for pid in (other["pid"], os.getpid(), *ancestors(mine["pid"])):
            assert not process.belongs_to(pid, [identity, mine["sandboxID"]])


def test_a_link_between_a_container_and_a_namespace(
    containerd: Containerd, pods: tuple[str, str], batch: Batch, netns: NamespaceFactory
) -> None:
    namespace = netns()
    nodes: dict[str, object] = {"a": node(containerd, "web"), "b": {"netns": namespace}}
    batch(nodes, [{"endpoints": ["a:eth1:10.1.0.1/24", "b:eth1:10.1.0.2/24"]}])
    containerd.execute(pods[0], "ping", "-c", "1", "-W", "5", "10.1.0.2")
    ip(namespace, "link", "show", "eth1")


def test_what_does_not_run_is_refused_with_its_place(
    containerd: Containerd, batch: Batch, netns: NamespaceFactory
) -> None:
    stopped = containerd.container(containerd.pod("p3"), "stopped")
    containerd.stop(stopped)
    namespace = netns()
    nodes: dict[str, object] = {
        "a": node(containerd, stopped),
        "b": node(containerd, "kft/p3/none"),
        "c": {"netns": namespace},
    }
    found = errors(batch(nodes, [{"endpoints": [f"{end}:eth1", f"c:eth{end}"]} for end in "ab"], expect=2))
    assert found == [
        ("$.nodes.a", f"node a: the CRI container '{stopped[:60]}'... is not running (it is exited)"),
        ("$.nodes.b", f"node b: the CRI runtime at {containerd.socket} knows no container 'kft/p3/none'"),
    ]
    assert links(namespace) == {}


def test_a_container_that_is_started_again_is_found_by_its_name(containerd: Containerd, batch: Batch) -> None:
    pod = containerd.pod("p4")
    containerd.stop(containerd.container(pod, "job"))
    # As kubelet: the earlier one stays, and the next has the same name and another number.
    config = api_pb2.ContainerConfig(
        metadata=api_pb2.ContainerMetadata(name="job", attempt=1), image=api_pb2.ImageSpec(image="kft.local/busybox:1")
    )
    second = containerd.create(pod, config)
    nodes: dict[str, object] = {"a": node(containerd, "kft/p4/job"), "b": node(containerd, "job")}
    batch(nodes, [{"endpoints": ["a:eth1:10.2.0.1/24", "a:eth2:10.3.0.1/24"]}])
    assert "eth2" in containerd.execute(second, "ip", "link")
