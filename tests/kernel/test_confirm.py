"""A batch that waits to be confirmed: what stays, what is taken back, and who may say it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kokofast.cli.result_schema import schema_of_waiting
from kokofast.host.confirmation import CLIENTS
from kokofast.host.lock import LOCK_DIR, is_locked
from tests.conftest import BECOME_NOBODY, RunKokofast, ip, links, namespaces, run
from tests.kernel.conftest import COMMAND, Lab, Start, batch, present, result_of, state, until

pytestmark = pytest.mark.usefixtures("requires_root")

EVENT = Draft202012Validator(schema_of_waiting())
LONG = "300"  # seconds; no test waits for them


class Waiting:
    """A batch that waits to be confirmed."""

    def __init__(self, lab: Lab, start: Start, *arguments: str, seconds: str = LONG) -> None:
        self.lab = lab
        self.process = batch(start, lab, "--format", "json", "--confirm-within", seconds, *arguments)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith('{"event"'), line + "".join(self.process.communicate())
        self.event = json.loads(line)

    def end(self) -> tuple[int, dict[str, Any], str]:
        """Its exit code, result and messages."""
        output, errors = self.process.communicate(timeout=60)
        assert "Traceback" not in errors
        return self.process.returncode, result_of(output), errors


def confirm(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = lab.kokofast("confirm", lab.name, *arguments)
    assert "Traceback" not in done.stderr
    return done


def path_of(lab: Lab) -> Path:
    return Path(LOCK_DIR, f"{lab.name}.confirm")


def pair(lab: Lab, **more: object) -> tuple[str, str]:
    """Writes a link between two namespaces that are there."""
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:e0:10.0.0.1/24", f"{b}:e0:10.0.0.2/24"], **more}])
    return a, b


def test_a_batch_that_is_confirmed_stays(lab: Lab, start: Start) -> None:
    names = lab.chain(3)
    waiting = Waiting(lab, start, "--create")
    EVENT.validate(waiting.event)
    assert waiting.event == {"event": "waiting", "lab": lab.name, "seconds": 300}
    assert present(names) == 4
    assert is_locked(lab.name)
    assert stat.S_IMODE(path_of(lab).stat().st_mode) == 0o600
    done = confirm(lab, "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    code, result, errors = waiting.end()
    assert (code, errors) == (0, "")
    assert (result["status"], result["links"]["created"]) == ("applied", 3)
    told = result_of(done.stdout)
    assert told | {"seconds": 0} == result | {"seconds": 0}
    assert not path_of(lab).exists()
    assert not is_locked(lab.name)
    assert lab.batch()["status"] == "unchanged"


@pytest.mark.parametrize("word", ["revert", "time", "SIGINT", "SIGTERM", "SIGHUP"])
def test_otherwise_all_is_as_before(lab: Lab, start: Start, word: str) -> None:
    a, b = pair(lab)
    lab.batch()
    new = lab.new("c")
    ip(a, "link", "add", "stranger", "type", "veth", "peer", "name", "strange")
    before, named = state(a, b), namespaces()
    changed = {"endpoints": [f"{a}:e0:10.0.0.7/24", f"{b}:e0:10.0.0.2/24"], "mtu": 1400}
    more = {"endpoints": [f"{a}:e1:10.0.1.1/24", f"{new}:e0"]}
    lab.write([changed, more], defaults={"create": True})
    waiting = Waiting(lab, start, seconds="1" if word == "time" else LONG)
    if word != "time":  # it is over at once on a slow machine
        assert new in namespaces()
        assert "mtu 1400" in ip(a, "link", "show", "e0")
    if word == "revert":
        done = confirm(lab, "--revert")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{lab.name}: rolled_back in ")
    elif word != "time":
        waiting.process.send_signal(getattr(signal, word))
    code, result, errors = waiting.end()
    assert (code, result["status"]) == (1, "rolled_back")
    assert "left" not in result
    wanted = {
        "revert": f"not kept: 'kokofast confirm {lab.name} --revert' was run",
        "time": f"not confirmed within 1 s; run 'kokofast confirm {lab.name}' in time",
    }
    said = wanted.get(word, f"interrupted by {word}; what was made has been taken back")
    assert [error["message"] for error in result["errors"]] == [said]
    assert errors == f"kokofast: {said}\n"
    assert state(a, b) == before
    assert namespaces() == named
    assert not path_of(lab).exists()


def test_what_replace_has_deleted_is_made_again(lab: Lab, start: Start) -> None:
    a, b = pair(lab, queues=1)
    lab.batch()
    before = state(a, b)
    lab.write([{"endpoints": [f"{a}:e0:10.0.0.1/24", f"{b}:e0:10.0.0.2/24"], "queues": 3}])
    for word in ("--revert", "--quiet"):
        waiting = Waiting(lab, start, "--replace")
        assert "numtxqueues 3" in ip(a, "-d", "link", "show", "e0")
        assert confirm(lab, word).returncode == 0
        code, result, _ = waiting.end()
        if word == "--revert":
            assert (code, result["status"]) == (1, "rolled_back")
            assert state(a, b) == before
    assert (code, result["status"], result["links"]["replaced"]) == (0, "applied", 1)
    assert "numtxqueues 3" in ip(a, "-d", "link", "show", "e0")


def test_what_left_the_file_is_removed_after_the_confirmation(lab: Lab, start: Start) -> None:
    names = lab.chain(2)
    lab.batch("--create")
    before = state(*names)
    only = [{"endpoints": [f"{names[0]}:new:10.9.0.1/24", f"{names[1]}:eth0:10.9.0.2/24"]}]
    for file in (only, []):  # the second one has nothing to make
        lab.write(file)
        waiting = Waiting(lab, start, "--prune")
        assert "eth1" in links(names[0])
        assert present(names) == 3
        assert confirm(lab, "--revert").returncode == 0
        assert waiting.end()[1]["status"] == "rolled_back"
        assert state(*names) == before
    lab.write(only)
    waiting = Waiting(lab, start, "--prune")
    assert confirm(lab).returncode == 0
    code, result, _ = waiting.end()
    assert (code, result["status"]) == (0, "applied")
    assert (result["links"]["created"], result["links"]["removed"], result["namespaces"]["removed"]) == (1, 2, 1)
    assert links(names[0]).keys() == {"new"}


def test_with_nothing_to_do_it_does_not_wait(lab: Lab) -> None:
    pair(lab)
    lab.batch()
    for option in ([], ["--prune"], ["--replace"]):
        assert lab.batch("--confirm-within", LONG, *option)["status"] == "unchanged"


def test_who_cannot_be_applied_does_not_wait(lab: Lab, kokofast: RunKokofast) -> None:
    a = lab.node("a")
    lab.write([{"endpoints": [f"{a}:e0", "kft-is-not-there:e0"]}])
    done = kokofast("batch", lab.file, "--confirm-within", LONG, "--format", "json")
    assert (done.returncode, result_of(done.stdout)["status"]) == (2, "invalid")


def test_after_kill_9_the_links_stay_and_the_next_one_waits_again(lab: Lab, start: Start) -> None:
    names = lab.chain(2)
    waiting = Waiting(lab, start, "--create")
    waiting.process.kill()
    waiting.process.communicate()
    assert path_of(lab).exists()
    assert confirm(lab).returncode == 2
    assert present(names) == 3
    Path(lab.file).write_text(Path(lab.file).read_text().replace("10.0.0.0/31", "10.0.0.4/31"))
    waiting = Waiting(lab, start)
    assert confirm(lab).returncode == 0
    assert waiting.end()[0] == 0
    assert not path_of(lab).exists()


def test_a_client_that_is_killed_has_said_its_word(lab: Lab, start: Start) -> None:
    pair(lab)
    waiting = Waiting(lab, start)
    # It cannot go on to its end while the batch stands still.
    waiting.process.send_signal(signal.SIGSTOP)
    client = start(*COMMAND, "confirm", lab.name, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: client.poll() is not None or waits_for_its_answer(client, lab), "it has asked")
    assert client.poll() is None
    client.kill()
    client.communicate()
    waiting.process.send_signal(signal.SIGCONT)
    assert waiting.end()[1]["status"] == "applied"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_client_that_is_interrupted_says_that_the_batch_goes_on(
    lab: Lab, start: Start, number: signal.Signals
) -> None:
    pair(lab)
    waiting = Waiting(lab, start)
    waiting.process.send_signal(signal.SIGSTOP)
    client = start(*COMMAND, "confirm", lab.name, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: client.poll() is not None or waits_for_its_answer(client, lab), "it has asked")
    client.send_signal(number)
    output, errors = client.communicate(timeout=60)
    assert (client.returncode, output) == (3, "")
    assert errors == f"kokofast: interrupted by {number.name}; the batch was told to keep all, and goes on\n"
    waiting.process.send_signal(signal.SIGCONT)
    assert waiting.end()[1]["status"] == "applied"


def waits_for_its_answer(client: subprocess.Popen[str], lab: Lab) -> bool:
    """Whether it has connected, and sleeps: in between it says its word, for which it never has to wait."""
    states = [
        path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{client.pid}/task").glob("*/stat")
    ]
    return askers(lab) == 1 and set(states) == {"S"}


def askers(lab: Lab) -> int:
    """How many have connected and are not accepted yet."""
    sockets = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return sum(fields[-1] == str(path_of(lab)) for fields in sockets) - 1  # the one that listens


def test_of_two_words_the_first_one_decides(lab: Lab, start: Start) -> None:
    a, _ = pair(lab)
    waiting = Waiting(lab, start)
    with closing(connected(lab)) as one, closing(connected(lab)) as other:
        one.sendall(b"keep\n")
        with suppress(BrokenPipeError):  # the batch has answered both already
            other.sendall(b"revert\n")
        answers = [json.loads(read_all(client)) for client in (one, other)]
    code, result, _ = waiting.end()
    assert answers == [result, result]
    assert (code, result["status"]) in [(0, "applied"), (1, "rolled_back")]
    assert ("e0" in links(a)) is (code == 0)


def test_two_commands_at_once_get_the_same_result(lab: Lab, start: Start) -> None:
    pair(lab)
    waiting = Waiting(lab, start)
    waiting.process.send_signal(signal.SIGSTOP)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    clients = [
        start(*COMMAND, "confirm", lab.name, "--format", "json", *more, **options) for more in ([], ["--revert"])
    ]
    until(lambda: askers(lab) == 2, "both have asked")
    waiting.process.send_signal(signal.SIGCONT)
    outputs = [client.communicate(timeout=60) for client in clients]
    code, result, _ = waiting.end()
    assert [json.loads(output)["status"] for output, _ in outputs] == [result["status"]] * 2
    # Who did not get what he wanted fails.
    assert [client.returncode for client in clients] == ([0, 1] if code == 0 else [1, 0])
    assert ("was faster" in outputs[1][1]) is (code == 0)


def connected(lab: Lab) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path_of(lab)))
    client.settimeout(60)
    return client


def read_all(client: socket.socket) -> bytes:
    parts = []
    while part := client.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


@pytest.fixture
def clients() -> Iterator[list[socket.socket]]:
    made: list[socket.socket] = []
    yield made
    for client in made:
        client.close()


def test_who_says_nothing_or_nonsense_does_not_hold_it_up(lab: Lab, start: Start, clients: list[socket.socket]) -> None:
    pair(lab)
    waiting = Waiting(lab, start)
    for said in (b"", b"ke", b"keep", b"\0" * 5000, b"keepit\n", b"{}\n", b"revert", b"KEEP\n"):
        client = connected(lab)
        clients.append(client)
        if said:
            client.sendall(said)
    gone = connected(lab)
    gone.close()
    clients += [connected(lab) for _ in range(2 * CLIENTS)]
    done = confirm(lab, "--dry-run", "--format", "json")
    assert done.returncode == 0
    left = json.loads(done.stdout)
    EVENT.validate(left)
    assert 0 < left["seconds"] <= 300
    # It sleeps, whoever is there.
    before = ticks(waiting.process.pid)
    assert confirm(lab, "--dry-run").stdout.startswith(f"{lab.name}: waits to be confirmed, for 2")
    assert ticks(waiting.process.pid) - before < 50
    assert confirm(lab).returncode == 0
    assert waiting.end()[:1] == (0,)


def ticks(pid: int) -> int:
    """The processor's time of a process in 1/100 s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_nobody_else_may_confirm(lab: Lab, start: Start) -> None:
    pair(lab)
    waiting = Waiting(lab, start)
    mode = stat.S_IMODE(os.stat(LOCK_DIR).st_mode)
    script = f"{BECOME_NOBODY}\nfrom kokofast.cli.main import run\nsys.exit(run(sys.argv[1:]))"
    try:
        for folder in (mode, 0o755):  # the socket is guarded by itself, too
            os.chmod(LOCK_DIR, folder)
            done = run([sys.executable, "-c", script, "confirm", lab.name])
            assert done.returncode == 1
            assert "cannot be asked: Permission denied; run it as the user who runs the batch" in done.stderr
    finally:
        os.chmod(LOCK_DIR, mode)
    assert confirm(lab).returncode == 0
    assert waiting.end()[0] == 0


