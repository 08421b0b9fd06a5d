"""A watch on the real kernel: whatever others do to its links, they are as the file says again."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from kokofast.host.lock import LOCK_DIR
from tests.conftest import RunKokofast, addresses, ip, links
from tests.kernel.conftest import Lab, ping, state
from tests.watching import started, watching, within

pytestmark = pytest.mark.usefixtures("requires_root")
SOON = 100.0


@pytest.fixture
def pair(lab: Lab) -> tuple[str, str]:
    """A lab of two links between namespaces that are there."""
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:e0:10.0.0.1/24,2001:db8::1/64", f"{b}:e0:10.0.0.2/24"]}, [f"{a}:e1", f"{b}:e1"]])
    return a, b


def is_up(namespace: str, ifname: str) -> bool:
    found = links(namespace)
    return ifname in found and "UP" in found[ifname]["flags"]


@pytest.mark.parametrize(
    ("command", "change"),
    [
        ("link delete e0", None),  # seen as "set down", too: the kernel tells of that first, of the deletion later
        ("link set e0 down", "set down"),
        ("address delete 10.0.0.1/24 dev e0", "address removed"),
        ("address delete 2001:db8::1/64 dev e0", "address removed"),
        ("address flush dev e0", "address removed"),
    ],
)
def test_what_others_change_is_put_right(lab: Lab, pair: tuple[str, str], command: str, change: str | None) -> None:
    a, b = pair
    with watching(lab.file) as watch:
        ip(a, *command.split())
        if change:
            watch.until("changed", node=a, interface="e0", change=change)
        watch.until("done")
        within(SOON, lambda: is_up(a, "e0") and is_up(b, "e0"), "both ends are up")
        within(SOON, lambda: sorted(addresses(a, "e0")) == ["10.0.0.1/24", "2001:db8::1/64"], "the addresses are there")
        ping(a, "10.0.0.2")
    assert lab.batch()["status"] == "unchanged"


def test_what_others_do_beside_our_links_stays(lab: Lab, pair: tuple[str, str]) -> None:
    a, _ = pair
    with watching(lab.file) as watch:
        since = len(watch.lines)
        ip(a, "link", "add", "mine", "type", "veth", "peer", "name", "mine2")
        ip(a, "address", "add", "192.0.2.1/24", "dev", "e0")
        ip(a, "link", "delete", "mine")
        ip(a, "link", "set", "e1", "down")  # the first change that matters
        watch.until("done", since=since)
        assert [line["interface"] for line in watch.lines[since:] if line["event"] == "changed"] == ["e1"]
        assert "192.0.2.1/24" in addresses(a, "e0")


def test_namespaces_that_are_deleted_and_made(lab: Lab, pair: tuple[str, str]) -> None:
    a, b = pair
    with watching(lab.file) as watch:
        ip(None, "netns", "delete", b)
        watch.until("waiting", node=b)
        within(SOON, lambda: links(a) == {}, "the links are gone with it")
        since = len(watch.lines)
        ip(None, "netns", "add", b)
        watch.until("found", node=b, since=since)
        within(SOON, lambda: is_up(a, "e0") and is_up(a, "e1"), "the links are there")
        ping(a, "10.0.0.2")
        # And a new one at once in place of the old one.
        since = len(watch.lines)
        ip(None, "netns", "delete", b)
        ip(None, "netns", "add", b)
        watch.until("done", since=since, kind="link")
        within(SOON, lambda: set(links(b)) == {"e0", "e1"}, "the links are there")


def test_namespaces_of_the_lab_are_made_again(lab: Lab) -> None:
    first, second = lab.chain(1)
    with watching(lab.file, "--create") as watch:
        ip(None, "netns", "delete", second)
        watch.until("done", kind="namespace")
        within(SOON, lambda: links(first).keys() == {"eth1"} and is_up(second, "eth0"), "the link is there")


def test_the_file_is_edited(lab: Lab, pair: tuple[str, str]) -> None:
    a, b = pair
    with watching(lab.file) as watch:
        before = state(a, b)
        text = Path(lab.file).read_text()
        Path(lab.file).write_text(text.replace('"endpoints"', '"endpionts"'))
        assert "unknown key 'endpionts'" in " ".join(watch.until("file_refused")["errors"])
        assert state(a, b) == before
        # As editors write: a new file in place of the old one.
        new = Path(lab.file).with_suffix(".new")
        new.write_text(json.dumps({"name": lab.name, "links": [{"endpoints": [f"{a}:e0", f"{b}:e0"], "mtu": 1400}]}))
        new.rename(lab.file)
        watch.until("reloaded", links=1)
        within(SOON, lambda: links(a)["e0"]["mtu"] == 1400, "it has the new MTU")
        assert "e1" in links(a)
        assert "1 link of the lab is not in the file any more" in watch.until("note")["message"]


def test_an_edit_while_it_starts_is_not_missed(lab: Lab, pair: tuple[str, str]) -> None:
    a, b = pair
    edited = json.dumps({"name": lab.name, "links": [{"endpoints": [f"{a}:e0", f"{b}:e0"], "mtu": 1400}]})
    setup = f"""
