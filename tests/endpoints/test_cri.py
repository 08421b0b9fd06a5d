"""cri nodes against runtimes that do well, badly, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
import trio
from cri_api.v1 import api_pb2

from kokofast.drivers.trio_driver import TrioDriver
from kokofast.endpoints import cri as cri_module
from kokofast.topology.model import Node
from tests.endpoints.fakes import (
    FakeCri,
    FakeProc,
    RawServer,
    dead_socket,
    refusal,
    resolve,
    unprivileged,
    wait_for,
    whole,
)

RUNNING, EXITED = 1, 2


def full(beginning: str) -> str:
    """A whole id that begins so."""
    return beginning.ljust(64, "0")


class Runtime(FakeCri):
    """A runtime with containers: add() them."""

    def __init__(self, *versions: str) -> None:
        super().__init__(*versions)
        self.containers: list[api_pb2.Container] = []
        self.pods: dict[str, api_pb2.PodSandbox] = {}
        self.status: dict[str, api_pb2.ContainerStatusResponse] = {}
        self.answers = {
            "Version": lambda _, __: api_pb2.VersionResponse(version="0.1.0"),
            "ListContainers": lambda _, __: api_pb2.ListContainersResponse(containers=self.containers),
            "ListPodSandbox": lambda _, __: api_pb2.ListPodSandboxResponse(items=self.pods.values()),
            "ContainerStatus": self._status,
        }

    def add(self, identity: str, name: str, pod: str = "kft/p1", *, pid: int = 77, state: int = RUNNING) -> None:
        """A container whose id begins so, and its pod."""
        identity, sandbox = full(identity), whole(pod)
        namespace, _, pod_name = pod.partition("/")
        metadata = api_pb2.PodSandboxMetadata(name=pod_name, namespace=namespace)
        self.pods[pod] = api_pb2.PodSandbox(id=sandbox, metadata=metadata)
        self.containers.append(
            api_pb2.Container(
                id=identity,
                pod_sandbox_id=sandbox,
                metadata=api_pb2.ContainerMetadata(name=name),
                state=api_pb2.ContainerState.Name(state),  # type: ignore[arg-type]
            )
        )
        self.set(identity, {"info": json.dumps({"pid": pid, "sandboxID": sandbox})}, state)

    def set(self, identity: str, info: dict[str, str], state: int = RUNNING) -> None:
        """What ContainerStatus says of it."""
        identity = full(identity)
        status = api_pb2.ContainerStatus(id=identity, state=api_pb2.ContainerState.Name(state))  # type: ignore[arg-type]
        self.status[identity] = api_pb2.ContainerStatusResponse(status=status, info=info)

    def refuse(self, method: str, code: grpc.StatusCode, details: str) -> None:
        """From now on the method fails."""

        def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
            context.abort(code, details)
            return b""

        self.answers[method] = answer

    def _status(self, data: bytes, context: grpc.ServicerContext) -> api_pb2.ContainerStatusResponse:
        request = api_pb2.ContainerStatusRequest.FromString(data)
        assert request.verbose
        if request.container_id not in self.status:
            context.abort(grpc.StatusCode.NOT_FOUND, "an error occurred when try to find container")
        return self.status[request.container_id]


@pytest.fixture
def runtime(path: Path, proc: FakeProc) -> Iterator[Runtime]:
    """A runtime at path; its containers' processes 77 to 80 are there, two in a pod."""
    for pid, pod in ((77, "p1"), (78, "p2"), (79, "p2"), (80, "p1")):
        proc.add(pid, whole(f"kft/{pod}"))
    fake = Runtime()
    with fake.serve(path):
        yield fake


def node(path: Path, target: str, name: str = "r1") -> Node:
    return Node(name, "cri", target, socket=str(path))


@pytest.fixture
def populated(runtime: Runtime) -> Runtime:
    """Two pods with a container "web" each, "db" in one of them, and what is left of an earlier attempt at db."""
    runtime.add("aa11", "web", "kft/p1", pid=77)
    runtime.add("aa22", "web", "kft/p2", pid=78)
    runtime.add("bb22", "db", "kft/p2", pid=0, state=EXITED)
    runtime.add("cc33", "db", "kft/p2", pid=79)
    runtime.add("db44", "old", "kft/p2", pid=0, state=EXITED)
    runtime.add("aa10", "aa2", "kft/p1", pid=80)
    return runtime


