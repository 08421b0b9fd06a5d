"""Races: several runs at once, and a world that changes under a run. After each of them all of the lab is there, or it
was taken back, or an error says why not; never is a wrong namespace wired, and a plain batch completes."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kokofast import load
from kokofast.host.lock import LabLock
from kokofast.host.namespaces import NewNamespace
from kokofast.host.netns_dir import make_namespaces, prepare_directory, remove_namespace
from kokofast.plan.ownership import namespace_alias
from tests.conftest import NETNS_DIRECTORY, RunKokofast, ip, links, namespaces
from tests.kernel.conftest import COMMAND, Lab, Watch, identity, present, run, stand_still, until
from tests.runs import apply, destroy
from tests.runtimes.conftest import docker  # noqa: F401
from tests.runtimes.engines import Docker

pytestmark = pytest.mark.usefixtures("requires_root")

Start = Callable[..., subprocess.Popen[str]]
WatchNamespace = Callable[[str], Watch]


def begin(start: Start, command: str, *arguments: str) -> subprocess.Popen[str]:
    words = [*COMMAND, command, *arguments, "--format", "json"]
    return start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """The exit code and the result of a run, whose words fit each other."""
    output, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    assert process.returncode in (0, 1, 2), errors
    result: dict[str, Any] = json.loads(output)
    if process.returncode == 0:
        assert result["errors"] == []
        assert result["status"] in ("applied", "unchanged", "destroyed")
    else:
        assert result["errors"]
        assert result["status"] == ("rolled_back" if process.returncode == 1 else "invalid")
    assert "left" not in result
    return process.returncode, result


def check_complete(lab: Lab, total: int) -> None:
    """A plain batch makes the lab whole, and finds it so."""
    assert lab.batch("--create")["status"] in ("applied", "unchanged")
    assert lab.batch("--create")["status"] == "unchanged"
    assert len(lab.inspect()) == total


def check_gone(lab: Lab, names: Sequence[str], counts: Counter[str]) -> None:
    lab.destroy()
    left = present(names) + len(lab.inspect())
    counts["left over"] += left
    assert left == 0


def test_batches_of_one_lab_at_once(
    lab: Lab, start: Start, chance: random.Random, counts: Counter[str], long: bool
) -> None:
    names = lab.chain(25)
    for round in range(25 if long else 2):
        runs = [begin(start, "batch", lab.file, "--create") for _ in range(3)]
        if round % 2:
            # The one that works is told to end: what it takes back is not what the next one makes.
            until(partial(more_than, names, chance.randrange(0, 20)), "one has begun")
            chance.choice(runs).send_signal(signal.SIGTERM)
        counts["races"] += 1
        counts["rounds"] += 1
        results = [finish_or_interrupted(process) for process in runs]
        done = [result["status"] for code, result in results if code == 0]
        assert "applied" in done
        assert done.count("applied") == 1
        check_complete(lab, 25)
        check_gone(lab, names, counts)


def more_than(names: Sequence[str], moment: int) -> bool:
    return present(names) > moment


def finish_or_interrupted(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """As end(); a run that was interrupted while it waited has made nothing."""
    code, result = 0, {}
    output, errors = process.communicate(timeout=120)
    code = process.returncode
    assert "Traceback" not in errors
    if code == -signal.SIGTERM:  # before or behind its work
        return code, {"status": ""}
    result = json.loads(output)
    assert code == (0 if result["status"] in ("applied", "unchanged") else 1), errors
    assert "left" not in result
    return code, result


def test_labs_that_want_the_same_interfaces(
    lab: Lab, start: Start, counts: Counter[str], tmp_path: Path, kokofast: RunKokofast, long: bool
) -> None:
    a, b = lab.node("a"), lab.node("b")
    names = [f"{lab.name}-{number}" for number in range(2)]
    files = [tmp_path / f"{name}.json" for name in names]
    for name, file in zip(names, files, strict=True):
        # In each lab's own order, so that both have made something when they meet.
        order = range(20) if file is files[0] else range(19, -1, -1)
        links_of_it = [{"endpoints": [f"{a}:e{k}", f"{b}:e{k}"]} for k in order]
        file.write_text(json.dumps({"name": name, "links": links_of_it}))
    for _ in range(25 if long else 3):
        runs = [begin(start, "batch", str(file)) for file in files]
        codes = [end(process)[0] for process in runs]
        counts["races"] += 1
        counts["rounds"] += 1
        # One of them, or none: each took back its own, and nothing of the other's.
        assert codes.count(0) <= 1
        owners = {link["ifalias"].split(":")[1] for link in links(a).values()}
        assert owners == {name for name, code in zip(names, codes, strict=True) if code == 0}
        assert len(links(a)) == len(links(b)) == (20 if owners else 0)
        for name in names:
            assert kokofast("destroy", "--name", name).returncode == 0
        counts["left over"] += len(links(a)) + len(links(b))
        assert not links(a)
        assert not links(b)


def test_labs_that_create_the_same_namespaces(
    lab: Lab,
    start: Start,
    chance: random.Random,
    counts: Counter[str],
    tmp_path: Path,
    kokofast: RunKokofast,
    long: bool,
) -> None:
    """One of them fails, or is told to end, and takes its namespaces back; the other one is made all the same."""
    names = [lab.new(f"n{number}") for number in range(256 if long else 40)]
    labs = [f"{lab.name}-{number}" for number in range(2)]
    files = [tmp_path / f"{name}.json" for name in labs]
    for round in range(100 if long else 4):
        fails, is_told = round % 2, round % 4 >= 2
        for number, file in enumerate(files):
            pairs = itertools.pairwise(chance.choice((names, names[::-1])))
            wanted: list[dict[str, object]] = [{"endpoints": [f"{a}:x{number}", f"{b}:y{number}"]} for a, b in pairs]
            if number == fails and not is_told:
                # The parent leaves an MTU that IPv6 does not have: only the kernel says so, when it gets the address.
                wanted += [
                    {"endpoints": [f"{names[0]}:narrow", f"{names[1]}:narrow"], "mtu": 1000},
                    {
                        "type": "macvlan",
                        "endpoint": f"{names[0]}:k8:2001:db8:8::1/64",
                        "parent": f"{names[0]}:narrow",
                    },
                ]
            file.write_text(json.dumps({"name": labs[number], "defaults": {"create": True}, "links": wanted}))
        runs = {number: begin(start, "batch", str(files[number])) for number in chance.sample((0, 1), 2)}
        if is_told:
            until(partial(more_than, names, chance.randrange(0, len(names))), "one has begun")
            runs[fails].send_signal(signal.SIGTERM)
        code, result = finish_or_told(runs[fails])
        assert code in ((0, 1, 3, -signal.SIGTERM) if is_told else (1, 3)), result
        code, result = end(runs[1 - fails])
        assert code == 0, result
        made = json.loads(kokofast("inspect", labs[1 - fails], "--format", "json").stdout)
        assert len(made) == len(names) - 1
        counts["races"] += 1
        counts["rounds"] += 1
        for name in (labs[1 - fails], labs[fails]):
            assert kokofast("destroy", "--name", name).returncode == 0
        counts["left over"] += present(names)
        assert present(names) == 0


def finish_or_told(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """As end(); what is left for the other lab's sake is told."""
    output, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    result = json.loads(output) if output else {}
    for line in result.get("left", ()):
        assert re.fullmatch(r"namespace \S+: links of (the lab \S+|another lab) are in it", line)
    assert (process.returncode == 3) == ("left" in result)
    return process.returncode, result