@pytest.mark.parametrize("name", ["A.b_c-9", "x" * 64, "0.confirm", "lab.lock"])
def test_any_name_of_a_lab(lab: Lab, start: Start, name: str) -> None:
    pair(lab)
    lab.name = name
    Path(lab.file).write_text(json.dumps(json.loads(Path(lab.file).read_text()) | {"name": name}))
    waiting = Waiting(lab, start)
    assert confirm(lab).returncode == 0
    assert waiting.end()[0] == 0


@pytest.mark.parametrize("name", ["../lab", "a/b", "", ".hidden", "a b", "x" * 65, "a\nb"])
def test_what_cannot_be_a_lab_is_refused(kokofast: RunKokofast, name: str) -> None:
    done = kokofast("confirm", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be the lab's name" in done.stderr


def test_without_a_batch_that_waits(kokofast: RunKokofast) -> None:
    for option in ([], ["--revert"], ["--dry-run"]):
        done = kokofast("confirm", "kft-none", *option)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "kokofast: no batch of the lab kft-none waits to be confirmed\n"
    done = kokofast("confirm", "kft-none", "--format", "json")
    assert (done.returncode, result_of(done.stdout)["status"]) == (2, "invalid")


def test_another_run_waits_meanwhile(lab: Lab, start: Start) -> None:
    pair(lab)
    waiting = Waiting(lab, start)
    other = start(*COMMAND, "destroy", lab.file, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert other.stderr is not None
    assert "another run works on the lab" in other.stderr.readline()
    assert confirm(lab).returncode == 0
    assert waiting.end()[0] == 0
    assert "1 link removed" in other.communicate(timeout=60)[0]


def test_it_waits_for_a_batch_that_prints_no_json(lab: Lab, start: Start) -> None:
    pair(lab)
    process = batch(start, lab, "--confirm-within", "299.5")
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line == (
        f"kokofast: {lab.name}: made, and not yet kept; without 'kokofast confirm {lab.name}' within 299.5 s "
        "all is taken back\n"
    )
    done = confirm(lab)
    assert done.stdout.startswith(f"{lab.name}: applied, 1 link created in ")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert output.startswith(f"{lab.name}: applied, 1 link created in ")


@pytest.mark.parametrize("reads", ["the event", "nothing"])
def test_when_nobody_reads_the_output(lab: Lab, start: Start, reads: str) -> None:
    a, _ = pair(lab)
    process = batch(start, lab, "--confirm-within", LONG, "--format", "json")
    assert process.stdout is not None
    assert process.stderr is not None
    if reads == "the event":
        process.stdout.readline()
        process.stdout.close()
        assert confirm(lab).returncode == 0
        # The lab stays, and the result is lost, as without --confirm-within.
        assert process.wait(60) == 3
        assert "what was done stays" in process.stderr.read()
        assert "e0" in links(a)
    else:
        process.stdout.close()
        assert process.wait(60) == 1
        assert "nothing was kept, as the line before the result cannot be written: Broken pipe" in process.stderr.read()
        assert "e0" not in links(a)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--dry-run"], "--confirm-within does not go with --dry-run: there is nothing to confirm"),
        (["--keep-going"], "--confirm-within does not go with --keep-going: either all is kept, or all is taken back"),
        (["--sandbox"], "--confirm-within does not go with --sandbox: it is for labs that stay"),
    ],
)
def test_what_it_does_not_go_with(lab: Lab, kokofast: RunKokofast, options: list[str], why: str) -> None:
    a, _ = pair(lab)
    done = kokofast("batch", lab.file, "--confirm-within", LONG, *options)
    assert done.returncode == 2
    assert why in done.stderr
    assert links(a) == {}


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e3", "soon", "9999999999"])
def test_a_time_that_is_none(kokofast: RunKokofast, seconds: str) -> None:
    done = kokofast("batch", "x.json", f"--confirm-within={seconds}")
    assert done.returncode == 2
    assert "is not a number of seconds above 0" in done.stderr


