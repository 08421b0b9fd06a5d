"""Tenants: processes with capabilities in a user and a network namespace of their own only, as any rootless container
has them. What they do there makes no run fail that has nothing to do with them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.faults.machine import Machine
from tests.kernel.conftest import COMMAND

pytestmark = pytest.mark.usefixtures("requires_root")

# Sends datagrams to every netlink socket that is in its namespace, or may be in a moment: the first one of a process
# has the process's number, if it is free. Ends when nobody listens any more.
FLOOD = """
import os, socket, sys
flood = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
flood.bind((4_000_000_000, 0))
flood.setblocking(False)
flood.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
data = bytes(int(sys.argv[1]))
print(os.getpid(), flush=True)
tried = 0
while True:
    with open("/proc/loadavg") as file:
        last = int(file.read().split()[-1])
    with open("/proc/net/netlink") as file:
        there = [int(line.split()[2]) for line in list(file)[1:]]
    for port in [*range(max(last - 9, 2), last + 6), *there] * 4:
        if port not in (0, 4_000_000_000):
            try:
                while True:
                    tried += 1
                    flood.sendto(data, (port, 0))
            except (BlockingIOError, ConnectionRefusedError):
                pass
    print(tried, flush=True)
"""

# Interfaces that come and go all the time among many others: no dump of them is consistent.
FLUX = """
seq "$1" | sed 's/.*/link add v& type veth peer name w&/' | ip -batch -
echo $$
seq 3000 | sed 's/.*/link add x& type veth peer name y&/' | ip -batch - >/dev/null &
for n in 1 2 3 4; do
    while :; do echo link add a$n type veth peer name b$n; echo link del a$n; done | ip -batch - >/dev/null &
done
exec cat
"""

# So many MAC addresses that the 16 bits of their attribute's length do not hold it: the message cannot be decoded.
MALFORMED = """
ip link add v type veth peer name w; ip link set v up; ip link add link v name m type macvlan mode source
seq -f '%05.0f' "$1" | sed 's/\\(.\\)\\(..\\)\\(..\\)/link set dev m type macvlan macaddr add 02:0\\1:\\2:\\3:00:00/' |
    ip -batch -
echo $$
exec cat
"""

OTHER = {"name": "other", "links": [{"endpoints": ["x:e0", "y:e0"]}]}


@contextlib.contextmanager
def tenant(machine: Machine, *command: str) -> Iterator[tuple[int, list[str]]]:
    """A command in namespaces of its own; the pid it prints, and at the end what it has printed last."""
    alone = ["unshare", "--user", "--map-root-user", "--net", *command]
    process = subprocess.Popen(
        [*machine.prefix, *alone], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    last: list[str] = []
    try:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        yield pid, last
    finally:
        machine.run("kill", "-KILL", str(pid))
        output, _ = process.communicate(timeout=60)
        last += output.splitlines()[-1:]


def run(machine: Machine, *arguments: str, file: object = None, code: int = 0) -> tuple[str, str]:
    done = machine.run(*COMMAND, *arguments, input="" if file is None else json.dumps(file))
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("size", [200, 40_000])
def test_datagrams_to_our_sockets(machine: Machine, counts: Counter[str], long: bool, size: int) -> None:
    with tenant(machine, sys.executable, "-c", FLOOD, str(size)) as (pid, last):
        ends = [["t:e0:10.0.0.1/24", "a:e0:10.0.0.2/24"], ["t:e1", "a:e1"], ["b:e2", "a:e2"]]
        lab = {"name": "fabric", "nodes": {"t": {"pid": pid}}, "links": [{"endpoints": pair} for pair in ends]}
        for _ in range(100 if long else 2):
            run(machine, "batch", "-", "--create", file=lab)
            run(machine, "batch", "-", "--create", file=OTHER)
            assert len(json.loads(run(machine, "inspect", "fabric", "--format", "json")[0])) == 3
            made, said = run(machine, "destroy", "--name", "other")
            assert "1 link removed, 2 namespaces removed" in made
            assert said == ""
            made, said = run(machine, "destroy", "--name", "fabric")
            assert "3 links removed, 2 namespaces removed" in made
            assert said == ""
            left = json.loads(run(machine, "inspect", "--format", "json")[0])
            counts["left over"] += len(left) + len(machine.names())
            assert (left, machine.names()) == ([], [])
            counts["rounds"] += 1
        run(machine, "-p", f"{pid},e3", "-c", "e3")
        run(machine, "-P", f"{pid},e3")
    counts["datagrams tried"] += int(last[0])


@pytest.mark.parametrize("way", ["flux", "malformed"])
def test_a_namespace_that_its_owner_hinders_us_to_read(
    machine: Machine,
    counts: Counter[str],
    long: bool,
    way: str,
) -> None:
    script, number = (FLUX, 1000 if long else 500) if way == "flux" else (MALFORMED, 6000)
    with tenant(machine, "bash", "-c", script, "bash", str(number)) as (pid, _):
        for _ in range(5 if long else 1):
            run(machine, "batch", "-", "--create", file=OTHER)
            shown, said = run(machine, "inspect", "--format", "json")
            assert [link["lab"] for link in json.loads(shown)] == ["other"]
            if way == "malformed":
                assert f"kokofast: namespace pid:{pid} was passed over: the kernel's answer cannot be read" in said
            told = run(machine, "destroy", "--name", "other")[0]
            assert "1 link removed, 2 namespaces removed" in told
            counts["left over"] += len(machine.names())
            assert machine.names() == []
            counts["faults injected"] += 3
        if way == "malformed":
            # Where the lab is known to be, what cannot be read is an error, and the owner is named.
            lab = {"name": "fabric", "links": [{"type": "macvlan", "endpoint": "a:m0", "parent": "up0"}]}
            machine.must(
                "sh", "-c", f"ip link add up0 type veth peer name up1; ip netns add a; ip netns attach t {pid}"
            )
            run(machine, "batch", "-", file=lab)
            machine.must("ip", "-n", "a", "link", "set", "m0", "netns", "t")
            said = run(machine, "inspect", "fabric", code=1)[1]
            assert said.startswith(
                "kokofast: t: the namespace cannot be looked into: the kernel's answer cannot be read"
            )
            run(machine, "destroy", "--name", "fabric")
            assert "m0" not in machine.must("ip", "-n", "t", "-br", "link")