def test_names_that_another_lab_makes_and_takes_away_all_the_time(
    lab: Lab, chance: random.Random, counts: Counter[str], tmp_path: Path, kokofast: RunKokofast, long: bool
) -> None:
    """Whatever a look finds of them (a file without a namespace, nothing) is over by the next one, and is no error."""
    names = lab.chain(12)
    prepare_directory()
    other = LabLock(f"{lab.name}-other")
    assert other.acquire()
    ended = threading.Event()
    toggles = 0

    def toggle() -> None:
        nonlocal toggles
        claim = namespace_alias(f"{lab.name}-other")
        while not ended.is_set():
            found = make_namespaces([(name, claim) for name in names], lambda *_: None)
            for name, made in zip(names, found, strict=True):
                assert isinstance(made, NewNamespace)
                remove_namespace(name, made.identity)
                made.socket.close()
                os.close(made.fd)
                toggles += 1

    thread = threading.Thread(target=toggle)
    thread.start()
    try:
        for _ in range(200 if long else 15):
            done = kokofast("batch", lab.file, "--create", "--dry-run")
            assert (done.returncode, done.stderr) == (0, "")
            counts["rounds"] += 1
    finally:
        ended.set()
        thread.join()
        other.release()
    assert toggles
    counts["races"] += toggles


