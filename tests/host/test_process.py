"""What concerns the whole process: limits, capabilities, the sandbox. Each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from kokofast.host.limits import RESERVED, missing_capabilities
from tests import ROOT
from tests.conftest import BECOME_NOBODY, namespaces


def run(script: str) -> Any:
    """What the script prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


LIMITS = """
import json, resource
resource.setrlimit(resource.RLIMIT_NOFILE, {limits})
from kokofast.host.limits import raise_open_files
print(json.dumps([raise_open_files(), *resource.getrlimit(resource.RLIMIT_NOFILE)]))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "budget"),
    [(100, 300, 300 - RESERVED), (300, 300, 300 - RESERVED), (64, 64, 16), (70, 70, 16), (90, 90, 26)],
)
def test_the_limit_on_open_files_is_raised_to_the_hard_one(soft: int, hard: int, budget: int) -> None:
    assert run(LIMITS.format(limits=(soft, hard))) == [budget, hard, hard]


def test_root_lacks_nothing(requires_root: None) -> None:
    assert missing_capabilities() == []


def test_an_ordinary_user_lacks_both(requires_root: None) -> None:
    script = (
        "import json; from kokofast.host.limits import missing_capabilities; print(json.dumps(missing_capabilities()))"
    )
    assert run(BECOME_NOBODY + script) == ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]


SANDBOX = """
import json, os
before = os.readlink("/proc/self/ns/net")
from kokofast.host.sandbox import enter
enter()
from kokofast.host.kernel import Handle, LinuxKernel
from kokofast.host.limits import missing_capabilities
from kokofast.host.namespaces import list_named
from kokofast.wire.link import RTM_GETLINK, RTM_NEWLINK
from kokofast.wire.message import Request
kernel = LinuxKernel(budget=64)
found = list(list_named())
handles = kernel.make([("one", "kokofast:lab:namespace"), ("two", "kokofast:lab:namespace")])
one, two = handles
with kernel.using(handles):
    peer = {"ifname": "e1", "net_ns_fd": two.fd}
    attributes = {"ifname": "e1", "net_ns_fd": one.fd, "linkinfo": {"kind": "veth", "data": {"peer": peer}}}
    answers = kernel.send(kernel.scratch(), [Request(RTM_NEWLINK, {}, attributes, 0x600)])
    dumps = [kernel.dump(handle, Request(RTM_GETLINK, {})) for handle in handles]
(own,) = kernel.open_all(["/proc/self/ns/net"])
with kernel.using([own]):
    lo = [message for message in kernel.dump(own, Request(RTM_GETLINK, {})) if message.header["index"] == 1]
kernel.remove("one", one.identity)
print(json.dumps({
    "moved": os.readlink("/proc/self/ns/net") != before,
    "found": found,
    "refusals": [str(item) for item in answers if item],
    "joined": ["e1" in [message.attributes["ifname"] for message in messages] for messages in dumps],
    "lo is up": bool(lo[0].header["flags"] & 1),
    "left": list(list_named()),
    "lacks": missing_capabilities(),
    "uid": os.geteuid(),
}))
"""
ENTERED = {
    "moved": True,
    "found": [],
    "refusals": [],
    "joined": [True, True],
    "lo is up": True,
    "left": ["two"],
    "lacks": [],
    "uid": 0,
}


def test_root_enters_a_sandbox(requires_root: None) -> None:
    before = namespaces()
    assert run(SANDBOX) == ENTERED
    assert not {"one", "two"} & (namespaces() - before)


def user_namespaces_are_forbidden() -> bool:
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    probe = [*nobody, "unshare", "--user", "--map-root-user", "--net", "--mount", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode != 0


def test_an_ordinary_user_enters_a_sandbox(requires_root: None) -> None:
    if user_namespaces_are_forbidden():
        pytest.skip("this system forbids user namespaces to ordinary users")
    before = namespaces()
    assert run(BECOME_NOBODY + SANDBOX) == ENTERED
    assert not {"one", "two"} & (namespaces() - before)


def test_where_there_can_be_no_sandbox_it_says_what_helps(requires_root: None) -> None:
    script = """
import errno, json
from kokofast.host import libc, sandbox
def refuse(flags):
    raise PermissionError(errno.EPERM, "Operation not permitted")
libc.unshare = refuse
try:
    sandbox.enter()
except sandbox.SandboxError as error:
    print(json.dumps(str(error)))
"""
    assert "user.max_user_namespaces" in run(BECOME_NOBODY + script)
    assert "user.max_user_namespaces" not in run(script)
