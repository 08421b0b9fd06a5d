"""A limit that bites is named, with what raises it; provoked for real in the test's own namespaces, mounts excepted."""

from __future__ import annotations

import _thread
import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from kokofast.host.limits import explained, neighbours
from kokofast.host.namespaces import enter_new_namespace
from kokofast.host.threads import in_own_thread, no_thread
from tests import ROOT

pytestmark = pytest.mark.usefixtures("requires_root")


def batch(tmp_path: Path, before: str, *prefix: str, links: int = 20) -> dict[str, object]:
    """What batch says in a user and mount namespace of its own, where ``before`` was run first."""
    file = tmp_path / "links.json"
    file.write_text(json.dumps([{"endpoints": [f"r{i}:eth1", f"r{i + 1}:eth0"]} for i in range(links)]))
    command = [*prefix, sys.executable, "-m", "kokofast", "batch", str(file), "--create", "--format", "json"]
    script = f'mount -t tmpfs none /run && {before} && "$@"; code=$?; ls /run/netns >&2; exit $code'
    done = subprocess.run(
        ["unshare", "-Urmn", "sh", "-c", script, "sh", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "r0" not in done.stderr.split(), "all is taken back"
    found = json.loads(done.stdout)
    assert found["status"] == "rolled_back"
    return dict(found["errors"][0])


def test_the_limit_on_network_namespaces(tmp_path: Path) -> None:
    error = batch(tmp_path, "echo 5 > /proc/sys/user/max_net_namespaces")
    assert error["errno"] == errno.ENOSPC
    message = str(error["message"])
    assert "the limit on network namespaces of a user is 5" in message
    assert "sysctl -w user.max_net_namespaces=" in message


def test_the_limit_on_open_files(tmp_path: Path) -> None:
    error = batch(tmp_path, "true", "prlimit", "--nofile=16:16")
    assert error["errno"] == errno.EMFILE
    assert "the limit on open files is 16; raise it" in str(error["message"])


def test_the_limit_on_mounts() -> None:
    limit = Path("/proc/sys/fs/mount-max").read_text().strip()
    assert explained(OSError(errno.ENOSPC, "x"), "mount").strerror == (
        f"No space left on device: the limit on mounts of a mount namespace is {limit}; "
        "raise it: sysctl -w fs.mount-max=NUMBER"
    )


@pytest.mark.parametrize(("call", "code"), [("mount", errno.EPERM), ("link", errno.ENOSPC), ("unshare", errno.ENOMEM)])
def test_what_is_no_limit_is_left_as_it_is(call: str, code: int) -> None:
    error = OSError(code, "as it was")
    assert explained(error, call) is error


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_the_limit_on_neighbours_shows_in_the_first_namespace_only(family: str) -> None:
    name = f"net.{family}.neigh.default.gc_thresh3"
    file = Path("/proc/sys", *name.split("."))
    assert neighbours(family) == ((name, int(file.read_text())) if file.exists() else None)

    def elsewhere() -> tuple[str, int] | None:
        enter_new_namespace()
        return neighbours(family)

    assert in_own_thread(elsewhere) is None


def test_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    with pytest.raises(OSError, match=r"pids\.max") as caught:
        in_own_thread(lambda: None)
    assert caught.value.errno == errno.EAGAIN


HEAPS = """
import _thread, re
from kokofast import __main__
__main__._prepare_threads()

def size():
    return int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10

def allocate():
    blocks = [bytes(2000) for _ in range(100)]  # beyond what Python's own allocator serves
    sizes.append(size())
    done.release()

sizes, done = [size()], _thread.allocate_lock()
done.acquire()
_thread.start_new_thread(allocate, ())
done.acquire()
print(sizes[1] - sizes[0])
"""


def test_threads_share_a_heap_where_the_address_space_is_limited() -> None:
    """Of its own glibc gives a thread 64 MiB, of which an import that was checked to fit may lack the rest."""
    limited = ["prlimit", f"--as={400 << 20}", sys.executable, "-c", HEAPS]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) < 16 << 20


def test_a_heap_that_cannot_be_shared_ends_nothing() -> None:
    """The import of what shares it may find no memory. What needs it later reports that."""
    code = "import sys; sys.modules['kokofast.host.libc'] = None; from kokofast import __main__"
    limited = ["prlimit", f"--as={400 << 20}", sys.executable, "-c", f"{code}; __main__._prepare_threads()"]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_memory_for_a_thread_is_not_taken_for_too_many_threads() -> None:
    script = """
import resource
from kokofast.host.threads import BackgroundThread
from kokofast.host.limits import no_room
assert no_room(1 << 20) is None
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20),) * 2)
try:
    BackgroundThread(lambda: None)
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert "no memory for one more thread: the limit on address space (ulimit -v) is" in done.stdout


def test_another_defect_is_not_taken_for_a_limit() -> None:
    with pytest.raises(RuntimeError, match="something else"):
        no_thread(RuntimeError("something else"))