def test_batch_against_destroy(lab: Lab, start: Start, chance: random.Random, counts: Counter[str], long: bool) -> None:
    names = lab.chain(25)
    for _ in range(25 if long else 2):
        making = begin(start, "batch", lab.file, "--create")
        until(partial(more_than, names, chance.randrange(0, 20)), "the batch has begun")
        removing = begin(start, "destroy", "--name", lab.name)
        made, removed = end(making), end(removing)
        counts["races"] += 1
        counts["rounds"] += 1
        assert (made[0], removed[0]) == (0, 0)
        # They take turns: what one of them ends with is what is there.
        assert len(lab.inspect()) in (0, 25)
        assert present(names) in (0, 26)
        check_complete(lab, 25)
        check_gone(lab, names, counts)


# On a machine of its own: destroy --all takes every lab there.
ALL = """
set -e
mount -t tmpfs none /run; mkdir /run/netns
kokofast() { "$PYTHON" -m kokofast "$@"; }
kokofast generate chain --links 60 >/run/c.json
round=0
until [ $round -ge $ROUNDS -a -n "$waited" ] || [ $round -ge 50 ]; do
    round=$((round + 1))
    "$PYTHON" -m kokofast batch /run/c.json --create --quiet & batch=$!  # itself, not a shell that waits for it
    until [ -e /run/netns/r3 ]; do :; done
    kill -STOP $batch 2>/dev/null || true  # it was faster
    held=1; flock -n /run/kokofast/.all.lock true && held=  # or it has done its work, and only ends
    kokofast destroy --all --quiet & destroy=$!
    # That it waits can only be seen by waiting.
    if ! timeout 1 tail --pid=$destroy -f /dev/null; then waited=$held
    elif [ "$held" ]; then echo "destroy did not wait"; fi
    kill -CONT $batch 2>/dev/null || true
    wait $batch || echo "batch: $?"
    wait $destroy || echo "destroy: $?"
    kokofast destroy --all --quiet
    ls /run/netns
done
echo "waited: $waited"
"""


