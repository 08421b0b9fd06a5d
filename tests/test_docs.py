"""Every command and example of the README runs, as it stands there."""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

import kokofast
from kokofast.cli.hosts_options import add_actions
from kokofast.cli.parser import build_parser
from kokofast.generators.shapes import SHAPES
from kokofast.topology import load
from kokofast.watching.events import EVENTS
from tests import ROOT
from tests.kernel.test_end_properties import FEATURES_AT_WORK

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / folder / "README.md" for folder in ("bench", "vagrant")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
# A file or folder of the project, named in a document: kokofast/plan/plan.py, engine/execute.py, tests/kernel.
BUILT = {"build", "dist"}  # there only after make docs, or make packages
FOLDERS = {path.name for top in (ROOT, ROOT / "kokofast") for path in top.iterdir() if path.is_dir()} - BUILT
NAMED_FILE = re.compile(rf"`((?:{'|'.join(sorted(FOLDERS))})/[\w./*]*)`")


def blocks(language: str) -> list[str]:
    """The fenced blocks of the README in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


SHELL = blocks("sh")
PICTURES = sorted(file.name for file in (ROOT / "docs" / "plots").iterdir())
# The commands that run the tests, this one too, cannot be run by it.
SETS_UP_AND_TESTS = "python3 tests/run.py\n"
FAULTS = "python3 tests/run.py --no-lint tests/faults\n"
INSTALL = next(block for block in SHELL if "pip install" in block)


def checkout(folder: Path) -> Path:
    """A copy of this checkout without anything that was installed or built in it."""
    made = (".venv*", ".git", "build", "dist", "*.egg-info", ".*_cache", ".hypothesis", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*made))
    return folder


def private(script: str, folder: Path, *, online: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs a script with a mount namespace and (unless online) a network namespace of its own, kokofast on its PATH."""
    setup = 'mount --make-rprivate / && mount -t tmpfs none "${NETNS:?}" && ip link set lo up\n'
    os.makedirs("/run/netns", exist_ok=True)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["unshare", *([] if online else ["--net"]), "--mount", "sh", "-e", "-c", setup + script],
        cwd=folder,
        env={**os.environ, "PATH": path, "NETNS": "/run/netns", "PYTHONPATH": str(folder if online else ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_readme_has_the_two_commands_for_a_fresh_machine() -> None:
    assert "python3 examples/quickstart.py\n" in SHELL
    assert SETS_UP_AND_TESTS in SHELL
    assert FAULTS in SHELL
    assert (ROOT / FAULTS.split()[-1]).is_dir()
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "tests/run.py" in ci


@pytest.mark.usefixtures("requires_root")
@pytest.mark.parametrize("script", [block for block in SHELL if block not in (SETS_UP_AND_TESTS, FAULTS, INSTALL)])
def test_a_command_of_the_readme_runs(script: str, tmp_path: Path) -> None:
    fresh = "quickstart" in script
    if fresh:
        # What a new user has: the checkout, no virtual environment yet, and a network to install from.
        script = script.replace("quickstart.py", "quickstart.py --links 30")
        tmp_path = checkout(tmp_path / "fresh")
    else:
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
        shutil.copytree(ROOT / "bench", tmp_path / "bench")
    if "-m bench" in script:
        script = re.sub(r"--links( \d+)+ --repeat \d+", "--links 3 6 --repeat 1", script)
    if "testns1" in script:
        script = "ip netns add testns1\nip netns add testns2\n" + script
    if script.startswith("kokofast batch c.json"):
        script = "kokofast generate chain --links 20 > c.json\n" + script
    done = private(script, tmp_path, online=fresh)
    assert done.returncode == 0, done.stdout + done.stderr
    if "--plots" in script:
        assert {file.name for file in (tmp_path / "docs" / "plots").iterdir()} == set(PICTURES)
    if "--links 2000" in script:
        assert "2000 links" in done.stdout
        assert "unchanged" in done.stdout


@pytest.mark.usefixtures("requires_root")
def test_the_commands_for_contributors_work() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    script, _ = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert script == "make setup\nmake lint\nmake test FOLDER=plan\n"
    targets = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for command in re.findall(r"`make ([a-z]+)", text):
        assert f"{command}\t" in targets
    python = f"PYTHON={sys.executable}"
    for command in (["make", "setup"], ["make", python, "lint"], ["make", python, "test", "FOLDER=plan"]):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("requires_root")
def test_the_recipe_to_see_a_request_works(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, script = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    done = private(textwrap.dedent(script), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = re.findall(r"# (\S+)", done.stdout)
    (example,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    assert shown[:4] == re.findall(r"# (\S+)", example) == ["RTM_NEWADDR", "ifaddrmsg", "local", "proto"]


@pytest.mark.usefixtures("requires_root")
def test_the_commands_for_files_of_others_work(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "import.md").read_text(encoding="utf-8")
    script, graph = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    done = private(graph, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    delays = [link["delay"] for link in yaml.safe_load((tmp_path / "ring.yaml").read_text("utf-8"))["links"]]
    assert delays == ["2.96ms", "1.776ms", "1.214ms"]
    done = private(script, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    assert "".join(shown.splitlines(keepends=True)[:2]) * 2 == done.stderr
    assert done.stdout.startswith("fabric: applied, 9 links created, 8 namespaces created in ")


@pytest.mark.usefixtures("requires_root")
def test_the_recipe_to_see_a_refusal_works(tmp_path: Path) -> None:
    (script,) = re.findall(
        r"```bash\n(.*?KOKOFAST_DEBUG.*?)```", (ROOT / "docs" / "troubleshooting.md").read_text("utf-8"), re.DOTALL
    )
    mac = "02:00:00:00:00:07"
    link = {"type": "macvlan", "endpoint": "r1:m0", "parent": "up0", "mac": mac}
    (tmp_path / "links.json").write_text(json.dumps({"defaults": {"create": True}, "links": [link]}), encoding="utf-8")
    parent = f"ip link add up0 address {mac} type veth peer far0\nip link set up0 up\n"
    recipe = textwrap.dedent(script).replace("sudo ", "").replace("\ngrep", " || test $? = 1\ngrep")
    done = private(parent + recipe, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n# refused: Address already in use (EADDRINUSE)\n" in done.stdout


def test_the_files_shown_are_valid() -> None:
    (text,) = blocks("json")
    assert len(load(text.encode(), filename="links.json").links) == 5
    assert [len(load(text.encode(), filename="links.yaml").links) for text in blocks("yaml")] == [2, 1]
    (table,) = blocks("csv")
    assert len(load(table.encode(), filename="links.csv").links) == 2


@pytest.mark.usefixtures("requires_root")
def test_the_topology_shown_can_be_made(tmp_path: Path) -> None:
    (text,) = blocks("json")
    topology = json.loads(text)
    (tmp_path / "links.json").write_text(json.dumps(topology), encoding="utf-8")
    done = private("kokofast batch links.json; kokofast batch links.json; kokofast destroy links.json", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 links created" in done.stdout
    assert "unchanged" in done.stdout


@pytest.mark.usefixtures("requires_root")
def test_the_topology_in_yaml_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "links.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    done = private("kokofast batch links.yaml; kokofast batch links.yaml; kokofast destroy links.yaml", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 links created" in done.stdout
    assert "unchanged" in done.stdout


@pytest.mark.usefixtures("requires_root")
def test_the_topology_of_macvlans_can_be_made(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "running.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "lan.yaml").write_text(text, encoding="utf-8")
    parent = "ip link add eth0 type veth peer name wire\nip link set eth0 up\nip link set wire up\n"
    ping = "ip netns exec r1 ping -c 1 -w 5 192.0.2.10\n"
    done = private(f"{parent}kokofast batch lan.yaml\n{ping}kokofast destroy lan.yaml", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 links created, 1 namespace created" in done.stdout


@pytest.mark.usefixtures("requires_root")
def test_the_names_and_addresses_shown_are_those_given(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "format.md").read_text(encoding="utf-8").partition("## Automatic names and addresses")[2]
    (example, *_), (shown, *_) = (
        re.findall(r"```yaml\n(.*?)```", text, re.DOTALL),
        re.findall(r"```text\n(.*?)```", text, re.DOTALL),
    )
    (tmp_path / "triangle.yaml").write_text(example, encoding="utf-8")
    (command,) = re.findall(r"`(kokofast batch triangle.yaml [^`]*)`", text)
    done = private(f"{command}\nkokofast batch triangle.yaml\nkokofast destroy triangle.yaml", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(shown)
    assert "3 links created" in done.stdout


@pytest.mark.usefixtures("requires_root")
def test_the_segment_shown(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "format.md").read_text(encoding="utf-8").partition("## Segments")[2]
    (example,) = re.findall(r"```yaml\n(.*?)```", text.partition("\n## ")[0], re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", text.partition("\n## ")[0], re.DOTALL)
    (tmp_path / "office.yaml").write_text(example, encoding="utf-8")
    (command,) = re.findall(r"`(kokofast batch office.yaml [^`]*)`", text)
    ping = "ip netns exec pc1 ping -c 1 -w 5 192.0.2.3"
    done = private(f"{command}\nkokofast batch office.yaml\n{ping}\nkokofast destroy office.yaml", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(shown)


def example_below(heading: str, file: Path) -> str:
    """Write the first YAML below a heading of docs/format.md to a file; return the text below the heading."""
    text = (ROOT / "docs" / "format.md").read_text(encoding="utf-8").partition(f"## {heading}")[2]
    file.write_text(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0], encoding="utf-8")
    return text


@pytest.mark.usefixtures("requires_root")
def test_the_ports_shown_reach_each_other(tmp_path: Path) -> None:
    text = example_below("Ports", tmp_path / "lan.yaml")
    (command,) = re.findall(r"`(kokofast batch lan.yaml)`", text)
    ping = "ip netns exec r1 ping -c 1 -w 5 192.0.2.2"
    done = private(f"{command}\n{ping}\n{command}\nkokofast destroy lan.yaml", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 links created" in done.stdout
    assert "3 links unchanged" in done.stdout


@pytest.mark.usefixtures("requires_root")
def test_the_mesh_of_vxlans_shown(tmp_path: Path) -> None:
    text = example_below("vxlan", tmp_path / "mesh.yaml")
    (command,) = re.findall(r"`(kokofast batch mesh.yaml)`", text)
    pings = "\n".join(f"ip netns exec a ping -c 1 -w 5 -M do -s 1422 10.0.0.{number}" for number in (2, 3))
    done = private(f"{command}\n{pings}\n{command}\nkokofast destroy mesh.yaml", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mesh: unchanged, 6 links unchanged" in done.stdout


@pytest.mark.usefixtures("requires_root")
def test_the_quiet_links_shown_have_no_link_local_address(tmp_path: Path) -> None:
    text = example_below("Without IPv6", tmp_path / "quiet.yaml")
    (command,) = re.findall(r"`(kokofast batch quiet.yaml)`", text)
    show = "ip -n r1 -6 -o address show scope link; ip netns exec r1 ping -c 1 2001:db8::1"
    done = private(f"{command}\n{show}\n{command}\nkokofast destroy quiet.yaml", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fe80" not in done.stdout
    assert "quiet: unchanged, 2 links unchanged" in done.stdout


@pytest.mark.usefixtures("requires_root")
def test_the_plans_shown(tmp_path: Path) -> None:
    """The lines of --replace, and the step of a plan as JSON."""
    text = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    shown = re.findall(r"```text\n(.*?)```", text.partition("### Replacing links")[2], re.DOTALL)[0]
    (step,) = re.findall(r'```json\n(\{"action": "update".*?)```', text, re.DOTALL)
    tunnel = {"type": "vxlan", "endpoint": "r3:vx0", "parent": "r3:up", "remote": "192.0.2.9", "vni": 100}
    up, above = ["r3:up", "r4:up"], {"type": "macvlan", "endpoint": "r2:m0", "parent": "r3:vx0"}
    before = {"name": "x", "defaults": {"create": True}, "links": [up, tunnel, ["r1:eth1", "r3:eth1"], above]}
    after = {**before, "links": [up, {**tunnel, "vni": 101}, ["r1:eth1", "r2:eth1"], above]}
    ends = [{"node": "a", "interface": "e0", "mtu": 9000}, "b:e0"]
    for name, document in (
        ("before", before),
        ("after", after),
        ("old", {"name": "y", "defaults": {"create": True}, "links": [["a:e0", "b:e0"]]}),
        ("new", {"name": "y", "links": [{"endpoints": ends}]}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    made = "kokofast batch before.json --quiet; kokofast batch old.json --quiet"
    plans = "kokofast batch after.json --replace --dry-run; kokofast batch new.json --dry-run --format json"
    done = private(f"{made}\n{plans}\nkokofast destroy --all --quiet", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(shown)
    assert json.loads(done.stdout[done.stdout.index("\n{") :])["plan"] == [json.loads(step)]


@pytest.mark.usefixtures("requires_root")
def test_the_ends_shown_leave_to_others_what_is_said(tmp_path: Path) -> None:
    text = example_below("Offload", tmp_path / "exact.yaml")
    (tmp_path / "features.py").write_text(FEATURES_AT_WORK, encoding="utf-8")
    (command,) = re.findall(r"`(kokofast batch exact.yaml)`", text)
    ends = (("r1", "eth0"), ("r2", "eth0"), ("r1", "eth1"), ("r3", "eth0"))
    show = "\n".join(f"ip netns exec {node} {sys.executable} features.py {name}" for node, name in ends)
    done = private(f"{command}\n{show}\n{command}\nkokofast destroy exact.yaml", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '[]\n[]\n["tx"]\n["tx"]\n' in done.stdout
    assert "exact: unchanged, 2 links unchanged" in done.stdout


@pytest.mark.usefixtures("requires_root")
def test_the_alternative_name_shown_is_found(tmp_path: Path) -> None:
    text = example_below("Alternative names", tmp_path / "named.yaml")
    (command,) = re.findall(r"`(kokofast batch named.yaml)`", text)
    (show,) = re.findall(r"`(ip -n r2 link show [^`]*)`", text)
    done = private(f"{command}\n{show}\nkokofast destroy named.yaml", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "altname uplink-to-r1-in-the-other-rack" in done.stdout


def test_the_split_shown(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "hosts.md").read_text(encoding="utf-8")
    assert re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0] in (ROOT / "examples/two-hosts.yaml").read_text("utf-8")
    os.symlink(ROOT / "examples", tmp_path / "examples")
    kokofast = f'kokofast() {{ {sys.executable} -m kokofast "$@"; }}\n'
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    done = subprocess.run(
        ["sh", "-e", "-c", kokofast + script],
        cwd=tmp_path,
        env=env,
        timeout=60,
        check=True,
        capture_output=True,
        text=True,
    )
    split, placed, *_ = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    assert split in done.stdout
    numbers = re.compile(r"\d+ *")  # those of METIS depend on its version
    assert numbers.sub("0 ", placed) in numbers.sub("0 ", done.stdout)


@pytest.mark.usefixtures("requires_root")
def test_the_shapes_shown(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "generate.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    done = private(script, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^eth0@\w+ +UP +10\.\d+\.\d+\.\d+/31", done.stdout, re.MULTILINE), done.stdout
    assert len((tmp_path / "internet.csv").read_text(encoding="utf-8").splitlines()) == 1 + 2 * 498
    assert re.findall(r"^\| `([a-z-]+)` ", text, re.MULTILINE) == list(SHAPES)


def test_the_constellation_shown(tmp_path: Path) -> None:
    """With its delays it needs netem: tests/kernel/test_constellation.py makes it in the guest."""
    text = (ROOT / "docs" / "constellations.md").read_text(encoding="utf-8")
    make, tell, play = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    script = f"{make.replace('batch', 'validate').replace(' --create', '')}{tell}{play.strip()} --create --dry-run"
    kokofast = f'kokofast() {{ {sys.executable} -m kokofast "$@"; }}\n'
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(["sh", "-e", "-c", kokofast + script], cwd=tmp_path, env=env, timeout=60, check=True)
    assert "iridium.json" in script
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    timeline = (tmp_path / "iridium.jsonl").read_text(encoding="utf-8").splitlines()
    for line in shown.splitlines():
        assert any(epoch.startswith(line.removesuffix("...")) for epoch in timeline), line


@pytest.mark.usefixtures("requires_root")
def test_the_example_with_routes_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    (example,) = (one for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "routing:" in one)
    whole = (ROOT / "examples" / "routed.yaml").read_text(encoding="utf-8")
    assert set(example.splitlines()) <= set(whole.splitlines())
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (command,) = re.findall(r"```bash\n(kokofast batch examples/routed.yaml .*?\n)```", text)
    more = "for n in 2 3 4; do ip netns exec r1 ping -c 1 -w 20 2001:db8:ff::$n; done\n"
    script = (
        f"{command}kokofast batch examples/routed.yaml\n{more}kokofast inspect routed\nkokofast destroy --name routed"
    )
    done = private(script, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^routed +r3 +10.255.0.3/32 2001:db8:ff::3/128 +11$", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.usefixtures("requires_root")
def test_the_library_example_runs(tmp_path: Path) -> None:
    (code,) = blocks("python")
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    done = private("python -W error example.py", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 links are up" in done.stdout


def anchors(document: Path) -> set[str]:
    """What a link may have behind its #: the headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            file = document.parent / target if target else document
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def test_the_index_has_every_document() -> None:
    index = ROOT / "docs" / "README.md"
    listed = re.findall(r"\]\(([^)#]+)\)", index.read_text(encoding="utf-8"))
    assert {(index.parent / target).resolve() for target in listed} | {index} == set(DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_files_that_a_document_names_exist(document: Path) -> None:
    for named in NAMED_FILE.findall(document.read_text(encoding="utf-8")):
        roots = (ROOT, ROOT / "kokofast", document.parent)
        assert "NAME" in named or any(list(root.glob(named)) for root in roots), named


def test_messages_with_a_cure_are_messages_of_the_program() -> None:
    (table,) = re.findall(
        r"^\| message .*\n\|.*\n((?:\|.*\n)+)", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE
    )
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "kokofast").rglob("*.py"))
    for row in table.splitlines():
        for phrase in re.findall(r"`([^`]+)`", row.split(" | ")[0]):
            assert phrase in sources, phrase


def test_every_picture_is_shown() -> None:
    shown = {
        (document.parent / target).resolve()
        for document in DOCUMENTS
        for target in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", document.read_text(encoding="utf-8"))
    }
    pictures = {file for folder in ("plots", "pictures") for file in (ROOT / "docs" / folder).iterdir()}
    assert shown == pictures != set()
    for file in pictures:
        assert "</svg>" in file.read_text(encoding="utf-8")


def links_in(picture: str) -> dict[str, tuple[str, str]]:
    """The links of a picture: the state of each, and its details without MAC addresses, which are random."""
    found = {}
    for state, group in re.findall(r'<g class="links (\w+)".*?>\n(.*?)</g>', picture, re.DOTALL):
        for title in re.findall(r"<title>(.*?)</title>", group, re.DOTALL):
            name, _, details = title.partition("\n")
            found[name] = state, re.sub(r"(\w\w:){5}\w\w", "MAC", details)
    return found


@pytest.mark.usefixtures("requires_root")
def test_the_picture_shown_is_that_of_the_commands(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "graph.md").read_text("utf-8")
    (script,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    (target,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "program.py").write_text(f"{program}assert picture.startswith('graph \"example\"')\n")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    done = private(f"{script}\n{sys.executable} -W error program.py", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    made = links_in((tmp_path / "fabric.svg").read_text("utf-8"))
    assert made == links_in((ROOT / "docs" / target).read_text("utf-8"))
    states = {name: state for name, (state, _) in made.items() if state != "up"}
    assert states == {
        "spine1:eth0 -- leaf1:eth0": "down",
        "leaf3:eth2 -- host3-1:eth0": "missing",
        "spine1:eth3 -- leaf4:eth0": "extra",
        "spine2:eth3 -- leaf4:eth1": "extra",
        "leaf4:eth2 -- host4-1:eth0": "extra",
        "leaf4:eth3 -- host4-2:eth0": "extra",
    }
    assert '"down":1,"up":14}' in (tmp_path / "fabric.html").read_text("utf-8")
    assert (tmp_path / "fabric.drawio").read_text("utf-8").startswith("<mxfile ")


@pytest.mark.usefixtures("requires_root")
def test_the_commands_about_live_topologies_work(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")
    scripts = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    timeline = (ROOT / "examples" / "handover.jsonl").read_text(encoding="utf-8")
    assert timeline.startswith(shown)
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "program.py").write_text(programs[0])
    (tmp_path / "other.py").write_text(
        "import asyncio, kokofast\ntopology = kokofast.load('examples/handover.json')\n"
        "async def main() -> None:\n" + textwrap.indent(programs[1], "    ") + "asyncio.run(main())\n"
    )
    script = f"{sys.executable} program.py\n{sys.executable} other.py\n" + "".join(scripts)
    done = private(script, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["status"] for line in lines if "status" in line] == ["applied"] * 3 + ["unchanged"] + ["applied"] * 2
    assert "1 received" in done.stderr


LIBRARY = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("requires_root")
def test_the_programs_about_the_library_work(tmp_path: Path) -> None:
    script = ""
    for number, program in enumerate(re.findall(r"```python\n(.*?)```", LIBRARY, re.DOTALL)):
        is_test = program.startswith("# test_")
        (tmp_path / f"example{number}.py").write_text(program)
        script += f"python -W error {'-m pytest -q -p no:cacheprovider ' * is_test}example{number}.py\n"
    done = private(script + "kokofast inspect\n", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 links are up" in done.stdout
    assert "4 passed" in done.stdout
    assert "\n0 links" in done.stdout or "nothing" in done.stdout + done.stderr


def test_the_stable_names_are_documented() -> None:
    rows = re.findall(r"^\| (`.*?) \|", LIBRARY, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(kokofast.__all__)
    assert (Path(kokofast.__file__).parent / "py.typed").exists()
    tree = ast.parse(Path(kokofast.__file__).read_text(encoding="utf-8"))
    typed = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(kokofast.__all__) - {"__version__"} <= typed
    for name in kokofast.sync.__all__:
        assert f"`{name}`" in LIBRARY


def test_the_unit_for_systemd_is_valid(tmp_path: Path) -> None:
    (file,) = ROOT.glob("kokofast/ansible/**/kokofast-watch@.service")
    text = file.read_text("utf-8")
    (command,) = re.findall(r"ExecStart=(\S+) watch", text)
    program = shutil.which("systemd-analyze")
    if program is None:  # then at least its sections
        assert re.findall(r"^\[(\w+)\]$", text, re.MULTILINE) == ["Unit", "Service", "Install"]
        return
    unit = tmp_path / "kokofast-watch@shop.service"
    unit.write_text(text.replace(command, sys.executable))
    done = subprocess.run(
        [program, "verify", "--man=no", unit], capture_output=True, text=True, timeout=60, check=False
    )
    assert "kokofast-watch" not in done.stderr, done.stderr


def test_every_event_is_documented() -> None:
    text = (ROOT / "docs" / "watch.md").read_text("utf-8")
    rows = [line.split("|") for line in text.partition("## Events")[2].splitlines() if line.startswith("| `")]
    told = {name: row[2] for row in rows for name in re.findall(r"`(\w+)`", row[1])}
    assert told.keys() == EVENTS.keys()
    for name, (_, fields) in EVENTS.items():
        assert all(f"`{field}`" in told[name] for field in fields if field != "message"), name


def test_the_files_for_the_shell_are_made(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "running.md").read_text("utf-8").partition("## Completion")[2].partition("\n## ")[0]
    script = f'kokofast() {{ {sys.executable} -m kokofast "$@"; }}\n' + "".join(
        re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    )
    env = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run(["sh", "-e", "-c", script], cwd=tmp_path, env=env, timeout=60, check=True)
    made = sorted(path.name for path in tmp_path.rglob("*kokofast*"))
    assert made == ["_kokofast", "kokofast", "kokofast.1", "kokofast.fish"]


@pytest.mark.usefixtures("requires_root")
def test_the_recipe_to_confirm_works(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "running.md").read_text("utf-8").partition("## Taken back unless confirmed")[2]
    script = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)[0]
    (tmp_path / "links.json").write_text('{"defaults": {"create": true}, "links": [["a", "b"]]}', encoding="utf-8")
    done = private(f"{script}kokofast destroy links.json", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    _, *results, destroyed = done.stdout.splitlines()
    assert [line.partition(" in ")[0] for line in results] == [
        "links: applied, 1 link created, 2 namespaces created"
    ] * 2
    assert destroyed.startswith("links: destroyed, 1 link removed")


@pytest.mark.usefixtures("requires_root")
def test_the_answer_of_doctor_shown(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "doctor.md").read_text("utf-8")
    (script,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    done = private(script, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    title, *lines, last = shown.splitlines()
    assert done.stdout.splitlines()[0] == title
    assert done.stdout.splitlines()[-1] == last
    checks = {line[9:].split("  ")[0] for line in lines if not line.startswith(" ")}
    assert checks <= {line[9:].split("  ")[0] for line in done.stdout.splitlines()}


@pytest.mark.usefixtures("requires_root")
def test_the_answer_of_verify_shown(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "verify.md").read_text("utf-8")
    (script,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    done = private(script, tmp_path)
    assert done.returncode == 1
    assert done.stdout == shown


def test_the_templates_are_forms_that_ask_for_what_a_report_needs() -> None:
    import yaml

    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    forms = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in folder.glob("*.yml")}
    for name in ("bug_report", "feature_request"):
        form = forms[name]
        assert form.keys() >= {"name", "description", "body"}
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in fields}) == len(fields)
        assert all(field["attributes"]["label"] for field in fields)
    asked = {field["attributes"].get("label") for field in forms["bug_report"]["body"]}
    assert asked >= {"kokofast --version", "kokofast doctor FILE"}


TIME = re.compile(r" in \d+\.\d\d s$", re.MULTILINE)  # differs from run to run


@pytest.mark.usefixtures("requires_root")
def test_the_tutorial_works(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
    blocks = re.findall(r"```sh\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, re.DOTALL)
    (install, _), (activate, _), *blocks = blocks
    assert INSTALL.startswith(install)
    assert activate == ". .venv/bin/activate\nkokofast --version\n"
    script = "".join(f"(set -e\n{block})\necho == $?\n" for block, _ in blocks)
    done = private(f"set +e\n{script}", tmp_path)
    *outputs, rest = re.split(r"^== (\d+)\n", done.stdout, flags=re.MULTILINE)
    assert rest == ""
    for (block, shown), output, code in zip(blocks, outputs[::2], outputs[1::2], strict=True):
        assert code == ("1" if block == "kokofast verify office\n" else "0"), block + output + done.stderr
        assert not shown or block.startswith("cat ") or TIME.sub("", output) == TIME.sub("", shown)
    assert "ttl=62" in done.stderr
    shown = links_in((ROOT / "docs" / "pictures" / "office.svg").read_text("utf-8"))
    assert links_in((tmp_path / "office.svg").read_text("utf-8")) == shown
    assert len(shown) == 5
    (sandboxed,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    inside = "ip netns add left; ip netns add right; kokofast -n left,e -n right,e && kokofast verify -q"
    done = private(f"{sandboxed.rstrip()} -c '{inside}'", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_has_every_command() -> None:
    (found,) = [one for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction)]
    actions = [f"hosts {name}" for name in add_actions(argparse.ArgumentParser(), "")]
    rows = "\n".join(line for line in README.splitlines() if line.startswith("| `"))
    assert [name for name in (*found.choices, *actions) if not re.search(rf"`(kokofast )?{name}\b", rows)] == []
