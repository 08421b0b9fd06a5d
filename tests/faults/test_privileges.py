"""Least privilege, as told in SECURITY.md: what each command does as an ordinary user with exactly some capabilities,
and what it says when one is missing. Never half made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from kokofast.host.lock import LOCK_DIR, LabLock
from tests.conftest import NETNS_DIRECTORY, addresses, links
from tests.kernel.conftest import Lab, present, run

pytestmark = pytest.mark.usefixtures("requires_root")

Start = Callable[..., subprocess.Popen[str]]

# As in tests/kernel/test_sandbox.py: the interpreter may stand where only root can read, so no exec after root is given
# up. What setpriv --reuid=65534 --clear-groups --inh-caps=CAPS --ambient-caps=CAPS --bounding-set=CAPS starts with.
AS_USER = """
import ctypes, importlib, os, pkgutil, resource, sys
import encodings.ascii, encodings.idna, encodings.latin_1, encodings.utf_8_sig
import ipaddress, json, mmap, msgspec, shlex, tqdm, trio, trio._core._thread_cache, yaml, kokofast
for module in pkgutil.walk_packages(kokofast.__path__, "kokofast."):
    importlib.import_module(module.name)
NUMBERS = dict(CAP_DAC_OVERRIDE=1, CAP_NET_BROADCAST=11, CAP_NET_ADMIN=12, CAP_NET_RAW=13, CAP_SYS_PTRACE=19)
NUMBERS["CAP_SYS_ADMIN"] = 21
wanted, open_files, uid = sys.argv[1], int(sys.argv[2]), 65534
sys.argv[1:] = sys.argv[3:]
if open_files:
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
bits = sum(1 << NUMBERS[name] for name in wanted.split(",") if name)
libc = ctypes.CDLL(None, use_errno=True)
def check(code):
    if code != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
os.chdir("/")
os.setgroups([])
check(libc.prctl(8, 1, 0, 0, 0))  # PR_SET_KEEPCAPS
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
words = ctypes.c_uint32 * 6
# capget(2): version 3; effective, permitted, inheritable, 32 bits each, twice
check(libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), words(bits, bits, 0, 0, 0, 0)))
check(libc.prctl(4, 1, 0, 0, 0))  # PR_SET_DUMPABLE, which exec would do
from kokofast.__main__ import main
sys.exit(main())
"""
BOTH = ("CAP_NET_ADMIN", "CAP_SYS_ADMIN")
SENDS = ("CAP_NET_RAW", "CAP_SYS_ADMIN")


def as_user(
    capabilities: Sequence[str], *arguments: str, input: str = "", open_files: int = 0
) -> subprocess.CompletedProcess[str]:
    """kokofast by the user 65534 with exactly these capabilities, and a hard limit on open files."""
    command = [sys.executable, "-c", AS_USER, ",".join(capabilities), str(open_files), *arguments]
    done = run(command, input=input)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def wires(lab: Lab) -> tuple[str, str]:
    """The lab's file has a link between two namespaces of root's. All may read it."""
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:e0:10.0.0.0/31,2001:db8::/127", f"{b}:e0:10.0.0.1/31"]}])
    return a, b


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """pytest's own is for root only."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="kft-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


COMMANDS = {
    "batch": ["batch", "{file}"],
    "batch --dry-run": ["batch", "{file}", "--dry-run"],
    "destroy": ["destroy", "{file}"],
    "inspect": ["inspect"],
    "verify": ["verify"],
    "koko create": ["-n", "{a},k0", "-n", "{b},k0"],
    "koko delete": ["-N", "{a},k0"],
    "validate": ["validate", "{file}"],
    "schema": ["schema"],
    "generate": ["generate", "chain", "--links", "2"],
    "batch --sandbox": ["batch", "{file}", "--sandbox"],
}
# Of what works all the same.
REMARKS = ("without a lock other runs may interfere", "without CAP_SYS_PTRACE, namespaces that only")
NEEDS: dict[str, tuple[str, ...]] = {
    "batch": BOTH,
    "destroy": BOTH,
    "koko create": BOTH,
    "koko delete": BOTH,
    "batch --dry-run": ("CAP_SYS_ADMIN",),
    "inspect": ("CAP_SYS_ADMIN",),
    "verify": SENDS,
}


