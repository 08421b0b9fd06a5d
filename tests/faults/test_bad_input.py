"""Input as attack: files, names and answers made to crash, to hang, to fill the memory, or to talk to the terminal.

Every refusal is an exit code and a sentence: no traceback, nothing touched, and no character that a terminal acts on.
"""

# ruff: noqa: E501 - a table row is one line, so that a file and its name are read together

from __future__ import annotations

import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kokofast.cli.main import run as run_in_process
from kokofast.topology import FORMATS
from kokofast.topology.document import LINKS_MAX
from kokofast.topology.loader import FILE_BYTES_MAX
from kokofast.wire import attributes, decode
from tests import golden
from tests.conftest import NETNS_DIRECTORY, NamespaceFactory, ip, ip_json, links, namespaces
from tests.fuzz import topology as topology_target
from tests.fuzz import wire as wire_target
from tests.fuzz.test_targets import mutated, run_noted
from tests.kernel.conftest import COMMAND, Lab, until

MIB = 1 << 20
# What may be on a screen besides text: nothing. So C0, C1, DEL, ESC, and what turns the direction of text around.
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
EVIL = "\x1b[31m\x1b]0;title\x07\x9b2J\x7f\r\u202e\u2066\u2028\ufeff"
# What a kernel name may hold of it: no white space.
EVIL_IFNAME = b"e\x1b[2J\x9b\xe2\x80\xae\x07"


def check_screen(*texts: str) -> None:
    """No character that a terminal acts on, but the end of a line."""
    for text in texts:
        bad = {char for char in text if char != "\n" and (not char.isprintable() or char in BIDI)}
        assert not bad, (bad, text[:400])
        assert "Traceback" not in text, text


def refused(done: subprocess.CompletedProcess[str], code: int = 2) -> subprocess.CompletedProcess[str]:
    """The command ended with this code and a sentence."""
    assert done.returncode == code, (done.returncode, done.stderr[:1000])
    assert done.stderr
    check_screen(done.stdout, done.stderr)
    return done