def test_batch_against_destroy_all(counts: Counter[str], long: bool) -> None:
    rounds = 15 if long else 1
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "bash", "-c", ALL],
        env={**os.environ, "PYTHON": sys.executable, "ROUNDS": str(rounds)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    counts["races"] += rounds
    counts["rounds"] += rounds
    assert (done.returncode, done.stdout, done.stderr) == (0, "waited: 1\n", "")


# On a machine of its own: any user can hold the lock of /run/netns.
LOCKED = """
mount -t tmpfs none /run; mkdir /run/netns
kokofast() { "$PYTHON" -m kokofast "$@"; }
kokofast generate chain --links 3 >/run/c.json
exec 9</run/netns; flock 9
: >/run/said
"$PYTHON" -m kokofast batch /run/c.json --create >/run/out 2>/run/said & batch=$!
timeout 20 sh -c 'until grep -q locked /run/said; do sleep 0.02; done'
kill -TERM $batch; timeout 5 tail --pid=$batch -f /dev/null || { echo "deaf"; kill -KILL $batch; }
wait $batch; echo "first: $?"
grep -c 'another program has locked /run/netns; waiting until it is unlocked' /run/said
ls /run/netns
exec 9<&-
ip netns add last; ip netns delete last
exec 9</run/netns; flock 9
timeout 20 "$PYTHON" -m kokofast batch /run/c.json --create --quiet; echo "where it is a mount: $?"
kokofast destroy --all --quiet
"""


def test_who_holds_the_lock_of_the_directory_of_names(counts: Counter[str]) -> None:
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "bash", "-c", LOCKED],
        env={**os.environ, "PYTHON": sys.executable},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    counts["rounds"] += 1
    assert (done.stdout, done.stderr) == ("first: 1\n1\nwhere it is a mount: 0\n", "")


def test_a_namespace_that_is_replaced_under_its_name(
    lab: Lab, start: Start, watch: WatchNamespace, chance: random.Random, counts: Counter[str], long: bool
) -> None:
    for round in range(40 if long else 4):
        a, b = lab.bundle(60)
        sight = watch(a)
        process = begin(start, "batch", lab.file)
        moment = chance.randrange(2, 40) if round % 4 else 0
        if moment:
            until(partial(has_links, sight, moment), "the batch has begun")
        else:  # while it starts, opens and looks
            time.sleep(chance.random() * 0.2)
        if stand_still(process):
            counts["races"] += 1
        present_then = sight.count()
        begun = present_then > 1
        before = identity(str(NETNS_DIRECTORY / b))
        ip(None, "netns", "delete", b)
        if round % 2:
            ip(None, "netns", "add", b)
            assert identity(str(NETNS_DIRECTORY / b)) != before or not begun
        process.send_signal(signal.SIGCONT)
        code, result = end(process)
        counts["rounds"] += 1
        if not round % 2:
            ip(None, "netns", "add", b)
        # The one that was opened is the one that was wired, and it is gone now; the new one is a stranger.
        if begun:
            assert not links(b)
        if 1 < present_then <= 60:  # lo is one of them: it was not done
            assert (code, result["status"]) == (1, "rolled_back")
            sentences = {error["message"] for error in result["errors"]}
            way = "leads to another network namespace" if round % 2 else "is gone"
            assert any(f"/run/netns/{b} {way} by now" in sentence for sentence in sentences)
        if code == 2:
            assert f"there is no network namespace '{b}'" in result["errors"][0]["message"]
        until(partial(no_half_links, a, b), "the peers of what is gone are gone")
        check_complete(lab, 60)
        lab.destroy()
        counts["left over"] += len(links(a)) + len(links(b))
        assert not links(a)
        assert not links(b)


def has_links(sight: Watch, moment: int) -> bool:
    return sight.count() > moment


def no_half_links(a: str, b: str) -> bool:
    return len(links(a)) == len(links(b))