@pytest.mark.parametrize("held", [(), ("CAP_NET_ADMIN",), ("CAP_SYS_ADMIN",), BOTH, SENDS], ids="+".join)
def test_what_each_command_needs(lab: Lab, wires: tuple[str, str], counts: Counter[str], held: tuple[str, ...]) -> None:
    a, b = wires
    for command, words in COMMANDS.items():
        if command not in NEEDS and held:  # needs nothing: seen without any
            continue
        done = as_user(held, *(word.format(file=lab.file, lab=lab.name, a=a, b=b) for word in words))
        missing = [name for name in NEEDS.get(command, ()) if name not in held]
        if missing:
            counts["faults injected"] += 1
            assert (command, done.returncode, done.stdout) == (command, 1, "")
            (line,) = done.stderr.splitlines()
            assert line.startswith(f"kokofast: this needs root, or {' and '.join(missing)}: run it with sudo")
            assert not links(a)
            if command in ("batch", "destroy"):
                done = as_user(held, command, lab.file, "--format", "json")
                (error,) = json.loads(done.stdout)["errors"]
                assert (done.returncode, f"kokofast: {error['message']}") == (1, line)
        else:
            assert (command, done.returncode) == (command, 0)
            assert all(any(remark in line for remark in REMARKS) for line in done.stderr.splitlines()), done.stderr
    assert not links(a)
    assert not links(b)


def test_a_watch_hears_of_other_namespaces_by_one_more(lab: Lab, wires: tuple[str, str], counts: Counter[str]) -> None:
    done = as_user(BOTH, "watch", lab.file, "--once")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("kokofast: this needs root, or CAP_NET_BROADCAST: run it with sudo")
    assert not links(wires[0])
    counts["faults injected"] += 1
    done = as_user(("CAP_NET_BROADCAST", *BOTH), "watch", lab.file, "--once", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events if event["event"] != "note"] == ["applied", "watching"]
    assert "e0" in links(wires[0])


