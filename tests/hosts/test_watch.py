"""The playbook watch: each host keeps its part, by a service. A script does what systemd would: hosts have none."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import tests.kernel.conftest
from bench.underlay import Underlay
from kokofast.cli.main import run
from tests.hosts.ansible import run_ansible

LAB = "kept"
PATIENCE = 60.0
until = partial(tests.kernel.conftest.until, what="the hosts", patience=PATIENCE, pause=0.1)
LINKS = [["a:in:10.0.0.1/30", "b:in:10.0.0.2/30"], ["b:out:10.0.1.1/30", "c:out:10.0.1.2/30"]]
NODES = {"a": "h1", "b": "h1", "c": "h2", "d": "h3"}
# It starts and ends what the unit that was installed has in ExecStart, with its instance for %i.
SYSTEMCTL = """#!/bin/sh
set -e
echo "$*" >>/run/asked
name=${3#kokofast-watch@}
case $1 in
enable)
    if [ -e /run/pid ]; then exit 0; fi
    command=$(sed -n 's/^ExecStart=//p' /run/units/kokofast-watch@.service | sed "s/%i/$name/")
    setsid $command >/run/told 2>&1 </dev/null &
    echo $! >/run/pid
    echo "Created symlink" >&2
    ;;
disable)
    kill -TERM "$(cat /run/pid)"
    while [ -e "/proc/$(cat /run/pid)/exe" ]; do sleep 0.1; done  # nobody waits for it here
    rm /run/pid
    ;;
esac
"""


class Kept:
    """The lab, and how the playbook is run on it."""

    def __init__(self, underlay: Underlay, folder: Path) -> None:
        self._underlay = underlay
        self._folder = folder
        systemctl = folder / "systemctl"
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        places = {"kokofast_labs": "/run/labs", "kokofast_units": "/run/units", "kokofast_systemctl": str(systemctl)}
        hosts: dict[str, Any] = {}
        for host in underlay.hosts.values():
            host.run("mkdir", "-p", "/run/units")
            own = {"ansible_host": host.address, "kokofast_link": str(host.command_file)}
            hosts[host.name] = {**underlay.variables(host), **own, **places}
        (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))

    def split(self, **changes: object) -> None:
        """Make the parts, with changes of the last link."""
        nodes = {node: {"host": host} for node, host in NODES.items()}
        top = {"name": LAB, "hosts": self._underlay.declared(), "defaults": {"create": True}, "nodes": nodes}
        links = [LINKS[0], {"endpoints": LINKS[1], **changes}]
        (self._folder / "kept.json").write_text(json.dumps({**top, "links": links}))
        assert run(["split", str(self._folder / "kept.json"), "-o", str(self._folder / "parts"), "-q"]) == 0

    def play(self, **variables: object) -> int:
        """Run the playbook; return how many tasks have changed something on the hosts."""
        given = {"kokofast_lab": LAB, "kokofast_parts": str(self._folder / "parts"), **variables}
        options = ("-i", str(self._folder / "hosts.json"), "-e", json.dumps(given))
        where = self._underlay.controller.command
        done = run_ansible(where, "ansible-playbook", "kokofast.lab.watch", *options, folder=self._folder)
        assert done.returncode == 0, done.stdout + done.stderr
        recap = done.stdout.partition("PLAY RECAP")[2]
        return sum(int(word.removeprefix("changed=")) for word in recap.split() if word.startswith("changed="))


def test_each_host_keeps_its_part(underlay: Underlay, tmp_path: Path) -> None:
    before = {name: host.state() for name, host in underlay.hosts.items()}
    kept, (first, second, _) = Kept(underlay, tmp_path), underlay.hosts.values()

    def has(ifname: str, words: str = "") -> bool:
        found = first.run("sh", "-c", f"ip -n b link show {ifname} || true")
        return ifname in found and words in found

    def is_watching() -> bool:
        return '"watching"' in first.run("cat", "/run/told") and '"watching"' in second.run("cat", "/run/told")

    kept.split()
    assert kept.play() >= 3 * len(underlay.hosts)
    until(is_watching)
    first.run("ip", "netns", "exec", "b", "ping", "-c", "1", "-w", "20", "10.0.1.2")
    assert kept.play() == 0  # nothing is to be done
    first.run("ip", "-n", "b", "link", "delete", "out")
    until(lambda: has("out"))
    kept.split(mtu=1300)  # a new part is made as soon as it is there
    assert kept.play() == 2
    until(lambda: has("out", "mtu 1300"))

    kept.play(kokofast_watch=False)
    first.run("ip", "-n", "b", "link", "delete", "out")
    time.sleep(1)
    assert not has("out")
    assert has("in")
    asked = first.run("cat", "/run/asked").splitlines()
    assert asked == ["daemon-reload", *["enable --now kokofast-watch@kept"] * 3, "disable --now kokofast-watch@kept"]
    assert first.run("ls", "/run/labs") == ""
    assert kept.play(kokofast_watch=False) == 0
    for host in underlay.hosts.values():
        host.kokofast("destroy", "--name", LAB)
    assert {name: host.state() for name, host in underlay.hosts.items()} == before