def test_namespaces_of_ours_that_others_replace(
    lab: Lab, start: Start, chance: random.Random, counts: Counter[str], long: bool
) -> None:
    """Names that the batch itself made; what stands under them now is somebody else's, and stays."""
    names = lab.chain(40)
    for round in range(25 if long else 3):
        process = begin(start, "batch", lab.file, "--create")
        until(partial(more_than, names, chance.randrange(1, 35)), "the batch has begun")
        if stand_still(process):
            counts["races"] += 1
        victims = [name for name in names if name in namespaces() and os.path.ismount(NETNS_DIRECTORY / name)]
        victim = chance.choice(victims)
        ip(None, "netns", "delete", victim)
        ip(None, "netns", "add", victim)
        ip(victim, "link", "add", "theirs", "type", "veth", "peer", "name", "theirs-too")
        stranger = identity(str(NETNS_DIRECTORY / victim))
        if round % 3 == 2:
            process.send_signal(signal.SIGTERM)  # a rollback meets it as well
        process.send_signal(signal.SIGCONT)
        output, errors = process.communicate(timeout=120)
        counts["rounds"] += 1
        assert "Traceback" not in errors
        assert process.returncode in (0, 1, 3, -signal.SIGTERM), errors
        if process.returncode == 3:
            assert "another" in errors
            assert json.loads(output)["left"]
        assert set(links(victim)) == {"theirs", "theirs-too"}
        check_complete(lab, 40)
        lab.destroy()
        counts["strangers compared"] += 1
        assert identity(str(NETNS_DIRECTORY / victim)) == stranger
        assert set(links(victim)) == {"theirs", "theirs-too"}
        ip(None, "netns", "delete", victim)
        counts["left over"] += present(names)
        assert present(names) == 0


# Runs in a process namespace of its own, where nobody else takes pids: the next one is the test's to choose.
PID_RACE = """
import json, os, random, signal, subprocess, sys, time
from kokofast.host import libc
from kokofast.host.kernel import LinuxKernel
from kokofast.wire.link import RTM_GETLINK
from kokofast.wire.message import Request

a, rounds, seed, file = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
chance = random.Random(seed)
kernel = LinuxKernel(16)

def count(path):
    (handle,) = kernel.open_all([path])
    with kernel.using([handle]):
        found = len(kernel.dump(handle, Request(RTM_GETLINK, {}))) - 1
    kernel.forget(handle)
    return found

def sleeper(pid=None):
    if pid is not None:
        with open("/proc/sys/kernel/ns_last_pid", "w") as next_pid:
            next_pid.write(str(pid - 1))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        libc.unshare(libc.CLONE_NEWNET)
        os.write(writing, b"x")
        while True:
            signal.pause()
    os.read(reading, 1)
    os.close(reading)
    os.close(writing)
    return child

def end(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

LINKS = 50
report = []
for round in range(rounds):
    victim = sleeper()
    wires = [{"endpoints": [a + f":p{k}", f"p:p{k}"]} for k in range(LINKS)]
    with open(file, "w") as out:
        json.dump({"name": os.path.basename(a) + "-pid", "nodes": {"p": {"pid": victim}}, "links": wires}, out)
    command = [sys.executable, "-m", "kokofast", "batch", file, "--format", "json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    moment = chance.randrange(1, 35) if round % 3 else 0
    if moment:
        while count("/run/netns/" + a) < moment and process.poll() is None:
            pass
    else:
        time.sleep(chance.random() * 0.2)
    process.send_signal(signal.SIGSTOP)
    stopped = process.poll() is None
    if stopped:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    begun = count("/run/netns/" + a) > 0
    end(victim)
    impostor = sleeper(victim) if round % 2 else None
    process.send_signal(signal.SIGCONT)
    output, errors = process.communicate()
    inside = count(f"/proc/{impostor}/ns/net") if impostor else 0
    report.append(dict(begun=begun, stopped=stopped, code=process.returncode, errors=errors, inside=inside,
                       reused=impostor == victim, replaced=impostor is not None, output=output))
    # A plain batch completes: with whoever has the number now.
    if impostor is None:
        impostor = sleeper(victim)
    again = subprocess.run(command, capture_output=True, text=True)
    report[-1].update(again=again.returncode, again_errors=again.stderr, whole=count(f"/proc/{impostor}/ns/net"))
    gone = subprocess.run([sys.executable, "-m", "kokofast", "destroy", file], capture_output=True, text=True)
    report[-1].update(gone=gone.returncode, left=count("/run/netns/" + a) + count(f"/proc/{impostor}/ns/net"))
    end(impostor)
json.dump(report, sys.stdout)
"""


