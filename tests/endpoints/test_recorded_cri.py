"""What real runtimes answered, replayed: containerd 1.6, 1.7 and 2.1, and CRI-O.

The recordings are bodies of their answers, as they came. c1 is a container with a network of its own, c2 one in the
host's network, and of CRI-O there is c3, the one that is stopped in the end.
"""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest
from cri_api.v1 import api_pb2

from kokofast.drivers.trio_driver import TrioDriver
from kokofast.topology.model import Node
from tests.endpoints.fakes import FakeCri, FakeProc

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "cri"
RUNTIMES = sorted(path.name for path in GOLDEN.iterdir())


class Recording(FakeCri):
    """A runtime that answers with what was recorded; stopped() plays what it said after a container's end."""

    def __init__(self, folder: Path, *versions: str) -> None:
        super().__init__(*versions)
        self.folder = folder
        containers = api_pb2.ListContainersResponse.FromString(self._read("list_containers")).containers
        self.identity = {container.metadata.name: container.id for container in containers}
        self._status = {identity: self._read(f"container_status.{name}") for name, identity in self.identity.items()}
        # Not recorded as a list, but each by itself.
        pods = [
            api_pb2.PodSandboxStatusResponse.FromString(self._read(f"sandbox_status.{name}")).status
            for name in self.identity
        ]
        self.answers = {
            "Version": lambda _, __: self._read("version"),
            "ListContainers": lambda _, __: self._read("list_containers"),
            "ListPodSandbox": lambda _, __: api_pb2.ListPodSandboxResponse(
                items=[api_pb2.PodSandbox(id=pod.id, metadata=pod.metadata, state=pod.state) for pod in pods]
            ),
            "ContainerStatus": self._container_status,
        }

    def _read(self, name: str) -> bytes:
        return (self.folder / f"{name}.bin").read_bytes()

    def _container_status(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        request = api_pb2.ContainerStatusRequest.FromString(data)
        assert request.verbose
        if request.container_id not in self._status:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such container")
        return self._status[request.container_id]

    def pid(self, name: str) -> int:
        """The pid as the recorder wrote it down beside the answer."""
        facts = json.loads((self.folder / f"container_status.{name}.info.json").read_text())
        return int(facts["info"]["pid"])

    def stopped(self) -> str:
        """The name of the container that is stopped from now on."""
        (name,) = [path.name.split(".")[1] for path in self.folder.glob("container_status_stopped.*.bin")]
        self._status[self.identity[name]] = self._read(f"container_status_stopped.{name}")
        return name


@pytest.fixture(params=RUNTIMES)
def recording(request: pytest.FixtureRequest, proc: FakeProc) -> Recording:
    found = Recording(GOLDEN / request.param)
    for name, identity in found.identity.items():
        proc.add(found.pid(name), identity)
    return found


def test_there_are_recordings() -> None:
    assert RUNTIMES == ["containerd-1.6.20", "containerd-1.7.24", "containerd-2.1.9", "cri-o-1.36.3"]


async def test_every_container_by_every_name(recording: Recording, path: Path) -> None:
    nodes, expected = [], {}
    for name, identity in recording.identity.items():
        for way, target in enumerate((identity, identity[:8], name, f"default/pod{name[1:]}/{name}")):
            nodes.append(Node(f"{name}-{way}", "cri", target, socket=str(path)))
            expected[f"{name}-{way}"] = recording.pid(name)
    assert len(nodes) >= 8
    with recording.serve(path):
        async with TrioDriver().containers(nodes, 30) as daemons:
            assert await daemons.resolve() == (expected, {})
            assert await daemons.confirm() == {}


async def test_a_container_that_is_stopped(recording: Recording, path: Path) -> None:
    name = recording.stopped()
    with recording.serve(path):
        async with TrioDriver().containers([Node("r1", "cri", name, socket=str(path))], 30) as daemons:
            pids, refused = await daemons.resolve()
    # CRI-O tells a pid all the same, and it is that of the fake /proc.
    assert pids == {}
    assert refused == {"r1": f"the CRI container '{name}' is not running (it is exited)"}


async def test_a_container_that_stops_while_its_namespace_is_opened(recording: Recording, path: Path) -> None:
    name = "c3" if "c3" in recording.identity else "c1"
    with recording.serve(path):
        async with TrioDriver().containers([Node("r1", "cri", name, socket=str(path))], 30) as daemons:
            assert await daemons.resolve() == ({"r1": recording.pid(name)}, {})
            assert recording.stopped() == name
            refused = await daemons.confirm()
    assert refused == {"r1": f"the CRI container '{name}' is not running (it is exited)"}


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_the_older_version_of_the_api(runtime: str, proc: FakeProc, path: Path) -> None:
    recording = Recording(GOLDEN / runtime, "v1alpha2")
    proc.add(recording.pid("c1"), recording.identity["c1"])
    with recording.serve(path):
        async with TrioDriver().containers([Node("r1", "cri", "c1", socket=str(path))], 30) as daemons:
            assert await daemons.resolve() == ({"r1": recording.pid("c1")}, {})
