"""kokofast.sandbox() and the fixtures of pytest, as root and as a user without root."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import kokofast
from kokofast import ApplyError, Link, Node, Sandbox, Topology
from tests import ROOT
from tests.conftest import namespaces, run
from tests.kernel.conftest import until

pytestmark = [pytest.mark.usefixtures("requires_root"), pytest.mark.native]

# A user without root, who may read all: this checkout, and its interpreter, may be where only root can.
READ = "-all,+dac_read_search"
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={READ}", f"--ambient-caps={READ}"]
WHO = {"root": [], "nobody": NOBODY}
PAIR = {"links": [["a:eth0:10.0.0.1/24", "b:eth0:10.0.0.2/24"]]}
PING = ["ping", "-c1", "-W5", "10.0.0.2"]


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with kokofast.sandbox() as box:
        yield box


@pytest.mark.parametrize("who", WHO)
def test_a_lab_in_a_sandbox(who: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"""
import threading, kokofast
threading.Thread(target=threading.Event().wait, daemon=True).start()
with kokofast.sandbox() as box:
    result = box.up({PAIR!r})
    print(result.status, result.links["created"], result.lab)
    print(box.run("a", {PING!r}, check=True).stdout)
    print([str(end) for link in box.inspect() for end in link.ends])
    print(box.destroy("lab").status, box.inspect())
""")
    before = namespaces()
    done = run([*WHO[who], sys.executable, "-W", "error", str(program)])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("applied 1 lab\n")
    assert "1 received" in done.stdout
    assert done.stdout.endswith("['a:eth0', 'b:eth0']\ndestroyed []\n")
    assert namespaces() == before


def test_commands(box: Sandbox, tmp_path: Path) -> None:
    box.up(Topology("x", [Link("a", "b")], [Node("a", netns="n1"), Node("h", host=True)]))
    done = box.run(
        "a", ["sh", "-c", "cat; ls /sys/class/net; echo $V >&2; pwd"], input="in\n", env={"V": "v"}, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"in\neth0\nlo\n{tmp_path}\n", "v\n")
    assert box.run("n1", ["true"]).returncode == 0
    assert "eth0" not in box.run("h", ["ls", "/sys/class/net"]).stdout.split()
    assert box.run(None, ["sh", "-c", "kill -9 $$"]).returncode == -signal.SIGKILL
    assert box.run("b", ["ls", "/proc/self/fd"]).stdout == "0\n1\n2\n3\n"  # ls itself has opened the last one
    with pytest.raises(subprocess.CalledProcessError):
        box.run("b", ["false"], check=True)
    with pytest.raises(FileNotFoundError):
        box.run("b", ["/no/such"])
    with pytest.raises(LookupError, match="no node 'nosuch'"):
        box.run("nosuch", ["true"])
    with pytest.raises(ValueError, match="is not a file name"):
        box.run("../../x", ["true"])
    with pytest.raises(TypeError, match="a list of words"):
        box.run("b", "true")
    for seconds in (0.5, 5, 50):  # on a busy machine it takes a while to begin
        with pytest.raises(subprocess.TimeoutExpired) as expired:
            box.run("b", ["sh", "-c", "echo begun; sleep 1000"], timeout=seconds)
        if expired.value.output:
            break
    assert expired.value.output == "begun\n"


def test_a_command_in_the_background(box: Sandbox) -> None:
    box.up(PAIR)
    with box.start("b", ["sh", "-c", "echo ready; trap 'echo term; exit 3' TERM; sleep 1000 & wait"]) as server:
        until(lambda: server.stdout == "ready\n", "it has begun")
        assert server.poll() is None
        waits = threading.Thread(target=server.wait)
        waits.start()
        server.terminate()
        assert server.wait() == 3
        waits.join()
        assert server.stdout == "ready\nterm\n"
        server.kill()  # it has ended: nothing
    with box.start("b", ["sh", "-c", "sleep 1000 & exit 4"]) as leaves:
        waits = threading.Thread(target=leaves.wait)
        waits.start()
        assert leaves.wait() == 4
        waits.join()
    left = box.start("b", ["sleep", "1000"])
    box.close()
    assert left.poll() == -signal.SIGKILL
    with pytest.raises(RuntimeError, match="the sandbox has ended"):
        box.inspect()


def test_errors_have_their_place_in_the_code_of_the_program(box: Sandbox) -> None:
    result = box.apply(Topology("x", [Link("web", "b")], [Node("web", docker="web")]))
    (error,) = result.errors
    assert result.status == "invalid"
    assert error.message == "a docker node cannot be in a sandbox, only netns and host"
    assert error.position.startswith(f"{__file__}:")
    with pytest.raises(ApplyError, match=rf"{__file__}:\d+ links\[0\]\.parent: "):
        box.up(Topology("y", [Link("c:m0", type="macvlan", parent="nosuch0")]))
    assert box.inspect() == []


def test_an_interrupted_call_ends_the_sandbox(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kokofast.api.sandboxes.channel.receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            box.inspect()
    with pytest.raises(RuntimeError, match="the sandbox has ended"):
        box.inspect()


@pytest.mark.parametrize("who", WHO)
def test_a_sandbox_ends_with_its_program(who: str) -> None:
    """Also when the program is killed, and when a child of it that has all its descriptors lives on."""
    program = """