def test_in_a_sandbox(lab: Lab, kokofast: RunKokofast, tmp_path: Path) -> None:
    """A sandbox has a folder of locks of its own, and labs of the machine are not seen from it."""
    pair(lab)
    outer = tmp_path / "outer.json"
    outer.write_text("[]")
    inner = tmp_path / "inner.json"
    inner.write_text(json.dumps([{"endpoints": ["p:e0", "q:e0"]}]))
    os.makedirs(LOCK_DIR, mode=0o700, exist_ok=True)
    command = f"{sys.executable} -m kokofast"
    script = (
        f"mkfifo {tmp_path}/said; {command} confirm {lab.name}; test $? = 2 || exit 9; "
        f"{command} batch {inner} --create --confirm-within 300 2> {tmp_path}/said & "
        f"read line < {tmp_path}/said; {command} confirm inner && wait $! && ip -n p link show e0"
    )
    shell = shutil.which("sh")
    assert shell is not None
    done = kokofast("batch", str(outer), "--sandbox", "--", shell, "-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("inner: applied, 1 link created") == 2


def test_each_change_of_a_link_is_taken_back(lab: Lab, start: Start) -> None:
    """Also those that come last, as only a refusal of the confirmation comes after them."""
    a, b = lab.node("a"), lab.node("b")
    ends: list[dict[str, object]] = [
        {"node": a, "interface": "e0", "addresses": ["10.0.0.1/24", "10.0.1.1/24", "2001:db8::1/64"], "mtu": 9000},
        {"node": b, "interface": "e0", "addresses": ["10.0.0.2/24", "2001:db8::2/64"], "altnames": ["uplink"]},
    ]
    plain = {"endpoints": [f"{a}:e1:10.1.0.1/24", f"{b}:e1:10.1.0.2/24"]}
    tap = {"endpoints": [{"node": a, "interface": "tap", "mirror": {"from": "e1", "direction": "both"}}, f"{b}:tap"]}
    routes = [{"to": "10.7.0.0/16", "via": "10.0.0.2"}, {"to": "2001:db8:7::/48", "via": "2001:db8::2"}]
    node = {"netns": a, "routes": routes, "addresses": ["10.255.0.1/32"], "sysctls": {"net.ipv4.ip_forward": 1}}
    lab.write([{"endpoints": ends}, plain, tap], nodes={a: node})
    lab.batch()
    ip(a, "route", "add", "10.9.0.0/16", "via", "10.1.0.2")  # of the user
    until(lambda: "tentative" not in ip(a, "address", "show") + ip(b, "address", "show"), "no address is tentative")

    def seen() -> list[str]:
        more = [ip(name, "-6", "route", "show") + ip(name, "neigh", "show", "nud", "permanent") for name in (a, b)]
        mirrors = run(["tc", "-n", a, "filter", "show", "dev", "e1", "ingress"]).stdout
        forwarding = run(["ip", "netns", "exec", a, "sysctl", "net.ipv4.ip_forward"]).stdout
        # The kernel's own routes have another order after an interface was down.
        return sorted("\n".join([state(a, b), *more, mirrors, forwarding]).splitlines())

    before = seen()
    down = [{"node": a, "interface": "e0", "up": False}, {"node": b, "interface": "e0", "mac": "02:00:00:00:00:09"}]
    bare = {"endpoints": [f"{a}:e1:10.1.0.1/24", {"node": b, "interface": "e1", "txqlen": 7}]}
    changes: list[dict[str, Any]] = [
        {"links": [{"endpoints": down}, bare, tap]},
        {"links": [{"endpoints": down, "mtu": 1400}, bare, tap | {"endpoints": [f"{a}:tap", f"{b}:tap"]}]},
        {"links": [{"endpoints": [{**ends[0], "addresses": ["10.0.0.1/24"], "mtu": 1300}, ends[1]]}, plain]},
        {"links": [{"endpoints": ends}, plain, tap], "nodes": {a: {"netns": a, "routes": routes[:1]}}},
    ]
    for changed in changes:
        lab.write(**changed)
        waiting = Waiting(lab, start)
        assert seen() != before
        assert confirm(lab, "--revert").returncode == 0
        assert "left" not in waiting.end()[1]
        assert seen() == before
