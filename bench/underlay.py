"""Hosts of an underlay on this machine: ``with Underlay(3) as underlay`` has three, with sshd, and a controller.

A host is a process in network, mount and pid namespaces of its own, with its own /run: named namespaces and locks of
one are not seen by another. All are on one bridge, in a namespace of its own. They share this machine's files. The end
leaves nothing: the namespaces end with their processes, the keys with their folder. Nothing here knows of pytest.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

SSHD = "/usr/sbin/sshd"
SECONDS = 30.0  # for the start of a host, which takes 0.1
MTU = 1500

# What every part of the underlay begins with: a /run of its own, then it waits for its cable.
START = (
    "mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/netns /run/lock /run/sshd && ip link set lo up && "
    "echo ready && read -r _ && "
)
# A root whose password is locked with ! may not come in by a key either. And bash reads ~/.bashrc for sshd: what this
# machine's root has there takes time, and may leave locks when the host is killed.
UNLOCK = (
    "{ [ ! -e ~/.bashrc ] || mount --bind /dev/null ~/.bashrc; } && "
    "sed 's/^root:[^:]*:/root:*:/' /etc/shadow >/run/shadow && mount --bind /run/shadow /etc/shadow && echo made &&"
)
# One process for each namespace: there may be a thousand.
LOOK = r"printf 'link show\naddress show\n' >/run/kft-look; ip -o -b /run/kft-look; "
STATE = (
    f"{LOOK} tc qdisc show; ls /run/netns; "
    'for name in $(ls /run/netns); do echo "-- $name"; ip -o -n "$name" -b /run/kft-look || exit; done'
)
# What differs from run to run: numbers of interfaces and namespaces, MAC addresses, how long an address is valid.
NUMBERS = re.compile(r"^\d+: |@if\d+|link-netnsid \d+| scope .*| state .*", re.MULTILINE)
BRIDGE = "ip link add br0 type bridge && ip link set br0 up && echo made && exec sleep infinity"


def sshd(folder: Path, port: int = 22) -> list[str]:
    """Return the command of an sshd whose key is `host` in a folder, and which lets `key.pub` in there in as root."""
    options = {
        "Port": port,
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "key.pub",
        "PidFile": "/run/kft-sshd.pid",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
        "MaxStartups": 100,
        "Subsystem": "sftp internal-sftp",
    }
    return [SSHD, "-f", os.devnull, *(f"-o{name}={value}" for name, value in options.items())]


class Part:
    """A process in namespaces of its own that other processes can enter."""

    def __init__(self, script: str) -> None:
        self._process = subprocess.Popen(
            [
                *("unshare", "--kill-child", "--net", "--mount", "--pid", "--fork", "--mount-proc"),
                *("--propagation", "private", "--", "sh", "-e", "-c", START + script),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.expect("ready")

    def expect(self, word: str) -> None:
        """Wait for a line of the script's output."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line.strip() != word:
            raise RuntimeError(f"a part of the underlay says {line!r}, and ends with {self._process.poll()}")

    def go_on(self) -> None:
        """Let the script go on behind its start."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """The process of unshare, which has the network and mount namespaces, but is outside of the pid namespace."""
        return self._process.pid

    def command(self, *command: str) -> list[str]:
        """Return a command that runs in these namespaces."""
        child = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0]
        return ["nsenter", f"--target={child}", "--net", "--mount", "--pid", "--", *command]

    def run(self, *command: str, timeout: float = 60) -> str:
        """Return the output of a command here. Raises AssertionError unless it ends with 0."""
        done = subprocess.run(self.command(*command), capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, f"{shlex.join(command)}: exit {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def close(self) -> None:
        """End all processes in here."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