@pytest.mark.parametrize(
    ("target", "pid"),
    [
        (full("aa11"), 77),  # the id
        ("aa11", 77),  # the beginning of an id
        ("aa10", 80),
        ("aa2", 80),  # the name, though it is the beginning of an id
        ("cc", 79),  # the beginning of an id
        ("db", 79),  # the name, though it is the beginning of an id; the attempt that runs
        ("kft/p1/web", 77),
        ("kft/p2/web", 78),
        ("kft/p2/db", 79),
    ],
)
async def test_what_a_container_can_be_called(populated: Runtime, path: Path, target: str, pid: int) -> None:
    assert await resolve(node(path, target)) == ({"r1": pid}, {})


@pytest.mark.parametrize("target", ["zz", "kft/p3/web", "default/p1/web", "p1/web", "kft/p1", "", "aa112", "WEB"])
async def test_a_missing_container(populated: Runtime, path: Path, target: str) -> None:
    assert await refusal(node(path, target)) == f"the CRI runtime at {path} knows no container '{target}'"


@pytest.mark.parametrize(("target", "ids"), [("web", ["aa11", "aa22"]), ("a", ["aa11", "aa22", "aa10"])])
async def test_a_name_of_several(populated: Runtime, path: Path, target: str, ids: list[str]) -> None:
    text = await refusal(node(path, target))
    shown = ", ".join(full(identity)[:13] for identity in ids)
    assert text.startswith(f"'{target}' can mean {len(ids)} containers of the CRI runtime at {path} ({shown}): ")


@pytest.mark.parametrize("target", ["bb22", "old", "kft/p2/old"])
async def test_a_container_that_has_exited(populated: Runtime, path: Path, target: str) -> None:
    assert await refusal(node(path, target)) == f"the CRI container '{target}' is not running (it is exited)"


async def test_the_pid_of_a_container_that_has_exited_means_nothing(runtime: Runtime, path: Path) -> None:
    runtime.add("aa11", "web", pid=77, state=EXITED)  # as CRI-O answers
    assert await refusal(node(path, "web")) == "the CRI container 'web' is not running (it is exited)"


async def test_a_container_without_a_process(runtime: Runtime, path: Path) -> None:
    runtime.add("aa11", "web", pid=0)
    assert await refusal(node(path, "web")) == "the CRI container 'web' is not running (it has no process)"


async def test_the_pid_as_old_runtimes_tell_it(runtime: Runtime, proc: FakeProc, path: Path) -> None:
    runtime.add("aa11", "web")
    proc.add(78, full("aa11"))
    runtime.set("aa11", {"pid": "78"})
    assert await resolve(node(path, "web")) == ({"r1": 78}, {})


@pytest.mark.parametrize(
    "info", [{}, {"info": "no JSON"}, {"info": "[]"}, {"info": "{}"}, {"info": '{"pid": "x"}'}, {"pid": ""}]
)
async def test_a_runtime_that_does_not_tell_the_pid(runtime: Runtime, path: Path, info: dict[str, str]) -> None:
    runtime.add("aa11", "web")
    runtime.set("aa11", info)
    expected = f"the CRI runtime at {path} does not give the process of container 'web'"
    assert await refusal(node(path, "web")) == expected


# Each stands in the control group of the process; a part of an id is none either.
NO_IDENTITIES = ("0", "/", "system.slice", full("aa11")[:63], full("aa11") + "0")


@pytest.mark.parametrize("identity", NO_IDENTITIES)
async def test_an_id_that_is_none(runtime: Runtime, proc: FakeProc, path: Path, identity: str) -> None:
    proc.add(77, full("aa11"))
    expected = f"the CRI runtime at {path} gave an id of container 'web' that is not 64 hexadecimal digits"
    runtime.add("aa11", "web")
    answer = runtime.status[full("aa11")]
    answer.info["info"] = json.dumps({"pid": 77, "sandboxID": identity})
    assert await refusal(node(path, "web")) == expected
    answer.info["info"] = json.dumps({"pid": 77})
    assert await resolve(node(path, "web")) == ({"r1": 77}, {})
    answer.status.id = identity
    assert await refusal(node(path, "web")) == expected


async def test_a_batch_lists_once(populated: Runtime, path: Path) -> None:
    targets = ["aa11", "kft/p2/web", "cc33", "db", "kft/p1/web"]
    nodes = [node(path, target, f"r{number}") for number, target in enumerate(targets * 5)]
    pids, refused = await resolve(*nodes)
    assert (len(pids), refused) == (25, {})
    methods = [call.rpartition("/")[2] for call in populated.calls]
    assert methods[:3] == ["Version", "ListContainers", "ListPodSandbox"]
    assert methods[3:] == ["ContainerStatus"] * 5