import os, sys, kokofast
box = kokofast.sandbox()
box.up([["a", "b"]])
sleep = box.start("a", ["sleep", "100000"])
child = os.fork()
if child == 0:
    os.execvp("sleep", ["sleep", "1000"])
os.set_inheritable(1, True)
print(child, os.stat("/proc/self/ns/net").st_ino, flush=True)
sys.stdin.read()
"""
    mark = f"KOKOFAST_TEST_MARK={os.getpid()}-{who}"
    process = subprocess.Popen(
        [*WHO[who], sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, mark.partition("=")[0]: mark.partition("=")[2]},
    )
    assert process.stdout is not None
    assert process.stdin is not None
    child = int(process.stdout.readline().split()[0])
    try:
        # The program and its child, the helper, two of the sandbox, one that attends to the command, the command.
        until(lambda: len(marked(mark)) == 7, "all run")
        process.kill()
        process.wait()
        until(lambda: marked(mark) <= {child}, "all have ended")
    finally:
        os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()


def marked(mark: str) -> set[int]:
    """The processes that have this in their environment."""
    found = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if mark.encode() in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                found.add(int(entry))
        except OSError:
            continue
    return found


TESTS = """
import os
import pytest
import trio
import kokofast

PAIR = {"links": [["a:eth0:10.0.0.1/24", "b:eth0:10.0.0.2/24"]]}


def ping(lab):
    lab.run("a", ["ping", "-c1", "-W5", "10.0.0.2"], check=True)


def test_up(lab: kokofast.Sandbox) -> None:
    lab.up(PAIR)
    ping(lab)


def test_fails(lab):
    lab.up(PAIR)
    lab.start("a", ["sleep", "1000"])
    raise ZeroDivisionError


def test_begins_with_nothing(lab):
    assert lab.inspect() == []


def test_verify(lab):
    lab.up(PAIR, name="pair")
    assert [link.state for link in lab.verify("pair")] == ["ok"]
    lab.run("a", ["ip", "link", "set", "eth0", "down"], check=True)
    for source in (None, "pair", kokofast.loads(PAIR, name="pair")):
        assert [[one.check for one in link.problems] for link in lab.verify(source)] == [["down"]]
    with pytest.raises(ValueError, match="^patience is"):
        lab.verify(patience=0)


@pytest.mark.parametrize("arguments", [(), ([["a", "b"]], "two")])
def test_a_marker_with_other_arguments(arguments, request):
    request.node.add_marker(pytest.mark.lab(*arguments))
    with pytest.raises(TypeError, match=f"the marker lab takes one lab, not {len(arguments)}: several labs are"):
        request.getfixturevalue("lab")


@pytest.mark.lab("pair.yaml")
@pytest.mark.lab({"links": [["a:x", "c:x"]]}, name="two")
def test_marker(lab):
    ping(lab)
    assert {link.lab for link in lab.inspect()} == {"pair", "two"}


@pytest.mark.parametrize("lab", ["pair.yaml", PAIR], indirect=True)
def test_parameter(lab):
    ping(lab)


def test_several(make_lab):
    for lab in (make_lab(), make_lab()):
        lab.up(PAIR)
        ping(lab)


def test_two_without_names(lab):
    assert [lab.up([["a", "b"]]).lab, lab.up([["c", "d"]]).lab] == ["lab", "lab2"]


@pytest.mark.trio
async def test_trio(lab):
    await trio.to_thread.run_sync(lab.up, PAIR)
    ping(lab)
"""


@pytest.mark.parametrize("who", WHO)
def test_the_fixtures_of_pytest(who: str, tmp_path: Path) -> None:
    (tmp_path / "test_labs.py").write_text(TESTS)
    (tmp_path / "pair.yaml").write_text('links: [["a:eth0:10.0.0.1/24", "b:eth0:10.0.0.2/24"]]\n')
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    before = namespaces()
    pytest_run = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider", str(tmp_path)]
    done = run([*WHO[who], "env", "PYTHONDONTWRITEBYTECODE=1", *pytest_run])
    assert "1 failed, 11 passed" in done.stdout, done.stdout + done.stderr
    assert "ZeroDivisionError" in done.stdout
    assert namespaces() == before


def test_the_plugin_imports_nothing_before_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text(
        "import sys\n\ndef test_plain():\n    assert not {'trio', 'msgspec', 'kokofast.api'} & set(sys.modules)\n"
        "    assert 'kokofast.pytest_plugin' in sys.modules\n"
    )
    plain = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:trio",
        "-p",
        "no:hypothesispytest",
    ]
    done = run(["env", "-C", str(tmp_path), f"PYTHONPATH={shlex.quote(str(ROOT))}", *plain, str(tmp_path)])
    assert done.returncode == 0, done.stdout + done.stderr