from pathlib import Path
from kokofast.engine import keep
made = keep.Listener
def edit(*arguments):
    Path({str(lab.file)!r}).write_text({edited!r})
    return made(*arguments)
keep.Listener = edit
"""
    with watching(lab.file, setup=setup) as watch:
        assert watch.until("reloaded")["links"] == 1
        assert links(a)["e0"]["mtu"] == 1400


def test_what_left_the_file_is_pruned(lab: Lab, pair: tuple[str, str]) -> None:
    a, b = pair
    with watching(lab.file, "--prune"):
        lab.write([[f"{a}:e1", f"{b}:e1"]])
        within(SOON, lambda: set(links(a)) == {"e1"}, "the other link is gone")


def test_a_hangup_has_the_file_read_again(lab: Lab, pair: tuple[str, str], tmp_path: Path) -> None:
    a, b = pair
    (tmp_path / "there").mkdir()
    link = tmp_path / "there" / "links.json"  # inotify sees the directory of the link only
    link.symlink_to(lab.file)
    with watching(link) as watch:
        lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"], "mtu": 1400}])
        watch.process.send_signal(signal.SIGHUP)
        watch.until("reloaded")
        within(SOON, lambda: links(a)["e0"]["mtu"] == 1400, "it has the new MTU")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_links_stay_when_it_ends(lab: Lab, pair: tuple[str, str], number: int) -> None:
    with watching(lab.file) as watch:
        before = state(*pair)
        assert watch.end(number) == 0
        assert watch.lines[-1]["event"] == "ended"
    assert state(*pair) == before
    assert f"{lab.name}.watch" not in os.listdir(LOCK_DIR)


def test_what_is_destroyed_by_hand_stays_destroyed(lab: Lab, pair: tuple[str, str]) -> None:
    with watching(lab.file) as watch:
        assert lab.destroy()["links"]["removed"] == 2
        watch.until("destroyed")
        assert watch.process.wait(SOON) == 0
    assert links(pair[0]) == {}


def test_a_lab_has_one_watch(lab: Lab, pair: tuple[str, str], kokofast: RunKokofast) -> None:
    with watching(lab.file):
        done = kokofast("watch", lab.file)
        assert done.returncode == 1
        assert f"another watch keeps the lab {lab.name}" in done.stderr
    with started(lab.file) as second:
        second.until("watching")
        second.process.kill()  # leaves its file, without a lock
    with watching(lab.file):
        pass


def test_a_batch_beside_it(lab: Lab, pair: tuple[str, str]) -> None:
    a, b = pair
    with watching(lab.file) as watch:
        for _ in range(3):
            assert lab.batch()["status"] == "unchanged"
        lab.write([[f"{a}:e1", f"{b}:e1"], [f"{a}:e2", f"{b}:e2"]])
        lab.batch()  # as the watch is about to do
        within(SOON, lambda: "e2" in links(a), "the new link is there")
        watch.until("reloaded")
        ip(a, "link", "delete", "e2")
        watch.until("changed", interface="e2")
        within(SOON, lambda: "e2" in links(a), "the new link is there again")


def test_a_stranger_that_fights(lab: Lab, pair: tuple[str, str]) -> None:
    a, _ = pair
    with watching(lab.file) as watch:
        for _ in range(20):
            since = len(watch.lines)
            ip(a, "link", "delete", "e0")
            watch.until("applied", since=since)
            if watch.of("left_alone"):
                break
        assert watch.of("left_alone")[0]["seconds"] == 10
        ip(a, "link", "delete", "e0")
        ip(a, "link", "delete", "e1")
        within(SOON, lambda: "e1" in links(a), "the other link is kept")
        assert "e0" not in links(a)


def test_processes(lab: Lab) -> None:
    import subprocess

    b = lab.node("b")
    sleeper = subprocess.Popen(["unshare", "--net", "sleep", "100"])
    try:
        lab.write([{"endpoints": ["a:e0", f"{b}:e0"]}], nodes={"a": {"pid": sleeper.pid}})
        within(
            SOON,
            lambda: os.stat(f"/proc/{sleeper.pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino,
            "it has its namespace",
        )
        with watching(lab.file) as watch:
            assert "e0" in links(b)
            sleeper.kill()
            sleeper.wait()
            assert "has ended" in watch.until("waiting", node="a")["message"]
            within(SOON, lambda: links(b) == {}, "the link is gone with its namespace")
    finally:
        sleeper.kill()
        sleeper.wait()


def test_routes_of_nodes(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    nodes = {"x": {"netns": a, "addresses": ["10.9.0.1/32"], "routes": [{"to": "10.8.0.0/16", "via": "10.0.0.2"}]}}
    lab.write([["x:e0:10.0.0.1/24", f"{b}:e0:10.0.0.2/24"]], nodes=nodes)

    def is_whole() -> bool:
        return "10.8.0.0/16" in ip(a, "route") and "10.9.0.1/32" in addresses(a, "lo")

    with watching(lab.file):
        assert is_whole()
        ip(a, "route", "delete", "10.8.0.0/16")
        within(SOON, is_whole, "the route is there")
        ip(a, "address", "delete", "10.9.0.1/32", "dev", "lo")
        within(SOON, is_whole, "the address is there")
        ip(a, "link", "set", "e0", "down")  # takes the routes along, without a notification
        within(SOON, is_whole, "the route is there")


def test_a_bridge_and_impairments(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write(
        [
            {"type": "bridge", "endpoint": f"{a}:br0"},
            {
                "endpoints": [{"node": a, "interface": "e0", "master": "br0"}, {"node": b, "interface": "e0"}],
                "rate": "5mbit",
            },
        ]
    )
    from tests.conftest import run

    def is_whole() -> bool:
        shown = run(["tc", "-n", a, "qdisc", "show", "dev", "e0"]).stdout
        return "tbf" in shown and links(a)["e0"].get("master") == "br0"

    with watching(lab.file):
        assert is_whole()
        run(["tc", "-n", a, "qdisc", "del", "dev", "e0", "root"])
        within(SOON, is_whole, "the qdisc is there")
        ip(a, "link", "set", "e0", "nomaster")
        within(SOON, is_whole, "it is a port again")
        ip(a, "link", "delete", "br0")
        within(SOON, lambda: "br0" in links(a) and is_whole(), "the bridge is there")


def test_once(lab: Lab, kokofast: RunKokofast) -> None:
    a, b = lab.node("a"), lab.new("b")
    lab.write([[f"{a}:e0", f"{b}:e0"]])
    done = kokofast("watch", lab.file, "--once", "--format", "json")
    assert done.returncode == 3
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["waiting", "watching"]
    with started(lab.file, "--once", "--wait", "100") as watch:
        watch.until("waiting")
        ip(None, "netns", "add", b)
        assert watch.process.wait(SOON) == 0
    assert "e0" in links(a)
    assert kokofast("watch", lab.file, "--once").returncode == 0
    assert kokofast("watch", lab.file, "--wait", "5").returncode == 2