async def test_pods_are_listed_only_for_who_names_one(populated: Runtime, path: Path) -> None:
    await resolve(node(path, "aa11"))
    assert [call.rpartition("/")[2] for call in populated.calls] == ["Version", "ListContainers", "ContainerStatus"]


async def test_a_runtime_of_before_v1(path: Path, proc: FakeProc) -> None:
    proc.add(77, full("aa11"))
    old = Runtime("v1alpha2")
    old.add("aa11", "web")
    with old.serve(path):
        assert await resolve(node(path, "web")) == ({"r1": 77}, {})
    assert {call.split("/")[1] for call in old.calls} == {"runtime.v1alpha2.RuntimeService"}


async def test_a_server_that_does_not_speak_cri(path: Path) -> None:
    with Runtime("v2").serve(path):
        assert (await refusal(node(path, "web"))).startswith(f"the CRI runtime at {path} does not speak CRI")


@pytest.mark.parametrize(
    ("method", "code", "expected"),
    [
        ("ContainerStatus", grpc.StatusCode.NOT_FOUND, "the CRI runtime at {} knows no container 'web'"),
        ("ContainerStatus", grpc.StatusCode.UNKNOWN, "the CRI runtime at {} refuses: some\\x07 words (UNKNOWN)"),
        ("Version", grpc.StatusCode.PERMISSION_DENIED, "no permission to use the CRI runtime at {}: some\\x07 words"),
        ("ListContainers", grpc.StatusCode.INTERNAL, "the CRI runtime at {} refuses: some\\x07 words (INTERNAL)"),
        ("ListContainers", grpc.StatusCode.UNIMPLEMENTED, "the CRI runtime at {} lacks a part of CRI: some\\x07 words"),
        (
            "ListContainers",
            grpc.StatusCode.UNAVAILABLE,
            "the CRI runtime at {} broke off, or does not speak gRPC: some\\x07 words",
        ),
    ],
)
async def test_a_refusal(runtime: Runtime, path: Path, method: str, code: grpc.StatusCode, expected: str) -> None:
    runtime.add("aa11", "web")
    runtime.refuse(method, code, "some\x07 words.")
    assert await refusal(node(path, "web")) == expected.format(path)


async def test_no_socket(path: Path) -> None:
    expected = f"the CRI runtime at {path} cannot be reached: there is no such socket; is it running?"
    assert await refusal(node(path, "web")) == expected


async def test_a_socket_without_a_listener(path: Path) -> None:
    dead_socket(path)
    expected = f"the CRI runtime at {path} cannot be reached: nobody listens on it; is it running?"
    assert await refusal(node(path, "web")) == expected


async def test_no_permission(runtime: Runtime, path: Path) -> None:
    await resolve(node(path, "web"))  # what is imported only now could not be read afterwards
    with unprivileged(path):
        text = await refusal(node(path, "web"))
    assert text.startswith(f"no permission to use the CRI runtime at {path}: ")


async def test_a_server_that_does_not_speak_grpc(path: Path) -> None:
    with RawServer(say=b"HTTP/1.1 400 Bad Request\r\n\r\n", keep=False).serve(path):
        text = await refusal(node(path, "web"))
    assert text.startswith(f"the CRI runtime at {path} broke off, or does not speak gRPC: ")


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("ListContainers", b"\x0a\x00" * (8 << 20)),  # empty containers, of which each takes 300 bytes
        ("ListContainers", b"\x10\x01" + b"\x8a\x00\x00" * (5 << 20)),  # behind a field that is not known
        ("ListContainers", b"\x09" + bytes(8) + b"\x15" + bytes(4) + b"\x0a\x00" * (8 << 19)),
        ("ListContainers", b"\x13\x14" + b"\x0a\x00" * (8 << 19)),  # behind a group
        ("ListPodSandbox", b"\x0a\x00" * (8 << 20)),
        ("ContainerStatus", b"\x0a\x80\x80\x80\x02" + b"\x72\x00" * (2 << 20)),
        ("Version", bytes(3 << 20)),
    ],
)
async def test_an_answer_longer_than_any_of_use(runtime: Runtime, path: Path, method: str, answer: bytes) -> None:
    runtime.add("aa11", "web")
    runtime.answers[method] = lambda _, __: answer[: (16 << 20) - 1]
    target = "kft/p1/web" if method == "ListPodSandbox" else "web"
    expected = f"the CRI runtime at {path} gave an answer to {method} that is longer than any of CRI"
    assert await refusal(node(path, target)) == expected


