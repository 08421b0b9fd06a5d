"""docker and podman nodes against daemons that do well, badly, or nothing."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from kokofast.drivers.trio_driver import TrioDriver
from kokofast.endpoints import docker as docker_module
from kokofast.endpoints.containers import CONNECTIONS
from kokofast.endpoints.errors import SENTENCE_CHARACTERS
from kokofast.topology.model import Node
from tests.endpoints.fakes import (
    OK,
    EndlessDocker,
    FakeDocker,
    FakeProc,
    RawServer,
    Reply,
    dead_socket,
    refusal,
    resolve,
    unprivileged,
    wait_for,
    whole,
)
from tests.servers import TCPServer, forward, served

NO_IDENTITY = "gave an answer that is not of Docker's API: ValueError: no id of 64 hexadecimal digits"
# Each but the last stands in the control group or the mounts of the process; a part of an id is none either.
NO_IDENTITIES = ("", "0", "s", "/", "system.slice", whole("c1")[:12], whole("c1")[:63], whole("c1") + "0", "x" * 64)


def node(path: Path, target: str = "c1", kind: str = "docker", name: str = "r1") -> Node:
    return Node(name, kind, target, socket=str(path))


@pytest.mark.parametrize("kind", ["docker", "podman"])
async def test_a_running_container_is_its_process(docker: FakeDocker, proc: FakeProc, path: Path, kind: str) -> None:
    docker.add("c1", 77)
    proc.add(77, whole("c1"))
    assert await resolve(node(path, kind=kind)) == ({"r1": 77}, {})


async def test_a_paused_container_has_its_process_still(docker: FakeDocker, proc: FakeProc, path: Path) -> None:
    docker.add("c1", 77, status="paused")
    proc.add(77, whole("c1"))
    assert await resolve(node(path)) == ({"r1": 77}, {})


async def test_each_container_is_asked_for_once(docker: FakeDocker, proc: FakeProc, path: Path) -> None:
    for number in range(50):
        docker.add(f"c{number}", 100 + number)
        proc.add(100 + number, whole(f"c{number}"))
    nodes = [node(path, f"c{number % 50}", name=f"r{number}") for number in range(150)]
    async with TrioDriver().containers(nodes, 30) as daemons:
        pids, refused = await daemons.resolve()
        assert pids == {f"r{number}": 100 + number % 50 for number in range(150)}
        assert refused == {}
        asked = [request for request in docker.requests if "/containers/" in request]
        assert sorted(asked) == sorted(f"/v1.41/containers/c{number}/json" for number in range(50))
        assert await daemons.confirm() == {}
    assert docker.requests.count("/version") == 1
    assert docker.connections <= CONNECTIONS < 20


async def test_a_missing_container(docker: FakeDocker, path: Path) -> None:
    assert await refusal(node(path)) == f"the docker daemon at {path} knows no container 'c1'"


@pytest.mark.parametrize("status", ["created", "exited", "restarting", "dead"])
async def test_a_container_that_does_not_run(docker: FakeDocker, path: Path, status: str) -> None:
    docker.add("c1", 0, status=status)
    assert await refusal(node(path)) == f"the docker container 'c1' is not running (it is {status})"


async def test_each_node_has_its_own_answer(docker: FakeDocker, proc: FakeProc, path: Path) -> None:
    docker.add("c1", 77)
    docker.add("c2", 0, status="exited")
    proc.add(77, whole("c1"))
    nodes = [node(path, f"c{number}", name=f"r{number}") for number in (1, 2, 3)]
    pids, refused = await resolve(*nodes)
    assert pids == {"r1": 77}
    assert refused == {
        "r2": "the docker container 'c2' is not running (it is exited)",
        "r3": f"the docker daemon at {path} knows no container 'c3'",
    }


async def test_two_daemons_do_not_share_their_fate(docker: FakeDocker, proc: FakeProc, path: Path) -> None:
    docker.add("c1", 77)
    proc.add(77, whole("c1"))
    gone = path.with_name("gone.sock")
    pids, refused = await resolve(node(path), node(gone, name="r2"), node(gone, kind="podman", name="r3"))
    assert pids == {"r1": 77}
    assert refused == {
        "r2": f"the docker daemon at {gone} cannot be reached: there is no such socket; is it running?",
        "r3": f"the podman service at {gone} cannot be reached: there is no such socket; is it running? "
        "(systemctl start podman.socket)",
    }


async def test_a_socket_without_a_listener(path: Path) -> None:
    dead_socket(path)
    expected = f"the docker daemon at {path} cannot be reached: nobody listens on it; is it running?"
    assert await refusal(node(path)) == expected


async def test_a_file_that_is_no_socket(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("no-socket")
    assert (await refusal(node(path))).startswith(f"the docker daemon at {path} cannot be reached: ")


async def test_a_path_too_long_for_a_socket(path: Path) -> None:
    long = path.with_name("x" * 120)
    assert (await refusal(node(long))).startswith(f"the docker daemon at {long} cannot be reached: ")


async def test_no_permission(docker: FakeDocker, path: Path) -> None:
    await resolve(node(path))  # what is imported only now could not be read afterwards
    with unprivileged(path):
        text = await refusal(node(path))
    assert text.startswith(f"no permission to use the docker daemon at {path}: ")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ((500, {"message": "boom\x1b[31m\nbang."}), "refuses: boom\\x1b[31m bang (HTTP 500)"),
        ((400, b"multiple IDs found with provided prefix: c1"), "refuses: multiple IDs found with provided prefix: c1"),
        ((500, {"other": "words"}), "gave an answer that is not of Docker's API: KeyError"),
        ((200, b"{}"), "gave an answer that is not of Docker's API: "),
        ((200, []), "gave an answer that is not of Docker's API: TypeError"),
        ((200, {"Id": whole("c1")}), "gave an answer that is not of Docker's API: KeyError: 'State'"),
        ((200, {"Id": "x", "State": {"Pid": "many"}}), "gave an answer that is not of Docker's API: ValueError"),
        ((200, {"Id": whole("c1"), "State": None}), "gave an answer that is not of Docker's API: TypeError"),
        ((200, {"Id": None, "State": {"Pid": 7}}), "gave an answer that is not of Docker's API: TypeError"),
        ((200, {"Id": ["0"] * 64, "State": {"Pid": 7}}), "gave an answer that is not of Docker's API: AttributeError"),
        *(((200, {"Id": identity, "State": {"Pid": 77}}), NO_IDENTITY) for identity in NO_IDENTITIES),
    ],
)
async def test_an_answer_that_does_not_help(
    docker: FakeDocker, proc: FakeProc, path: Path, reply: Reply, expected: str
) -> None:
    docker.answers["c1"] = reply
    proc.add(77, whole("c1"))
    text = await refusal(node(path))
    assert text.startswith(f"the docker daemon at {path} {expected}")
    assert text.isprintable()


async def test_a_long_complaint_is_cut(docker: FakeDocker, path: Path) -> None:
    docker.answers["c1"] = (500, {"message": "x" * 10000})
    assert len(await refusal(node(path))) < SENTENCE_CHARACTERS + 200


async def test_a_daemon_whose_version_is_refused(docker: FakeDocker, path: Path) -> None:
    docker.version = (403, {"message": "not for you"})
    assert await refusal(node(path)) == f"the docker daemon at {path} refuses: not for you (HTTP 403)"


@pytest.mark.parametrize("say", [b"220 smtp.example ESMTP\r\n", b"HTTP/1.1 2x0 No\r\n\r\n", b"\0" * 100])
async def test_a_server_that_does_not_speak_http(path: Path, say: bytes) -> None:
    with RawServer(say=say, keep=False).serve(path):
        assert (await refusal(node(path))).startswith(f"the docker daemon at {path} ")


async def test_a_server_that_hangs_up(path: Path) -> None:
    with RawServer(keep=False).serve(path):
        text = await refusal(node(path))
    assert text in (
        f"the docker daemon at {path} closed the connection without an answer",
        f"the docker daemon at {path} cannot be reached: it closed the connection without an answer",
    )


async def test_a_daemon_that_never_answers(path: Path) -> None:
    server = RawServer()
    with server.serve(path):
        assert await refusal(node(path), patience=0.2) == f"the docker daemon at {path} did not answer in 0.2 s"
        await wait_for(server.closed)


async def test_one_container_that_hangs_takes_no_other_with_it(docker: FakeDocker, proc: FakeProc, path: Path) -> None:
    never = threading.Event()

    def hang() -> Reply:
        never.wait()
        return 500, {"message": "too late"}

    for number in range(30):
        docker.add(f"c{number}", 100 + number)
        proc.add(100 + number, whole(f"c{number}"))
    docker.answers["hung"] = hang
    nodes = [node(path, "hung", name="hung")] + [node(path, f"c{number}", name=f"r{number}") for number in range(30)]
    try:
        pids, refused = await resolve(*nodes, patience=1)
    finally:
        never.set()
    assert len(pids) == 30
    assert refused == {"hung": f"the docker daemon at {path} did not answer in 1 s"}


async def test_a_slow_daemon_may_take_its_time_for_many(docker: FakeDocker, proc: FakeProc, path: Path) -> None:
    patience = 2.0

    def slowly(number: int) -> Reply:
        time.sleep(patience / 4)
        return 200, {"Id": whole(f"c{number}"), "State": {"Pid": 100 + number}}

    count = CONNECTIONS * 5
    for number in range(count):
        proc.add(100 + number, whole(f"c{number}"))
        docker.slow[f"c{number}"] = partial(slowly, number)
    nodes = [node(path, f"c{number}", name=f"r{number}") for number in range(count)]
    pids, refused = await resolve(*nodes, patience=patience)
    assert (len(pids), refused) == (count, {})


async def test_who_is_cancelled_leaves_a_hung_daemon(path: Path) -> None:
    server = RawServer()
    with server.serve(path):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(resolve, node(path))
            await wait_for(server.accepted)
            nursery.cancel_scope.cancel()
        await wait_for(server.closed)


@pytest.mark.parametrize("target", ["", "../c1", "a/b", "-c1", "c1?x=1", "c1\n", "c%2e"])
async def test_a_name_that_is_none_is_not_asked_for(docker: FakeDocker, path: Path, target: str) -> None:
    assert "is not a container's name or id" in await refusal(node(path, target))
    assert not [request for request in docker.requests if "/containers/" in request]


# A piece that unpacks to a thousand times as much, and leaves the stream open.
_packer = zlib.compressobj(9, zlib.DEFLATED, 31)
ZEROS = _packer.compress(bytes(32 << 20)) + _packer.flush(zlib.Z_FULL_FLUSH)
MOST = docker_module.LONGEST_ANSWER


@pytest.mark.parametrize(
    ("head", "piece", "expected"),
    [
        (OK + b"\r\n", b"0," * 32768, "more than 4 MiB"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"0," * 32768 + b"\r\n", "more than 4 MiB"),
        (OK + b"Content-Length: 99999999999\r\n\r\n", b"0," * 32768, "more than 4 MiB"),
        (OK + b"Content-Encoding: gzip\r\n\r\n", ZEROS, "more than 4 MiB"),
        (OK.replace(b"200", b"500") + b"\r\n", b"0," * 32768, "more than 4 MiB"),
        (OK.replace(b"json", b"x-tar") + b"\r\n", ZEROS, "an archive"),
        (OK, b"X: " + b"x" * 1000 + b"\r\n", "Too many headers"),
    ],
)
async def test_an_answer_without_an_end(path: Path, head: bytes, piece: bytes, expected: str) -> None:
    daemon = EndlessDocker(head, piece)
    with daemon.serve(path):
        text = await refusal(node(path))
    assert text.startswith(f"the docker daemon at {path} gave an answer that is not of Docker's API: ")
    assert expected in text
    # And what the buffers of the two sockets hold.
    assert daemon.sent < MOST + (4 << 20)


async def test_what_a_daemon_packs_is_not_unpacked(docker: FakeDocker, path: Path) -> None:
    packed = zlib.compress(bytes(64 << 20), wbits=31)
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with RawServer(say=head + packed).serve(path.with_name("packed.sock")):
        text = await refusal(node(path.with_name("packed.sock")))
    assert "gave an answer that is not of Docker's API: UnicodeDecodeError" in text


async def test_a_daemon_that_sends_us_elsewhere(docker: FakeDocker, path: Path) -> None:
    head = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /v1.41/containers/c1/json\r\nContent-Length: 0\r\n\r\n"
    with RawServer(say=head).serve(path.with_name("redirects.sock")):
        text = await refusal(node(path.with_name("redirects.sock")))
    assert text.endswith("gave an answer that is not of Docker's API: ClientPayloadError: a redirection")


@pytest.fixture
def confirmed(docker: FakeDocker, proc: FakeProc, path: Path) -> Callable[[Callable[[], None]], object]:
    """What confirm() says when something happens between it and resolve()."""
    docker.add("c1", 77)
    proc.add(77, whole("c1"))

    async def run(between: Callable[[], None]) -> dict[str, str]:
        async with TrioDriver().containers([node(path)], 30) as daemons:
            assert await daemons.resolve() == ({"r1": 77}, {})
            between()
            return await daemons.confirm()

    return run


async def test_a_container_that_stays(confirmed) -> None:  # type: ignore[no-untyped-def]
    assert await confirmed(lambda: None) == {}


async def test_a_container_that_stops_in_between(confirmed, docker: FakeDocker) -> None:  # type: ignore[no-untyped-def]
    refused = await confirmed(lambda: docker.add("c1", 0, status="exited"))
    assert refused == {"r1": "the docker container 'c1' is not running (it is exited)"}


async def test_a_container_that_restarts_in_between(confirmed, docker: FakeDocker) -> None:  # type: ignore[no-untyped-def]
    refused = await confirmed(lambda: docker.add("c1", 78))
    assert "container 'c1' was restarted while its namespace was opened (process 77, then 78)" in refused["r1"]


async def test_a_pid_that_is_used_again_in_between(confirmed, proc: FakeProc) -> None:  # type: ignore[no-untyped-def]
    # As a daemon that has not heard of the end yet would have it: still the same pid.
    refused = await confirmed(lambda: proc.add(77, whole("c1"), started=4712))
    assert "was restarted while its namespace was opened" in refused["r1"]


async def test_a_process_that_ends_in_between(confirmed, proc: FakeProc) -> None:  # type: ignore[no-untyped-def]
    refused = await confirmed(lambda: proc.remove(77))
    assert "was restarted while its namespace was opened" in refused["r1"]


async def test_a_daemon_that_goes_in_between(confirmed, docker: FakeDocker) -> None:  # type: ignore[no-untyped-def]
    refused = await confirmed(docker.answers.clear)
    assert "knows no container 'c1'" in refused["r1"]


async def test_the_process_of_another_machine(docker: FakeDocker, proc: FakeProc, path: Path) -> None:
    docker.add("c1", 77)
    proc.add(77, "somebody-else")
    assert (await refusal(node(path))).startswith(
        f"process 77 of this machine is not that of container 'c1': the docker daemon at {path} seems to run on another"
    )


async def test_a_process_that_is_not_here(docker: FakeDocker, proc: FakeProc, path: Path) -> None:
    docker.add("c1", 77)
    assert "process 77 of this machine is not that of container 'c1'" in await refusal(node(path))


async def test_a_container_that_ends_while_it_is_looked_up(docker: FakeDocker, proc: FakeProc, path: Path) -> None:
    replies = iter([77, 0])
    docker.answers["c1"] = lambda: (200, {"Id": whole("c1"), "State": {"Pid": next(replies, 0), "Status": "exited"}})
    assert "is not running (it is exited)" in await refusal(node(path))


async def test_docker_host_over_tcp(proc: FakeProc, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDocker()
    fake.add("c1", 77)
    proc.add(77, whole("c1"))
    server = TCPServer(("127.0.0.1", 0), _to_unix(path))
    with fake.serve(path), served(server):
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_address[1]}")
        assert await resolve(Node("r1", "docker", "c1")) == ({"r1": 77}, {})
    refused = await refusal(Node("r1", "docker", "c1"))
    assert refused.endswith("cannot be reached: nobody listens on it; is it running?")


def _to_unix(path: Path) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(str(path))
                forward(self.request, other)

    return Handler


def test_where_docker_is_looked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert docker_module.address_of(Node("r1", "docker", "c1")) == "unix:///var/run/docker.sock"
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/other.sock")
    assert docker_module.address_of(Node("r1", "docker", "c1")) == "unix:///run/other.sock"
    assert docker_module.address_of(node(path)) == f"unix://{path}"


def test_where_podman_is_looked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    podman = Node("r1", "podman", "c1")
    monkeypatch.setattr(docker_module, "PODMAN_SOCKET", f"{path}.system")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path.parent))
    assert docker_module.address_of(podman) == f"unix://{path}.system"
    (path.parent / "podman").mkdir()
    own = path.parent / "podman" / "podman.sock"
    own.touch()
    assert docker_module.address_of(podman) == f"unix://{own}"
    Path(f"{path}.system").touch()
    assert docker_module.address_of(podman) == f"unix://{path}.system"
    monkeypatch.setenv("CONTAINER_HOST", "unix:///run/other.sock")
    assert docker_module.address_of(podman) == "unix:///run/other.sock"


@pytest.mark.parametrize(("kind", "variable"), [("docker", "DOCKER_HOST"), ("podman", "CONTAINER_HOST")])
async def test_an_address_that_cannot_be_used(
    path: Path, kind: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "ssh://root@elsewhere")
    text = await refusal(Node("r1", kind, "c1"))
    assert text == f"{variable} is 'ssh://root@elsewhere': only unix:// and tcp:// addresses can be used"
