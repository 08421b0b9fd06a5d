"""doctor on the real kernel: it says what ip and tc find, and what a lowered limit or a lost right makes true."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kokofast.cli.result_schema import schema_of_doctor
from kokofast.engine.examine import examine
from kokofast.kinds import KINDS
from tests import ROOT
from tests.conftest import NETNS_DIRECTORY, NamespaceFactory, RunKokofast
from tests.kernel.facts import ON_PARENT, YES, answer, done

pytestmark = [pytest.mark.usefixtures("requires_root"), pytest.mark.native]

DOCTOR = [sys.executable, "-m", "kokofast", "doctor", "--format", "json"]
SCHEMA = Draft202012Validator(schema_of_doctor())
QDISCS = {"netem": "root netem delay 1ms", "tbf": "root tbf rate 1mbit burst 10kb latency 1ms"}
# With CAP_SETFCAP root may map itself into a user namespace: user_namespaces(7).
WITHOUT_RIGHTS = "setpriv --bounding-set=-all,+setfcap --inh-caps=-all"


def findings_of(output: str) -> Mapping[str, dict[str, Any]]:
    found = json.loads(output)
    SCHEMA.validate(found)
    assert found["ok"] == (not any(one["needed"] and one["state"] == "missing" for one in found["findings"]))
    return {finding["check"]: finding for finding in found["findings"]}


def inside(before: str, *arguments: str) -> tuple[int, Mapping[str, dict[str, Any]]]:
    """doctor in new user, mount and network namespaces, where ``before`` was run first."""
    script = f'mount -t tmpfs none /run && {before} "$@"'
    done = subprocess.run(
        ["unshare", "-Urmnp", "--fork", "--mount-proc", "sh", "-c", script, "sh", *DOCTOR, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, findings_of(done.stdout)


def chain(file: Path, **more: object) -> str:
    links = [{"endpoints": [f"r{i}:eth1", f"r{i + 1}:eth0"], **more} for i in range(9)]
    file.write_text(json.dumps({"defaults": {"create": True}, "links": links}))
    return str(file)


def test_the_kernel_has_what_doctor_says(netns: NamespaceFactory, kokofast: RunKokofast) -> None:
    node = netns("doctor")
    done(node, "link add up0 type veth peer name far0")
    works = {"veth": YES}
    for number, kind in enumerate([*KINDS][1:], 1):
        done(node, f"link add up{number} type veth peer name far{number}")  # a parent tolerates one of some kinds
        parent = f"link up{number} type {kind} {ON_PARENT[kind]}" if kind in ON_PARENT else f"type {kind}"
        works[kind] = answer(node, f"link add x-{kind} {parent}")
    for kind, words in QDISCS.items():
        works[kind] = answer(node, f"qdisc replace dev far0 {words}", "tc")
    works["mirror qdisc"] = answer(node, "qdisc add dev up0 clsact", "tc")
    match = "filter add dev up0 egress {} action mirred egress mirror dev far0"
    ways = ("matchall", "u32 match u32 0 0")
    works["mirror classifier"] = works["mirror action"] = (
        YES if YES in [answer(node, match.format(way), "tc") for way in ways] else "no"
    )
    answered = findings_of(kokofast("doctor", "--format", "json").stdout)
    assert {name: answered[name]["state"] for name in works} == {
        name: "ok" if word == YES else "missing" for name, word in works.items()
    }


def test_only_what_the_file_needs_decides(kokofast: RunKokofast, tmp_path: Path) -> None:
    file = chain(tmp_path / "links.json")
    assert kokofast("doctor", file).returncode == 0
    delayed = kokofast("doctor", chain(tmp_path / "slow.json", delay="1ms"))
    lacks = findings_of(kokofast("doctor", "--format", "json").stdout)["netem"]["state"] == "missing"
    assert delayed.returncode == lacks
    assert delayed.stdout.splitlines()[-1] == (
        f"missing for {tmp_path}/slow.json: netem" if lacks else f"nothing that {tmp_path}/slow.json needs is missing"
    )
    (tmp_path / "bad.json").write_text("{")
    assert kokofast("doctor", str(tmp_path / "bad.json")).returncode == 2
    assert kokofast("doctor", file, "--sandbox").returncode == 0


def test_a_daemon_that_is_not_there(kokofast: RunKokofast, tmp_path: Path) -> None:
    nodes = {"web": {"docker": "web", "socket": f"{tmp_path}/none.sock"}}
    (tmp_path / "shop.json").write_text(json.dumps({"nodes": nodes, "links": [["web:e", "host:e"]]}))
    answered = kokofast("doctor", str(tmp_path / "shop.json"))
    assert answered.returncode == 2, "host is not declared"
    nodes |= {"me": {"host": True}}  # type: ignore[dict-item]
    (tmp_path / "shop.json").write_text(json.dumps({"nodes": nodes, "links": [["web:e", "me:e"]]}))
    answered = kokofast("doctor", str(tmp_path / "shop.json"), "--format", "json")
    assert answered.returncode == 1
    (finding,) = (one for name, one in findings_of(answered.stdout).items() if "docker" in name and one["needed"])
    assert (finding["state"], finding["fact"]) == ("missing", f"{tmp_path}/none.sock: No such file or directory")


def test_the_options_for_files_of_other_programs(
    kokofast: RunKokofast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    fabric = str(ROOT / "examples" / "fabric.clab.yml")
    for arguments, needed in (((), False), (("--runtime", "docker"), True)):
        answered = kokofast("doctor", fabric, "--format", "json", *arguments)
        found = [one["needed"] for name, one in findings_of(answered.stdout).items() if "docker" in name]
        assert any(found) == needed, answered.stdout
        assert answered.returncode == needed
    (tmp_path / "x.net").write_text("a b\n")
    assert kokofast("doctor", str(tmp_path / "x.net"), "--from", "edges").returncode == 0


def test_a_lowered_limit_on_namespaces(tmp_path: Path) -> None:
    file = chain(tmp_path / "links.json")
    code, answered = inside("echo 10 > /proc/sys/user/max_net_namespaces &&", file)
    finding = answered["user.max_net_namespaces"]
    assert (code, finding["state"], finding["cure"]) == (1, "missing", "sysctl -w user.max_net_namespaces=32")
    # That of the caller counts as well.
    code, answered = inside("echo 11 > /proc/sys/user/max_net_namespaces &&", file)
    assert (code, answered["user.max_net_namespaces"]["state"]) == (0, "warning")
    code, answered = inside(f"{sys.executable} -m kokofast batch -q {file} &&", file)
    assert answered["user.max_net_namespaces"]["fact"].endswith("a run makes 1")


def test_few_open_files(tmp_path: Path) -> None:
    file = chain(tmp_path / "links.json")
    code, answered = inside("exec prlimit --nofile=39:39", file)
    assert (code, answered["open files"]["state"]) == (1, "missing")
    code, answered = inside("exec prlimit --nofile=83:83", file)
    assert (code, answered["open files"]["state"]) == (0, "warning")


@pytest.mark.parametrize("way", ["shared", "private"])
def test_a_name_takes_as_many_mounts_as_doctor_says(way: str, tmp_path: Path) -> None:
    file = chain(tmp_path / "links.json")
    before = f"mount --make-{way} /run && mkdir /run/netns && mount --bind /run/netns /run/netns &&"
    _, empty = inside(before, file)
    batch = f"{before} {sys.executable} -m kokofast batch -q {file} &&"
    _, full = inside(batch, file)
    numbers = [
        int(answered["fs.mount-max"]["fact"].split(";")[1].split()[0].replace(",", "")) for answered in (empty, full)
    ]
    assert f"a run makes {numbers[1] - numbers[0]:,}, " in empty["fs.mount-max"]["fact"]


def test_without_rights_the_kernel_is_tried_in_a_sandbox() -> None:
    code, answered = inside(f"exec {WITHOUT_RIGHTS}")
    assert code == 1
    assert answered["CAP_NET_ADMIN"]["state"] == answered["CAP_SYS_ADMIN"]["state"] == "missing"
    assert answered["veth"]["state"] == answered["sandbox"]["state"] == "ok"
    code, answered = inside(f"exec {WITHOUT_RIGHTS}", "--sandbox")
    assert code == 0


def test_where_user_namespaces_are_forbidden() -> None:
    code, answered = inside(f"echo 0 > /proc/sys/user/max_user_namespaces && exec {WITHOUT_RIGHTS}", "--sandbox")
    assert (code, answered["sandbox"]["state"]) == (1, "missing")
    assert answered["sandbox"]["cure"] == "sysctl -w user.max_user_namespaces=15000"
    assert answered["kernel"]["fact"] == "not tested: it takes root, or a sandbox"


def test_where_no_process_can_be_started_the_kernel_is_tried_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    before = os.readlink("/proc/thread-self/ns/net")
    facts = examine(None)
    assert facts.sandbox.startswith("no process can be started: Resource temporarily unavailable")
    assert facts.kernel["veth"] == facts.untested == ""
    assert os.readlink("/proc/thread-self/ns/net") == before


def test_private_names_are_noticed() -> None:
    # A process 1 of our own: the machine's may be one that even root cannot look at, and then it is not known.
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--", "unshare", "--mount", "--", *DOCTOR]
    answered = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert findings_of(answered.stdout)["names in /run/netns"]["state"] == "warning"


def test_nothing_is_left(kokofast: RunKokofast) -> None:
    def seen() -> object:
        interfaces = sorted(os.listdir("/sys/class/net"))
        return os.listdir(NETNS_DIRECTORY), Path("/proc/self/mountinfo").read_text(), interfaces

    before = seen()
    assert kokofast("doctor").returncode == 0
    assert seen() == before
