"""A watch among faults: floods of notifications, kills, tenants."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import ip, ip_batch, links
from tests.faults.counts import COUNTS
from tests.kernel.conftest import Lab
from tests.watching import started, watching, within

pytestmark = pytest.mark.usefixtures("requires_root")
SOON = 100.0


def test_more_notifications_than_can_be_read(lab: Lab) -> None:
    a, b = lab.bundle(20)
    with watching(lab.file, setup="import kokofast.host.listener as home; home.BUFFER = 1 << 13") as watch:
        # While it stands still its buffer overflows, and nobody hears of what happens then.
        watch.process.send_signal(signal.SIGSTOP)
        ip_batch(a, *(f"link set e{i} mtu 140{i % 10}" for i in range(20) for _ in range(10)))
        ip(a, "link", "delete", "e7")
        watch.process.send_signal(signal.SIGCONT)
        watch.until("overrun")
        within(SOON, lambda: len(links(a)) == len(links(b)) == 20, "the link is there")
    assert lab.batch()["status"] == "unchanged"
    COUNTS["floods of notifications"] += 1


def test_a_watch_that_is_killed_leaves_nothing_that_destroy_does_not_find(
    lab: Lab, request: pytest.FixtureRequest
) -> None:
    rounds = 100 if request.config.getoption("long") else 6
    a, b = lab.bundle(40)
    chance = random.Random(1)
    for number in range(rounds):
        with started(lab.file) as watch:
            if number % 2:
                watch.until("watching")
                ip_batch(a, *(f"link delete e{i}" for i in range(20)))
                time.sleep(chance.uniform(0, 0.2))
            else:
                time.sleep(chance.uniform(0.5, 1.2))
            watch.process.kill()
            watch.process.wait()
            if number % 3 == 0:
                lab.batch()
                assert len(links(a)) == len(links(b)) == 40
            lab.destroy()
            assert links(a) == links(b) == {}
        COUNTS["kills of a watch"] += 1


def test_a_tenant_that_changes_its_links_without_end(lab: Lab, tmp_path: Path) -> None:
    tenant, b, c = lab.node("tenant"), lab.node("b"), lab.node("c")
    lab.write([[f"{tenant}:e0", f"{b}:e0"], [f"{b}:e1", f"{c}:e1"]])
    script = tmp_path / "flood"
    script.write_text(
        "address add 192.0.2.1/24 dev e0\naddress delete 192.0.2.1/24 dev e0\nlink set e0 mtu 1400\n" * 100_000
    )
    with watching(lab.file) as watch:
        flood = subprocess.Popen(["ip", "-n", tenant, "-force", "-batch", str(script)], stderr=subprocess.DEVNULL)
        try:
            for _ in range(3):
                since = len(watch.lines)
                ip(b, "link", "delete", "e1")
                watch.until("done", since=since, kind="link")
                within(SOON, lambda: "e1" in links(c), "another link is kept meanwhile")
            assert flood.poll() is None
        finally:
            flood.kill()
            flood.wait()
        assert len(watch.lines) < 100
    COUNTS["tenants that flood"] += 1


def test_standard_output_that_nobody_reads_any_more(lab: Lab) -> None:
    a, _ = lab.bundle(1)
    command = ["sh", "-c", f"{_command(lab)} | head -n 1"]
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.stdout is not None
    assert json.loads(done.stdout.readline())["event"] == "applied"
    ip(a, "link", "delete", "e0")
    _, complaints = done.communicate(timeout=SOON)
    assert complaints == ""


def _command(lab: Lab) -> str:
    import shlex
    import sys

    return shlex.join([sys.executable, "-m", "kokofast", "watch", lab.file, "--format", "json"])