def test_a_process_that_ends_and_whose_pid_is_used_again(
    lab: Lab, chance: random.Random, counts: Counter[str], long: bool, tmp_path: Path
) -> None:
    a = lab.node("a")
    rounds = 60 if long else 4
    arguments = [a, str(rounds), str(chance.randrange(1 << 32)), str(tmp_path / "pid.json")]
    space = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    done = run([*space, sys.executable, "-c", PID_RACE, *arguments], timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    for race in json.loads(done.stdout):
        counts["races"] += race["stopped"]
        counts["rounds"] += 1
        counts["kills"] += 1
        assert race["reused"] == race["replaced"], race
        assert "Traceback" not in race["errors"], race
        # What was begun with the one is never gone on with, with the other.
        assert race["inside"] == 0 if race["begun"] else race["inside"] in (0, 50), race
        assert race["code"] in (0, 1, 2), race
        if race["code"]:
            assert race["errors"], race
        assert (race["again"], race["whole"]) == (0, 50), race
        counts["left over"] += race["left"]
        assert (race["gone"], race["left"]) == (0, 0), race


def test_containers_that_end_and_restart(
    docker: Docker,  # noqa: F811
    lab: Lab,
    start: Start,
    chance: random.Random,
    counts: Counter[str],
    long: bool,
) -> None:
    engine = docker
    a = lab.node("a")
    for round in range(12 if long else 2):
        container = engine.start()
        nodes = {"c": {"docker": container, "socket": str(engine.socket)}}
        lab.write([{"endpoints": [f"{a}:c{k}", f"c:c{k}"]} for k in range(60)], nodes=nodes)
        process = begin(start, "batch", lab.file)
        time.sleep(chance.random() * 0.6)
        engine("kill" if round % 2 else "restart", *(() if round % 2 else ("--time", "0")), container)
        code, result = end(process)
        counts["races"] += 1
        counts["rounds"] += 1
        assert code in (0, 1, 2), result
        if round % 2:
            engine("start", container)
        until(partial(no_links_or_all, a, 60), "the peers of what is gone are gone")
        assert lab.batch()["status"] in ("applied", "unchanged")
        assert engine("exec", container, "ip", "link").count(": c") == 60
        lab.destroy()
        counts["left over"] += len(links(a))
        assert not links(a)
        engine("rm", "--force", container)


def no_links_or_all(a: str, total: int) -> bool:
    return len(links(a)) in (0, total)


@pytest.mark.parametrize("create", [False, True], ids=["namespaces that stay", "some that go"])
async def test_links_that_are_moved_while_a_lab_is_destroyed(
    lab: Lab, chance: random.Random, counts: Counter[str], long: bool, create: bool
) -> None:
    """Both ends of some, one end of others, when all have been looked at and none is deleted."""
    size = 30 if long else 6
    hub, *away = [lab.node(name) for name in ("hub", "x", "y")]
    others = [lab.new(f"o{number}") if create else lab.node(f"o{number}") for number in range(size)]
    wanted: list[dict[str, object]] = [{"endpoints": [f"{hub}:h{n}", f"{name}:o{n}"]} for n, name in enumerate(others)]
    for _ in range(100 if long else 2):
        topology = load(lab.write(wanted, defaults={"create": True}))
        assert (await apply(topology)).errors == []

        def move(stage: str, done: int, total: int) -> None:
            if stage == "survey" and done == total:
                for number, name in enumerate(others):
                    ends = [(hub, f"h{number}"), (name, f"o{number}")]
                    for home, ifname in chance.sample(ends, chance.choice((1, 1 if create else 2))):
                        if home == hub or not create:
                            ip(home, "link", "set", ifname, "netns", chance.choice(away))

        result = await destroy(lab.name, topology=topology, progress=move)
        left = sum(len(links(name)) for name in (hub, *away, *(() if create else others)))
        counts["left over"] += left
        counts["rounds"] += 1
        assert (left, result.errors) == (0, [])
        assert result.links == {"removed": size, "failed": 0}