def test_the_two_make_and_remove_everything_in_namespaces_that_are_there(
    lab: Lab, wires: tuple[str, str], counts: Counter[str]
) -> None:
    a, b = wires
    lab.write(
        [
            {"endpoints": [f"{a}:e0:10.0.0.0/31,2001:db8::/127", f"{b}:e0:10.0.0.1/31"], "mtu": 1400},
            {"type": "macvlan", "endpoint": f"{b}:m0", "parent": f"{a}:e0"},
            {"type": "vxlan", "endpoint": f"{b}:x0", "parent": f"{b}:e0", "remote": "10.0.0.0", "vni": 5},
            {"endpoints": [{"node": a, "interface": "w0", "mirror": {"from": "e0", "direction": "both"}}, f"{b}:w0"]},
        ]
    )
    # Docker's default in containers; to switch it on again for e0 is a write to a file of root's in /proc/sys.
    run(["ip", "netns", "exec", a, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6"])
    # A low hard limit on open files takes no capability either, only more opening and closing.
    for open_files in (0, 80):
        done = as_user(BOTH, "batch", lab.file, "--format", "json", open_files=open_files)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["links"]["created"] == 4
        assert "2001:db8::/127" in addresses(a, "e0")
        assert set(links(b)) == {"e0", "m0", "x0", "w0"}
        assert "unchanged" in as_user(BOTH, "batch", lab.file, open_files=open_files).stdout
        done = as_user(BOTH, "destroy", lab.file, open_files=open_files)
        assert done.returncode == 0, done.stderr
        counts["left over"] += len(links(a)) + len(links(b))
        assert not links(a)
        assert not links(b)


def test_names_of_namespaces_take_the_right_to_write_there(lab: Lab, counts: Counter[str]) -> None:
    names = lab.chain(3)
    done = as_user(BOTH, "batch", lab.file, "--create")
    counts["faults injected"] += 1
    assert done.returncode == 1
    assert f"namespace {names[0]} cannot be made: Permission denied; this needs root, or CAP_DAC_OVERRIDE" in (
        done.stderr
    )
    assert present(names) == 0
    assert lab.batch("--create")["status"] == "applied"
    # The mount, which CAP_SYS_ADMIN could take away, stays with its name: nothing is half removed.
    done = as_user(BOTH, "destroy", lab.file)
    counts["faults injected"] += 1
    assert done.returncode == 3
    assert "removing names there needs root, or CAP_DAC_OVERRIDE" in done.stderr
    assert all(os.path.ismount(NETNS_DIRECTORY / name) for name in names)
    able = (*BOTH, "CAP_DAC_OVERRIDE")
    assert as_user(able, "destroy", lab.file).returncode == 0
    assert present(names) == 0
    assert as_user(able, "batch", lab.file, "--create").returncode == 0
    assert len(lab.inspect()) == 3
    assert as_user(able, "destroy", lab.file).returncode == 0
    counts["left over"] += present(names)
    assert present(names) == 0


def test_a_process_of_another_user(lab: Lab, start: Start, counts: Counter[str]) -> None:
    a = lab.node("a")
    theirs = start("unshare", "--net", "sh", "-c", "echo ready; exec sleep 1000", stdout=subprocess.PIPE)
    assert theirs.stdout is not None
    assert theirs.stdout.readline() == "ready\n"
    nodes = {"p": {"pid": theirs.pid}}
    lab.write([{"endpoints": [f"{a}:e0", "p:e0"]}], nodes=nodes)
    done = as_user(BOTH, "batch", lab.file)
    counts["faults injected"] += 1
    assert done.returncode == 2
    assert f"process {theirs.pid} is another user's: to look into it needs root, or CAP_SYS_PTRACE" in done.stderr
    assert not links(a)
    able = (*BOTH, "CAP_SYS_PTRACE")
    assert as_user(able, "batch", lab.file).returncode == 0
    assert set(links(a)) == {"e0"}
    # An interface that was moved to where only that process is: seen with the capability, and told without.
    run(["ip", "-n", a, "link", "set", "e0", "netns", str(theirs.pid), "name", "moved"])
    done = as_user(BOTH, "destroy", "--name", lab.name)
    assert done.returncode == 0
    assert "without CAP_SYS_PTRACE, namespaces that only other users' processes hold were not seen" in done.stderr
    inside = ["nsenter", f"--net=/proc/{theirs.pid}/ns/net", "ip", "-o", "link"]
    assert "moved" in run(inside).stdout
    done = as_user(able, "destroy", "--name", lab.name)
    assert done.returncode == 0
    assert "CAP_SYS_PTRACE" not in done.stderr
    counts["left over"] += "moved" in run(inside).stdout
    assert "moved" not in run(inside).stdout


def test_a_lock_that_cannot_be_had_is_told(lab: Lab, wires: tuple[str, str], counts: Counter[str]) -> None:
    lock = LabLock(lab.name)
    assert lock.acquire()
    try:
        done = as_user(BOTH, "batch", lab.file, "--format", "json")
    finally:
        lock.release()
    counts["faults injected"] += 1
    assert done.returncode == 0, done.stderr
    (note,) = json.loads(done.stdout)["notes"]
    assert note == f"without a lock other runs may interfere: {LOCK_DIR}: Permission denied"
    able = (*BOTH, "CAP_DAC_OVERRIDE")
    assert "notes" not in json.loads(as_user(able, "batch", lab.file, "--format", "json").stdout)


def test_the_user_has_what_these_tests_say() -> None:
    script = AS_USER.replace("sys.exit(main())", "print(open('/proc/self/status').read())")
    done = run([sys.executable, "-c", script, "CAP_NET_ADMIN,CAP_SYS_ADMIN", "0"])
    status = dict(line.split(":\t") for line in done.stdout.splitlines() if ":\t" in line)
    assert status["Uid"] == "\t".join(["65534"] * 4)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 1 << 12 | 1 << 21