async def test_a_list_with_fields_that_are_not_known(runtime: Runtime, path: Path) -> None:
    runtime.add("aa11", "web")
    known = api_pb2.ListContainersResponse(containers=runtime.containers).SerializeToString()
    runtime.answers["ListContainers"] = lambda _, __: (
        b"\x10\x96\x01\x19" + bytes(8) + b"\x25" + bytes(4) + known + b"\x2a\x03abc"
    )
    assert await resolve(node(path, "web")) == ({"r1": 77}, {})


async def test_a_list_that_unpacks_to_more_than_any_of_use(runtime: Runtime, path: Path) -> None:
    def packed(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_compression(grpc.Compression.Gzip)
        return bytes(20 << 20)

    runtime.answers["ListContainers"] = packed
    assert "message larger than max" in await refusal(node(path, "web"))


@pytest.mark.parametrize("answer", [b"\x0a\x05a", b"\x0a", b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x7f"])
async def test_a_list_that_cannot_be_decoded(runtime: Runtime, path: Path, answer: bytes) -> None:
    runtime.answers["ListContainers"] = lambda _, __: answer
    assert (await refusal(node(path, "web"))).startswith(f"the CRI runtime at {path} gave an answer to ListContainers ")


async def test_a_runtime_that_never_answers(path: Path) -> None:
    with RawServer().serve(path):
        assert await refusal(node(path, "web"), patience=0.3) == f"the CRI runtime at {path} did not answer in 0.3 s"


async def test_who_is_cancelled_leaves_a_hung_runtime(path: Path) -> None:
    server = RawServer()
    with server.serve(path):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(resolve, node(path, "web"))
            await wait_for(server.accepted)
            nursery.cancel_scope.cancel()


async def test_the_first_socket_that_speaks_cri_is_found(
    runtime: Runtime, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.add("aa11", "web")
    other, dead = path.with_name("other.sock"), path.with_name("dead.sock")
    dead_socket(dead)
    monkeypatch.setattr(cri_module, "SOCKETS", (f"{path}.none", str(dead), str(other), str(path)))
    with Runtime("v2").serve(other):
        assert await resolve(Node("r1", "cri", "web")) == ({"r1": 77}, {})


async def test_no_socket_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cri_module, "SOCKETS", (str(path), f"{path}.too"))
    text = await refusal(Node("r1", "cri", "web"))
    assert text.startswith(f"there is no CRI runtime here: none of {path}, {path}.too exists; ")


async def test_every_socket_that_was_tried_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = path.with_name("dead.sock")
    dead_socket(dead)
    monkeypatch.setattr(cri_module, "SOCKETS", (str(dead), str(path)))
    with Runtime("v2").serve(path):
        text = await refusal(Node("r1", "cri", "web"))
    assert f"the CRI runtime at {dead} cannot be reached: nobody listens" in text
    assert f"the CRI runtime at {path} does not speak CRI" in text


async def test_crictls_variable(runtime: Runtime, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.add("aa11", "web")
    monkeypatch.setenv("CONTAINER_RUNTIME_ENDPOINT", f"unix://{path}")
    assert await resolve(Node("r1", "cri", "web")) == ({"r1": 77}, {})
    monkeypatch.setenv("CONTAINER_RUNTIME_ENDPOINT", "tcp://192.0.2.1:3")
    text = await refusal(Node("r1", "cri", "web"))
    assert text == "CONTAINER_RUNTIME_ENDPOINT is 'tcp://192.0.2.1:3': only unix:// addresses can be used"


def _exit(runtime: Runtime, proc: FakeProc) -> None:
    runtime.set("aa11", {"info": '{"pid": 77}'}, EXITED)


def _remove(runtime: Runtime, proc: FakeProc) -> None:
    runtime.status.clear()


def _reuse(runtime: Runtime, proc: FakeProc) -> None:
    proc.add(77, whole("kft/p1"), started=1)


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        (_exit, "the CRI container 'web' is not running (it is exited)"),
        (_remove, "knows no container 'web'"),
        (_reuse, "container 'web' was restarted while its namespace was opened"),
    ],
)
async def test_a_container_that_goes_in_between(
    runtime: Runtime, proc: FakeProc, path: Path, between: Callable[[Runtime, FakeProc], None], expected: str
) -> None:
    runtime.add("aa11", "web")
    async with TrioDriver().containers([node(path, "web")], 30) as daemons:
        assert await daemons.resolve() == ({"r1": 77}, {})
        assert await daemons.confirm() == {}
        between(runtime, proc)
        assert expected in (await daemons.confirm())["r1"]