class Host(Part):
    """A host: its name, its address, and a command `kokofast` of its own."""

    def __init__(self, number: int, folder: Path) -> None:
        self.name = f"h{number}"
        self.address = f"10.99.0.{number}"
        self.command_file = folder / f"kokofast-{self.name}"
        self.set_command()
        self._sshd = sshd(folder)
        super().__init__(f"{UNLOCK} exec sleep infinity")

    def listen(self) -> None:
        """Start sshd."""
        self.run(*self._sshd)

    def set_command(self, before: str = "") -> None:
        """Make the host's command, with a shell script before it."""
        fresh = self.command_file.with_suffix(".new")
        fresh.write_text(f'#!/bin/sh\n{before}\nexec {shlex.quote(sys.executable)} -m kokofast "$@"\n')
        fresh.chmod(0o755)
        fresh.replace(self.command_file)

    def kokofast(self, *arguments: str) -> str:
        """Return the output of kokofast on this host."""
        return self.run(str(self.command_file), *arguments)

    def cut_off(self) -> None:
        """Kill sshd, and its connections."""
        self.run("pkill", "-KILL", "sshd")

    def state(self) -> str:
        """Return all interfaces with their addresses, qdiscs, and named namespaces."""
        return picture(self.run("sh", "-c", STATE, timeout=600))

    def is_as(self, wanted: str) -> bool:
        """Whether its state() is this one. A look at a namespace that comes or goes just then fails: then it is not."""
        try:
            return self.state() == wanted
        except AssertionError:
            return False


def picture(output: str) -> str:
    """Return what STATE prints, the lines of each namespace in order, without what differs from run to run."""
    parts = NUMBERS.sub("", output).split("-- ")
    return "-- ".join("\n".join([*part.splitlines()[:1], *sorted(part.splitlines()[1:])]) + "\n" for part in parts)


class Underlay:
    """A bridge, hosts h1, h2, ... on it, and a controller that reaches them by SSH."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._stack = contextlib.ExitStack()
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kft-hosts-")))
            for name in ("key", "host"):
                keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
                subprocess.run(keygen, check=True, timeout=SECONDS)
            (self.folder / "known").write_text(f"* {(self.folder / 'host.pub').read_text()}")
            self._bridge = Part(BRIDGE)
            stack.callback(self._bridge.close)
            self._bridge.go_on()
            self._bridge.expect("made")
            self.controller = Part("exec sleep infinity")
            stack.callback(self.controller.close)
            self._plug(self.controller, "c", "10.99.0.254")
            self.controller.go_on()
            for number in range(1, self._count + 1):
                host = self.hosts[f"h{number}"] = Host(number, self.folder)
                stack.callback(host.close)
                self._plug(host, host.name, host.address)
                host.go_on()
                host.expect("made")
                host.listen()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _plug(self, part: Part, name: str, address: str) -> None:
        """Lay a cable from a part's eth0 to the bridge."""
        enter = ["nsenter", f"--net=/proc/{self._bridge.pid}/ns/net", "--"]
        size = ["mtu", str(MTU)]
        add = ["ip", "link", "add", name, *size, "type", "veth", "peer", "name", "eth0", *size, "netns", str(part.pid)]
        subprocess.run([*enter, *add], check=True, timeout=SECONDS)
        subprocess.run([*enter, "ip", "link", "set", name, "master", "br0", "up"], check=True, timeout=SECONDS)
        part.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        part.run("ip", "link", "set", "eth0", "up")

    def variables(self, host: Host) -> dict[str, Any]:
        """Return what Ansible has to know to reach a host and to run kokofast there."""
        options = (
            f"-i {self.folder / 'key'} -o UserKnownHostsFile={self.folder / 'known'} -o HostKeyAlgorithms=ssh-ed25519"
        )
        return {
            "ansible_user": "root",
            "ansible_ssh_common_args": options,
            # In ~/.ansible it would meet the connections of another underlay: all have the same addresses.
            "ansible_control_path_dir": str(self.folder / "cp"),
            "ansible_python_interpreter": sys.executable,
            "ansible_remote_tmp": "/run/ansible",
            "kokofast_executable": str(host.command_file),
        }

    def declared(self) -> dict[str, Any]:
        """Return the hosts, as a topology file declares them."""
        return {
            host.name: {"address": host.address, "parent": "eth0", "vars": self.variables(host)}
            for host in self.hosts.values()
        }