class Limited:
    """Runs the command with so much address space, in bytes, that a gigabyte more than it should need is refused."""

    def __init__(self, counts: Counter[str]) -> None:
        self.counts = counts

    def __call__(
        self, *arguments: str, memory: int = 512 * MIB, timeout: float = 60, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        self.counts["bad inputs"] += 1
        return subprocess.run(
            # Not by preexec_fn: that forks, and gRPC, which other tests have running here, does not survive it.
            ["prlimit", f"--as={memory}", "--", *COMMAND, *arguments],
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            check=False,
            **{"stdin": subprocess.DEVNULL, **options},
        )


@pytest.fixture
def limited(counts: Counter[str]) -> Limited:
    return Limited(counts)


@pytest.fixture
def chance(counts: Counter[str]) -> random.Random:
    seed = int(os.environ.get("KOKOFAST_SEED") or random.randrange(1 << 32))
    print(f"KOKOFAST_SEED={seed}")
    return random.Random(seed)


def in_process(capfd: pytest.CaptureFixture[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command without the half second that a process takes."""
    try:
        code = run_in_process(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    output, errors = capfd.readouterr()
    return subprocess.CompletedProcess(arguments, code, output, errors)


# Names

BAD_NAMES = {
    "escapes": EVIL,
    "one of each": "".join(map(chr, [*range(1, 32), *range(127, 160)])) + BIDI,
    "256 bytes": "x" * 256,
    "85 characters of 3 bytes and one": "\u4e2d" * 85 + "x",
    "not UTF-8": "\udcff\udcfe",
    "half a pair": "\ud800",
    "up": "../../etc/passwd",
    "up in the middle": "a/../b",
    "dot": ".",
    "dots": "..",
    "absolute": "/run/netns/x",
    "blank": "",
    "new line": "a\nkokofast: all is well",
    "carriage return": "a\rkokofast",
    "template": "eth%d",
    "quote": "'; rm -rf '",
}


def places_of(name: str) -> Iterator[dict[str, Any]]:
    """Files with the name wherever a name can stand."""
    good = {"endpoints": ["a:x", "b:x"]}
    end = {"node": "a", "interface": "x"}
    yield {"name": name, "links": [good], "nodes": {"a": {"docker": name}}}
    yield {"links": [{"endpoints": [{"node": name, "interface": "x"}, {"node": "b", "interface": name}]}]}
    yield {"links": [{"endpoints": [f"{name}:x", f"b:{name}"]}, good | {"mtu": name, "type": name}]}
    yield {"links": [good | {name: 1}], "defaults": {name: 1}, name: 1}
    for kind in ("netns", "path", "docker", "podman", "cri", "pid"):
        yield {"nodes": {"a": {kind: name}, name: {"host": 5, name: name}}, "links": [good]}
    yield {"nodes": {"a": {"docker": "x", "socket": name}}, "links": [good]}
    yield {"links": [{"endpoints": [end | {"addresses": [name], "mac": name, "mirror": {"from": name}}, "b:x"]}]}
    kinds: list[tuple[str, dict[str, object]]] = [
        ("vxlan", {"remote": name, "vni": name}),
        ("macvlan", {"mode": name}),
        ("vlan", {"id": 5, "protocol": name}),
    ]
    yield {"links": [{"type": kind, "endpoint": "a:v", "parent": name} | more for kind, more in kinds]}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=list(BAD_NAMES))
def test_names_in_a_file(capfd: pytest.CaptureFixture[str], tmp_path: Path, counts: Counter[str], name: str) -> None:
    # What can be a namespace's name is refused only by the kernel, or not at all: then it must be printable.
    file = tmp_path / "links.json"
    for tree in places_of(name):
        counts["bad inputs"] += 1
        file.write_text(json.dumps(tree))
        done = in_process(capfd, "validate", str(file))
        check_screen(done.stdout, done.stderr)
        assert (done.returncode == 2) == bool(done.stderr)
        if done.returncode:
            answer = in_process(capfd, "batch", str(file), "--sandbox", "--dry-run", "--format", "json")
            check_screen(answer.stderr)
            assert json.loads(answer.stdout)["errors"]


WALKER = ["generate", "walker", "--planes", "2", "--satellites", "3", "--altitude", "780", "--inclination", "86.4"]


@pytest.mark.parametrize("name", [name for name in BAD_NAMES.values() if "\ud800" not in name], ids=repr)
def test_names_on_the_command_line(capfd: pytest.CaptureFixture[str], counts: Counter[str], name: str) -> None:
    commands = [
        *(
            ["batch", name],
            ["batch", "/missing", name],
            ["batch", "/dev/null", "--name", name],
            ["batch", "--jobs", name],
        ),
        *(["destroy", name], ["destroy", "--name", name], ["inspect", name], ["validate", name], [f"x{name}"]),
        *(["generate", "chain", "--links", name], ["generate", "chain", "--links", "1", "--subnet", name]),
        *([*WALKER, "--ground", name], [*WALKER, "--ground", f"{name}:91:0"], [*WALKER, "--rate", name]),
        *([*WALKER, "--altitude", name], [*WALKER, "--phasing", name]),
        *(
            ["batch", "--format", name],
            ["batch", "--runtime-timeout", name],
            ["schema", name],
            ["validate", f"--{name}"],
        ),
    ]
    for command in commands:
        if command in (["validate", "--"], ["schema", ""]):
            continue
        counts["bad inputs"] += 1
        done = refused(in_process(capfd, *command), 2)
        assert done.stdout == ""


@pytest.mark.usefixtures("requires_root")
@pytest.mark.parametrize("name", [EVIL, "../../etc/passwd", "", "x" * 256, "\udcff", "a\nb"], ids=repr)
def test_names_in_kokos_grammar(limited: Limited, netns: NamespaceFactory, name: str) -> None:
    space = netns()
    before = ip(space, "-d", "link", "show")
    for command in (
        ["-n", f"{name},e0", "-n", f"{space},e1"],
        ["-n", f"{space},{name}", "-n", f"{space},e1"],
        ["-N", f"{space},{name}"],
        ["-p", f"{name},e0", "-c", "e1"],
        ["-a", f"{name},e0", "-n", f"{space},e1"],
    ):
        refused(limited(*command))
    assert ip(space, "-d", "link", "show") == before


# What the kernel holds of somebody else's making


@pytest.mark.usefixtures("requires_root")
@pytest.mark.parametrize("form", ["table", "json"])
def test_names_of_strangers_in_the_kernel(lab: Lab, counts: Counter[str], limited: Limited, form: str) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}, {"endpoints": [f"{a}:e1", f"{b}:e1"]}])
    lab.batch()
    # Ours with another name, a copy of our alias with more behind it, and names of namespaces that ip would refuse.
    group = str(int(ip_json(a, "link", "show", "dev", "e1")[0]["group"]))
    ip(a, "link", "set", "e0", "down")
    stranger = b"s\x1b[31m\x9b\xff"
    evil = NETNS_DIRECTORY / lab.new(f"\x1b[2J\u202e-{form}")
    subprocess.run(["ip", "-n", a, "link", "set", "e0", "name", EVIL_IFNAME], check=True)
    subprocess.run(
        ["ip", "-n", a, "link", "add", "name", stranger, "group", group, "type", "veth", "peer", "name", "sp"],
        check=True,
    )
    alias = f"kokofast:{lab.name}:{EVIL}".encode().replace(b"\x00", b"")
    subprocess.run(["ip", "-n", a, "link", "set", "dev", stranger, "alias", alias], check=True)
    evil.symlink_to(NETNS_DIRECTORY / a)
    try:
        counts["bad inputs"] += 3
        commands = [["inspect", lab.name], ["inspect"], ["batch", lab.file], ["batch", lab.file, "--dry-run"]]
        for command in commands:
            done = limited(*command, "--format", form, memory=2048 * MIB)
            check_screen(done.stdout, done.stderr)
            if form == "json":
                json.loads(done.stdout)
        shown = limited("inspect", lab.name, "--format", form, memory=2048 * MIB)
        assert shown.returncode == 0, shown.stderr
        assert "[2J" in shown.stdout  # it is there, made harmless
        done = limited("destroy", "--name", lab.name, "--format", form, memory=2048 * MIB)
        check_screen(done.stdout, done.stderr)
        assert links(b) == {}
        counts["left over"] += len(links(b))
    finally:
        evil.unlink()


@pytest.mark.usefixtures("requires_root")
def test_odd_things_among_the_named_namespaces(lab: Lab, limited: Limited, counts: Counter[str]) -> None:
    lab.chain(1)
    lab.batch("--create")
    ours = sorted(name for name in namespaces() if name in lab.netns._names)
    names = [
        Path(NETNS_DIRECTORY, lab.new(suffix))
        for suffix in ("a", "fifo", "zero", "dir", "loop", "file", "gone", "in", "sock")
    ]
    link, fifo, zero, folder, loop, file, gone, inside, sock = names
    raw = os.fsencode(NETNS_DIRECTORY) + b"/" + os.fsencode(lab.new("raw")) + b"\xff\x1b[31m"
    made: list[str | bytes] = [*map(str, names), raw]
    first = f"{NETNS_DIRECTORY}/!{lab.name}"  # before every other name
    try:
        os.symlink(NETNS_DIRECTORY / ours[0], first)
        link.symlink_to(NETNS_DIRECTORY / ours[1])
        os.mkfifo(fifo)
        zero.symlink_to("/dev/zero")
        folder.mkdir()
        loop.symlink_to(loop)
        file.write_text("kokofast:some-lab:namespace but not quite")
        gone.symlink_to("/proc/1/fd/100000")
        inside.symlink_to("/etc/passwd/x")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(sock))
        os.close(os.open(raw, os.O_CREAT | os.O_WRONLY))
        before = {odd: os.lstat(odd).st_ino for odd in made}
        for command in (["inspect"], ["inspect", lab.name], ["batch", lab.file]):
            done = limited(*command, memory=2048 * MIB)
            assert done.returncode == 0, done.stderr
            check_screen(done.stdout, done.stderr)
        found = lab.destroy()
        assert (found["status"], found["namespaces"]) == ("destroyed", {"removed": 2, "failed": 0})
        counts["left over"] += len(namespaces() & set(ours))
        assert not namespaces() & set(ours)
        # None of it was ours.
        counts["strangers compared"] += len(made)
        assert {odd: os.lstat(odd).st_ino for odd in made} == before
        assert os.readlink(first) == str(NETNS_DIRECTORY / ours[0])
        # Each of them as the node of a link, by name and by path: a sentence, and no waiting.
        ends = [[f"{path.name}:e0", f"p{number}:e1"] for number, path in enumerate(names)]
        nodes = {f"p{number}": {"path": str(path)} for number, path in enumerate(names)}
        lab.write([{"endpoints": pair} for pair in ends], nodes=nodes)
        done = refused(limited("batch", lab.file, "--format", "json", memory=2048 * MIB))
        assert len(json.loads(done.stdout)["errors"]) == 2 * len(names)
    finally:
        for odd in made:
            if odd == str(folder):
                folder.rmdir()
            elif os.path.lexists(odd):
                os.unlink(odd)
        os.unlink(first)


@pytest.mark.usefixtures("requires_root")
def test_a_second_name_of_our_namespace(lab: Lab, counts: Counter[str]) -> None:
    """Mounted by somebody else, before and after ours in the alphabet: the links must not live on under it."""
    theirs = lab.node("theirs")
    lab.chain(2)
    lab.batch("--create")
    ours = sorted(name for name in namespaces() if name in lab.netns._names and name != theirs)
    mounts = {f"!{lab.name}": ours[0], f"~{lab.name}": ours[1], f"!!{lab.name}": theirs}
    try:
        for name, of in mounts.items():
            counts["strangers compared"] += 1
            (NETNS_DIRECTORY / name).touch()
            subprocess.run(["mount", "--bind", NETNS_DIRECTORY / of, NETNS_DIRECTORY / name], check=True)
        found = lab.destroy()
        assert (found["status"], found["namespaces"]) == ("destroyed", {"removed": 3, "failed": 0})
        left = namespaces() & {*ours, *mounts}
        counts["left over"] += len(left - {f"!!{lab.name}"})
        assert left == {f"!!{lab.name}"}  # theirs, by both its names
        assert ip_json(f"!!{lab.name}", "link", "show")
        assert lab.destroy()["status"] == "unchanged"
    finally:
        for name in mounts:
            if name in namespaces():
                subprocess.run(["umount", NETNS_DIRECTORY / name], check=False)
                (NETNS_DIRECTORY / name).unlink()


@pytest.mark.usefixtures("requires_root")
def test_names_as_long_as_they_may_be(lab: Lab) -> None:
    """255 bytes each, longer than the alias that is to hold both."""
    prefix = lab.new("")
    names = [f"{prefix}{letter * 85}"[:84] for letter in "\u4e2d\u6587"]
    names = [name + "x" * (255 - len(name.encode())) for name in names]
    lab.netns._names += names
    lab.write([{"endpoints": [{"node": name, "interface": "e" * 15} for name in names]}])
    assert lab.batch("--create")["namespaces"] == {"created": 2}
    assert lab.batch("--create")["status"] == "unchanged"
    (link,) = lab.inspect()
    assert {end["node"] for end in link["endpoints"]} == set(names)
    assert lab.destroy()["namespaces"] == {"removed": 2, "failed": 0}


@pytest.mark.usefixtures("requires_root")
def test_paths_that_are_no_namespaces(limited: Limited, lab: Lab) -> None:
    paths = [
        "/run/netns/../../etc/passwd",
        "/proc/self/ns/mnt",
        "/proc/self/ns/../ns/user",
        "/dev/zero",
        "/dev/tty",
        "/",
        "/proc/self/fd/0",
        "/proc/1/root/dev/null",
        "//run//netns//",
        "/" + "a" * 255 + "/" + "b" * 255,
    ]
    ends = [{"endpoints": [f"p{number}:e0", f"p{number}:e1"]} for number in range(len(paths))]
    lab.write(ends, nodes={f"p{number}": {"path": path} for number, path in enumerate(paths)})
    done = refused(limited("batch", lab.file, "--create", "--format", "json", memory=2048 * MIB))
    sources = [error["source"] for error in json.loads(done.stdout)["errors"]]
    assert sources == [f"$.nodes.p{number}" for number in range(len(paths))]


def test_a_daemon_that_talks_to_the_terminal(tmp_path: Path, limited: Limited, requires_root: None) -> None:
    path = str(tmp_path / "docker.sock")
    body = json.dumps({"message": EVIL, "ApiVersion": EVIL}).encode()
    reply = b"HTTP/1.1 404 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
    replies = [
        reply % (b"Not Found", len(body), body),
        reply % (b"\x1b[31mNo", 5, b"\x1b[31m"),
        b"\x1b[31m\x9b\n" * 9,
        b"",
    ]

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        stopped = threading.Event()
        current = replies[0]

        def serve() -> None:
            while not stopped.is_set():
                client, _ = server.accept()
                with client:
                    if not stopped.is_set():
                        client.recv(65536)
                        client.sendall(current)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            file = tmp_path / "l.json"
            nodes = {"a": {"docker": "web", "socket": path}}
            file.write_text(json.dumps({"nodes": nodes, "links": [{"endpoints": ["a:e0", "b:e0"]}]}))
            for current in replies:  # noqa: B007 - the server answers with it
                done = refused(limited("batch", str(file), "--format", "json", memory=4096 * MIB))
                assert json.loads(done.stdout)["errors"]
        finally:
            stopped.set()
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(path)
            thread.join()


# Files

LINK = '{"endpoints": ["a:x", "b:x"]}'
ROW = "a_node,a_if,b_node,b_if\n"
BAD_FILES: dict[str, tuple[str, bytes]] = {
    "deep JSON lists": ("json", b"[" * 1_000_000),
    "deep JSON objects": ("json", b'{"links":' * 300_000),
    "deep JSON in a line": ("jsonl", b'{"endpoints":' * 300_000),
    "deep YAML lists": ("yaml", b"[" * 1_000_000),
    "deep YAML mappings": ("yaml", b"{a: " * 300_000),
    "deep YAML block": ("yaml", b"- " * 300_000),
    "deep YAML keys": ("yaml", b"? " * 300_000),
    "YAML bomb": ("yaml", b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(b"%c: &%c [%s]\n" % (n + 1, n + 1, b",".join([b"*%c" % n] * 9)) for n in range(97, 120))),
    "YAML that is itself": ("yaml", b"&a [*a]"),
    "YAML merge": ("yaml", b"a: &a {b: 1}\nlinks: [{<<: *a}]"),
    "YAML that would run": ("yaml", b"!!python/object/apply:os.system ['false']"),
    "YAML tags": ("yaml", b"links: [!!binary aGk=, !<tag:x> y]"),
    "YAML anchors": ("yaml", b"&a " * 300_000),
    "YAML directives": ("yaml", b"%YAML 9.9\n" * 10 + b"---\nlinks: []"),
    "YAML long key": ("yaml", b"x" * 1_000_000 + b": 1"),
    "keys given twice": ("json", b'{"links": [%s], "links": []}' % LINK.encode()),
    "many keys given twice": ("json", b'{"links": [], "nodes": {%s}}' % b",".join(b'"%d": 1, "%d": 1' % (n, n) for n in range(30_000))),
    "deep keys given twice": ("json", b'{"links": [], "x": ' + b'{"a": 1, "a": ' * 300 + b"1" + b"}" * 301),
    "NaN": ("json", b'[{"endpoints": ["a:x", "b:x"], "mtu": NaN}]'),
    "Infinity": ("json", b'[{"endpoints": ["a:x", "b:x"], "mtu": -Infinity}]'),
    "100,000 digits": ("json", b'[{"endpoints": ["a:x", "b:x"], "mtu": 1%s}]' % (b"0" * 100_000)),
    "100,000 digits in YAML": ("yaml", b"- {endpoints: ['a:x', 'b:x'], mtu: 1%s}" % (b"0" * 100_000)),
    "100,000 digits in CSV": ("csv", ROW.replace("\n", ",mtu\n").encode() + b"a,x,b,x,1" + b"0" * 100_000),
    "100,000 digits of an exponent": ("json", b'[{"endpoints": ["a:x", "b:x"], "mtu": 1e%s}]' % (b"9" * 100_000)),
    "100,000 digits of a pid": ("csv", ROW.encode() + b"pid:1%s,x,b,x" % (b"0" * 100_000)),
    "100,000 digits of a prefix": ("json", b'[{"endpoints": ["a:x:10.0.0.1/%s", "b:x"]}]' % (b"9" * 100_000)),
    "NUL in CSV": ("csv", ROW.encode() + b"a,x\0,b,x\n"),
    "lone quote in CSV": ("csv", ROW.encode() + b'a,"x,b,x\na,y,b,y\n'),
    "quote after a quote": ("csv", ROW.encode() + b'a,"x"y,b,x\n'),
    "carriage return in a name": ("csv", ROW.encode() + b'a,"x\ry",b,x\n'),
    "a cell of 200,000": ("csv", ROW.encode() + b"a" * 200_000 + b",x,b,x\n"),
    "200,000 columns": ("csv", b",".join(b"c%d" % n for n in range(200_000)) + b"\n"),
    "200,000 equal columns": ("csv", ROW.strip().encode() + b",mtu" * 200_000 + b"\na,b,c,d\n"),
    "200,000 rows of nothing": ("csv", ROW.encode() + b"a\n" * 200_000),
    "200,000 lines of nothing": ("jsonl", b"x\n" * 200_000),
    "200,000 links of nothing": ("json", b"[" + b"{}," * 200_000 + b"{}]"),
    "200,000 unknown keys": ("json", b'{"links": [], %s}' % b",".join(b'"%d": 1' % n for n in range(200_000))),
    "a million links and one": ("json", b"[" + b"0," * LINKS_MAX + b"0]"),
    "a million lines and one": ("jsonl", b"0\n" * (LINKS_MAX + 1)),
    "UTF-16": ("json", '{"links": []}'.encode("utf-16")),
    "UTF-7": ("json", b"+AHsAIg-links+ACI-: +AFsAXQB9-"),
    "overlong UTF-8": ("json", b'{"name": "\xc0\xaf"}'),
    "surrogates in UTF-8": ("json", b'{"name": "\xed\xa0\x80"}'),
    "only a byte order mark": ("json", b"\xef\xbb\xbf"),
    "two byte order marks": ("json", b"\xef\xbb\xbf\xef\xbb\xbf[]"),
}  # fmt: skip


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=list(BAD_FILES))
def test_bad_files(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, counts: Counter[str], content: tuple[str, bytes]
) -> None:
    counts["bad inputs"] += 1
    extension, data = content
    file = tmp_path / f"links.{extension}"
    file.write_bytes(data)
    done = refused(in_process(capfd, "validate", str(file)))
    # However much is wrong, no line is longer than a screen's worth, and there is an end to the lines.
    lines = done.stderr.splitlines()
    assert len(lines) <= 10_001
    assert max(map(len, lines)) < 2_500


GOOD_FILES: dict[str, tuple[str, bytes]] = {
    "byte order mark": ("json", b"\xef\xbb\xbf[" + LINK.encode() + b"]"),
    "byte order mark in CSV": ("csv", b"\xef\xbb\xbf" + ROW.encode() + b"a,x,b,x\n"),
    "carriage returns": ("csv", ROW.replace("\n", "\r").encode() + b"a,x,b,x\r"),
    "carriage returns and line feeds": ("jsonl", LINK.encode() + b"\r\n\r\n"),
    "quotes around everything": ("csv", b'"a_node","a_if","b_node","b_if"\n"a","x","b","x"\n'),
    "schema": ("json", b'{"$schema": "x.json", "links": [%s]}' % LINK.encode()),
}


@pytest.mark.parametrize("content", GOOD_FILES.values(), ids=list(GOOD_FILES))
def test_odd_files_that_are_right(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, content: tuple[str, bytes]
) -> None:
    extension, data = content
    file = tmp_path / f"links.{extension}"
    file.write_bytes(data)
    done = in_process(capfd, "validate", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_no_file(tmp_path: Path, limited: Limited) -> None:
    socket_path = tmp_path / "socket.json"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(socket_path))
        for path in (
            tmp_path,
            socket_path,
            "/proc/self/mem",
            "/dev/zero",
            "/dev/null",
            "/proc/self/ns/net",
            "/dev/full",
        ):
            refused(limited("validate", str(path)))


def test_standard_input_that_is_none(limited: Limited, counts: Counter[str]) -> None:
    with open("/dev/zero", "rb") as endless:
        assert "larger than 64 MiB" in refused(limited("validate", "-", stdin=endless)).stderr
    for redirection in ("<&-", "<&- >&-", "0>/dev/null"):
        counts["bad inputs"] += 1
        shell = f"exec {sys.executable} -m kokofast validate - {redirection}"
        refused(subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=60, check=False))


def test_standard_input_that_does_not_block(limited: Limited) -> None:
    # Whoever had the pipe before has set it so; its next line comes when the first has long been read.
    read, write = os.pipe()
    os.set_blocking(read, False)
    process = subprocess.Popen([*COMMAND, "validate", "-"], stdin=read, stderr=subprocess.PIPE, text=True)
    try:
        os.write(write, LINK.encode() + b"\n")
        until(lambda: _waits_in(process.pid, "poll") or _waits_in(process.pid, "select"), "the command waits for more")
        os.write(write, b'{"endpoints": 5}\n')
        os.close(write)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
        os.close(read)
    assert (process.returncode, "must be a list" in errors) == (2, True), errors


def _waits_in(pid: int, call: str) -> bool:
    return call in Path(f"/proc/{pid}/wchan").read_text()


@pytest.mark.parametrize("change", ["truncated", "rewritten", "grown"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, counts: Counter[str], change: str) -> None:
    file = tmp_path / "links.csv"
    row = b"a,x,b,x\n"
    whole = ROW.encode() + row * (FILE_BYTES_MAX // len(row) - 10)

    def overwrite(offset: int, text: bytes) -> None:
        with open(file, "r+b") as again:
            again.seek(offset)
            again.write(text)

    changes: dict[str, Callable[[], object]] = {
        "truncated": lambda: os.truncate(file, MIB),
        "grown": lambda: overwrite(len(whole), row),
        "rewritten": lambda: overwrite(0, whole[:MIB].replace(b"x", b"y")),
    }
    for _ in range(100):
        counts["bad inputs"] += 1
        file.write_bytes(whole)
        done = _stopped_in_the_middle(file, changes[change])
        if done is not None:
            assert done == (2, f"kokofast: {file}: was changed while it was read; try again\n")
            return
    pytest.fail("the reader was never stopped in the middle of the file")


def _stopped_in_the_middle(file: Path, change: Callable[[], object]) -> tuple[int, str] | None:
    """Changes the file while a reader has read some MiB of it and not all; None when it was too fast to be stopped."""
    size = file.stat().st_size
    process = subprocess.Popen([*COMMAND, "validate", str(file)], stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: _position(process.pid, file) != 0, "the file is being read")
        process.send_signal(signal.SIGSTOP)
        until(lambda: _state(process.pid) in "TZ", "the reader has stopped")
        if not MIB <= (_position(process.pid, file) or 0) < size - MIB:
            return None
        change()
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=60)
        return process.returncode, errors
    finally:
        process.kill()
        process.communicate()


def _position(pid: int, file: Path) -> int | None:
    """Where in the file the process stands: 0 when it has not opened it yet, None when it has closed it or ended."""
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            if os.readlink(f"/proc/{pid}/fd/{name}") == str(file):
                return int(Path(f"/proc/{pid}/fdinfo/{name}").read_text().split()[1])
    except OSError:
        return None
    return 0


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# Memory

HUNGRY: dict[str, Callable[[int], tuple[str, bytes]]] = {
    # What costs most memory a byte, up to the size that is asked for.
    "lists": lambda size: ("json", b"[" + b"[]," * (size // 3) + b"[]]"),
    "numbers": lambda size: ("json", b"[" + b"999," * (size // 4) + b"9]"),
    "keys": lambda size: ("json", b'{"links": [], %s}' % b",".join(b'"%x":1' % n for n in range(size // 12))),
    "wrong links": lambda size: ("json", b"[" + b'{"a":1},' * (size // 8) + b"{}]"),
    "YAML": lambda size: ("yaml", b"- a\n" * (size // 4)),
    "CSV cells": lambda size: ("csv", ROW.encode() + b"x," * (size // 2 - 99)),
    "CSV rows": lambda size: ("csv", ROW.encode() + b"a,b,c,d\n" * (size // 8)),
    "one text": lambda size: ("json", b'{"name": "' + "\U0001f600".encode() * (size // 4) + b'", "links": []}'),
}


@pytest.mark.parametrize("name", HUNGRY)
def test_hungry_files(tmp_path: Path, limited: Limited, long: bool, name: str) -> None:
    """A file at the limit stays below what docs/format.md says; a file of 1 MiB in the short form, in proportion."""
    size, memory = (FILE_BYTES_MAX - 64, 4096 * MIB) if long else (MIB, 512 * MIB)
    extension, data = HUNGRY[name](size)
    file = tmp_path / f"links.{extension}"
    file.write_bytes(data)
    assert len(data) <= FILE_BYTES_MAX
    done = refused(limited("validate", str(file), memory=memory, timeout=600))
    assert "memory" not in done.stderr


def test_too_little_memory_is_said(tmp_path: Path, limited: Limited) -> None:
    file = tmp_path / "links.json"
    file.write_bytes(b"[" + b"[]," * (8 * MIB) + b"[]]")
    done = refused(limited("validate", str(file), memory=320 * MIB))
    assert done.stderr == f"kokofast: {file}: not enough memory to read it\n"


def test_100_megabytes(tmp_path: Path, limited: Limited, long: bool) -> None:
    """ResolveError after 64 MiB, in the memory of 64 MiB, whatever its content. Sparse in the short form."""
    file = tmp_path / "links.json"
    if long:
        file.write_bytes(b"[" + (LINK.encode() + b",\n") * (100_000_000 // (len(LINK) + 2)))
    else:
        with open(file, "wb") as hole:
            hole.truncate(100_000_000)
    done = refused(limited("batch", str(file), "--sandbox", "--format", "json", memory=640 * MIB))
    assert json.loads(done.stdout)["errors"][0]["message"] == "is larger than 64 MiB"


@pytest.mark.parametrize("extension", ["json", "jsonl", "csv"])
def test_a_million_links(tmp_path: Path, limited: Limited, long: bool, extension: str) -> None:
    """A million are read, one more is refused; the short form has a fiftieth, and what stands in for the one more is
    tested in tests/topology."""
    total = 1_000_000 if long else 20_000
    for more in (0, 1) if long else (0,):
        file = tmp_path / f"links.{extension}"
        names = [(f"{n:x}", f"{n + 1:x}") for n in range(total + more)]
        if extension == "csv":
            text = ROW + "".join(f"{a},a,{b},b\n" for a, b in names)
        else:
            lines = [f'{{"endpoints":["{a}:a","{b}:b"]}}' for a, b in names]
            text = "\n".join(lines) if extension == "jsonl" else f"[{','.join(lines)}]"
        file.write_text(text)
        done = limited("validate", str(file), memory=4096 * MIB, timeout=600)
        check_screen(done.stdout, done.stderr)
        if more:
            assert (done.returncode, done.stderr) == (2, f"kokofast: {file}: has more than 1,000,000 links\n")
        else:
            assert (done.returncode, done.stderr) == (0, "")


# Any bytes


def rounds(long: bool) -> int:
    return 3000 if long else 15


@pytest.mark.parametrize("target", [wire_target, topology_target], ids=["wire", "topology"])
def test_mutated_seeds(target: Any, chance: random.Random, counts: Counter[str], long: bool) -> None:
    """Golden netlink bytes and files, changed up to five times: a DecodeError or TopologyError at most, soon."""
    for seed in target.SEEDS:
        for _ in range(rounds(long)):
            counts["bad inputs"] += 1
            data = seed
            for _ in range(chance.randrange(1, 6)):
                data = mutated(data, chance)
            run_noted(target, data)


@pytest.mark.parametrize("name", [name for name in wire_target.GOLDEN if "newlink" in name or "ack" in name])
def test_every_wrong_length(name: str, counts: Counter[str]) -> None:
    """Each 16-bit word of a golden message as a length that it cannot be, and the message cut at every byte."""
    data = golden.read(name)
    for offset in range(0, len(data) - 1, 2):
        for length in (0, 1, 3, 4, 15, 16, 0x7FFF, 0xFFFF):
            counts["bad inputs"] += 1
            changed = data[:offset] + length.to_bytes(2, "little") + data[offset + 2 :]
            wire_target.run_one(bytes((0, 0)) + changed)
            wire_target.run_one(bytes((1, changed[4])) + changed[16:])
            wire_target.run_one(bytes((2, changed[6])) + changed[16:])
    for end in range(len(data)):
        wire_target.run_one(bytes((0, 0)) + data[:end])


def test_what_is_remembered_of_answers_is_bounded() -> None:
    """Hundreds of answers, each of its own form, some as large as a datagram can be."""
    limit = decode.MAX_LAYOUT_ATTRIBUTES
    rows = {f"n{number}": attributes.Attr(number, attributes.U32) for number in range(9000)}
    tables = [attributes.Table("anything", rows) for _ in range(decode.MAX_LAYOUTS // limit + 1)]
    for table in tables:
        for count in [*range(1, limit + 100), 8000]:
            found = decode.decode(table, b"".join(struct.pack("=HHI", 8, number, 7) for number in range(count)))
            assert len(found) == count
    assert 0 < len(decode.LAYOUTS) <= decode.MAX_LAYOUTS
    assert max(len(layout.places) for alike in decode.LAYOUTS.values() for layout in alike) <= limit
    for number in range(1000):  # of one length, each with another number
        decode.decode(tables[0], struct.pack("=HHI", 8, number, 7))
    assert max(map(len, decode.LAYOUTS.values())) <= decode.MAX_ALIKE


TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from(EVIL + BIDI), max_size=20)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=12
)
KEYS = ("name", "links", "nodes", "defaults")


@given(
    st.dictionaries(st.sampled_from(KEYS) | TEXTS, TREES, max_size=4) | st.lists(TREES, max_size=3),
    st.sampled_from(FORMATS),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_trees_of_evil_text(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, counts: Counter[str], tree: object, extension: str
) -> None:
    counts["bad inputs"] += 1
    file = tmp_path / f"x.{extension}"
    file.write_text(json.dumps(tree, ensure_ascii=False), errors="surrogatepass")
    done = in_process(capfd, "validate", str(file))
    check_screen(done.stdout, done.stderr)
    assert (done.returncode == 2) == bool(done.stderr)
