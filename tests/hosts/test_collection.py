"""The Ansible collection: its modules on a host, their documentation, its role, and that it can be built."""

from __future__ import annotations

import importlib
import json
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import kokofast
from bench.underlay import Host, Underlay
from tests.hosts.ansible import ABOVE, COLLECTION, here, run_ansible

MODULES = sorted(path.stem for path in (COLLECTION / "plugins" / "modules").glob("*.py"))
PAIR = {"name": "pair", "defaults": {"create": True}, "links": [["a:e0:192.0.2.1/30", "b:e0:192.0.2.2/30"]]}
WIDER = {**PAIR, "defaults": {"create": True, "mtu": 1400}}
LONGER = {**WIDER, "links": [*WIDER["links"], ["b:e1", "c:e0"]]}
WRONG = {**PAIR, "links": [{"endpoints": ["a:e0", "b:e0"], "mtuu": 1400}]}


def play(host: Host, folder: Path, tasks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Play tasks on a host, without SSH; return what each returned, by its name."""
    steps = [{**task, "register": f"step{number}"} for number, task in enumerate(tasks)]
    answers = f"{{{{ [{', '.join(step['register'] for step in steps)}] | to_json }}}}"
    steps.append({"ansible.builtin.copy": {"content": answers, "dest": str(folder / "answers"), "mode": "0600"}})
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "ignore_errors": True, "tasks": steps}
    (folder / "play.json").write_text(json.dumps([play]))
    python = f"ansible_python_interpreter={sys.executable}"
    done = run_ansible(host.command, "ansible-playbook", "-e", python, str(folder / "play.json"), folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(zip((task["name"] for task in tasks), json.loads((folder / "answers").read_text()), strict=True))


def test_a_module_does_what_its_command_does(underlay: Underlay, tmp_path: Path) -> None:
    host = underlay.hosts["h1"]
    before = host.state()

    def task(name: str, module: str, **arguments: Any) -> dict[str, Any]:
        extra: dict[str, Any] = {key: arguments.pop(key) for key in ("check_mode", "diff") if key in arguments}
        return {"name": name, f"kokofast.lab.{module}": {"executable": str(host.command_file), **arguments}, **extra}

    (tmp_path / "pair.json").write_text(json.dumps(PAIR))
    got = play(
        host,
        tmp_path,
        [
            task("planned", "batch", content=PAIR, check_mode=True, diff=True),
            task("nothing yet", "inspect", lab="pair"),
            task("wired", "batch", content=PAIR),
            task("again", "batch", src=str(tmp_path / "pair.json")),
            task("set", "batch", content=WIDER, diff=True),
            task("refused", "batch", content=WRONG),
            task("seen", "inspect", lab="pair"),
            task("verified", "verify", lab="pair"),
            task("unlike", "verify", content=LONGER),
            task("waits not", "confirm", lab="pair"),
            task("to go", "destroy", lab="pair", check_mode=True),
            task("gone", "destroy", lab="pair"),
            task("gone before", "destroy", lab="pair"),
            task("which", "destroy", lab="pair", all=True),
            task("no command", "destroy", lab="pair", executable="/nowhere/kokofast"),
        ],
    )
    assert {name: one["changed"] for name, one in got.items() if not one.get("failed")} == {
        "planned": True,
        "nothing yet": False,
        "wired": True,
        "again": False,
        "set": True,
        "seen": False,
        "verified": False,
        "to go": True,
        "gone": True,
        "gone before": False,
    }
    assert got["planned"]["diff"]["prepared"] == "+ namespace a\n+ namespace b\n+ veth a:e0--b:e0\n"
    assert got["nothing yet"]["links"] == []
    assert got["wired"]["result"]["links"]["created"] == 1
    assert "~ end a:e0 mtu: 1500 -> 1400\n" in got["set"]["diff"]["prepared"]
    assert got["set"]["result"]["links"]["updated"] == 1
    assert "content" not in json.dumps([one.get("invocation", {}) for one in got.values()])
    assert [link["type"] for link in got["seen"]["links"]] == ["veth"]
    assert [link["state"] for link in got["verified"]["links"]] == ["ok"]
    errors = {name: one["msg"] for name, one in got.items() if one.get("failed")}
    assert errors.keys() == {"refused", "unlike", "waits not", "which", "no command"}
    assert "$.links[0].mtuu: unknown key 'mtuu'" in errors["refused"]
    assert (got["refused"]["rc"], got["refused"]["result"]["status"]) == (2, "invalid")
    assert errors["unlike"].startswith("b:e1 -- c:e0: b:e1 and c:e0 are not there")
    assert errors["no command"].startswith("/nowhere/kokofast is not on this host: install it, for example by the role")
    assert host.state() == before


def test_a_batch_waits_in_the_background_until_it_is_confirmed(underlay: Underlay, tmp_path: Path) -> None:
    host = underlay.hosts["h1"]
    before = host.state()

    def task(name: str, module: str, **arguments: Any) -> dict[str, Any]:
        return {"name": name, f"kokofast.lab.{module}": {"executable": str(host.command_file), **arguments}}

    got = play(
        host,
        tmp_path,
        [
            task("made", "batch", content=PAIR, confirm_within=60),
            {**task("waits", "confirm", lab="pair"), "check_mode": True},
            {**task("not that long", "confirm", lab="pair", at_least=90), "check_mode": True},
            task("taken back", "confirm", lab="pair", revert=True),
            task("nothing left", "inspect", lab="pair"),
            task("refused", "batch", content=WRONG, confirm_within=60),
            task("made again", "batch", content=PAIR, confirm_within=60),
            task("kept", "confirm", lab="pair"),
            task("all is there", "batch", content=PAIR, confirm_within=60),
            task("gone", "destroy", lab="pair"),
        ],
    )
    assert {name: one["waiting"] for name, one in got.items() if "waiting" in one} == {
        "made": True,
        "waits": True,
        "taken back": False,
        "made again": True,
        "kept": False,
        "all is there": False,
    }
    assert 30 < got["waits"]["seconds"] < got["made"]["seconds"] == 60
    assert got["taken back"]["result"]["status"] == "rolled_back"
    assert got["nothing left"]["links"] == []
    assert got["kept"]["result"]["status"] == "applied"
    assert got["all is there"]["result"]["status"] == "unchanged"
    errors = {name: one["msg"] for name, one in got.items() if one.get("failed")}
    assert errors.keys() == {"not that long", "refused"}
    assert errors["not that long"].endswith(" s only, not for 90 s")
    assert "unknown key 'mtuu'" in errors["refused"]
    assert host.state() == before


def test_each_module_is_documented(tmp_path: Path) -> None:
    names = [f"kokofast.lab.{name}" for name in MODULES]
    done = run_ansible(here, "ansible-doc", "--json", "--type", "module", *names, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert list(told) == names
    for name in MODULES:
        found = told[f"kokofast.lab.{name}"]
        assert {"kokofast.lab." + name} <= {key for task in yaml.safe_load(found["examples"]) for key in task}
        assert found["return"].keys() >= {"msg"}
        options = {option: facts_of(facts) for option, facts in found["doc"]["options"].items()}
        assert options == {option: facts_of(facts) for option, facts in arguments_of(name).items()}
        assert all(facts["description"] for facts in found["doc"]["options"].values())


def facts_of(option: dict[str, Any]) -> dict[str, Any]:
    return {key: option[key] for key in ("type", "default", "aliases", "required") if option.get(key) is not None}


def arguments_of(name: str) -> dict[str, Any]:
    """The options that a module really takes."""
    sys.path.insert(0, str(ABOVE))
    try:
        module: Any = importlib.import_module(f"ansible_collections.kokofast.lab.plugins.modules.{name}")
    finally:
        sys.path.remove(str(ABOVE))
    taken: dict[str, Any] = {}

    class Taken(Exception):
        pass

    def take(argument_spec: dict[str, Any], **_: Any) -> None:
        taken.update(argument_spec)
        raise Taken

    before, module.AnsibleModule = module.AnsibleModule, take
    try:
        with pytest.raises(Taken):
            module.main()
    finally:
        module.AnsibleModule = before
    return taken


def test_a_play_that_cannot_be_kept_says_where_and_leaves_nothing(underlay: Underlay, tmp_path: Path) -> None:
    host = underlay.hosts["h1"]
    lines = "".join(json.dumps({"at": at, "set": [{"endpoint": "a:e0", "mtu": 1300}]}) + "\n" for at in range(500))
    arguments = {
        "executable": str(host.command_file),
        "job": "0123456789abcdef",
        "content": json.dumps(PAIR),
        "timeline": lines,
    }
    task = {"name": "full", "kokofast.lab.play": arguments}
    host.run("mkdir", "-m", "700", "/run/kokofast-jobs")
    host.run("mount", "-t", "tmpfs", "-o", "size=4k,mode=700", "tmpfs", "/run/kokofast-jobs")
    try:
        got = play(host, tmp_path, [task])["full"]
        left = host.run("ls", "/run/kokofast-jobs")
    finally:
        host.run("umount", "/run/kokofast-jobs")
        host.run("rmdir", "/run/kokofast-jobs")
    assert (got["failed"], got["msg"]) == (True, "/run/kokofast-jobs: No space left on device")
    assert left == ""


def test_what_a_module_returns_has_not_the_text_of_files() -> None:
    sys.path.insert(0, str(ABOVE))
    try:
        command = importlib.import_module("ansible_collections.kokofast.lab.plugins.module_utils.command")
    finally:
        sys.path.remove(str(ABOVE))
    module = SimpleNamespace(params={"content": "{}", "timeline": "{}\n", "job": "0123456789abcdef"})
    assert command.invocation(module) == {"module_args": {"job": "0123456789abcdef"}}


def test_the_role_and_the_playbooks_are_sound(tmp_path: Path) -> None:
    for name in ("install", "watch"):
        done = run_ansible(here, "ansible-doc", "--json", "--type", "role", f"kokofast.lab.{name}", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        (role,) = json.loads(done.stdout).values()
        options = role["entry_points"]["main"]["options"]
        defaults = yaml.safe_load((COLLECTION / "roles" / name / "defaults" / "main.yml").read_text())
        assert {option: facts["default"] for option, facts in options.items() if "default" in facts} == defaults
    playbooks = [f"kokofast.lab.{path.stem}" for path in (COLLECTION / "playbooks").glob("*.yml")]
    done = run_ansible(here, "ansible-playbook", "--syntax-check", *playbooks, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_collection_can_be_built(tmp_path: Path) -> None:
    done = run_ansible(
        here, "ansible-galaxy", "collection", "build", str(COLLECTION), "--output-path", "built", folder=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = (tmp_path / "built").iterdir()
    assert archive.name == f"kokofast-lab-{kokofast.__version__}.tar.gz"
    with tarfile.open(archive) as opened:
        names = {member.name for member in opened if member.isfile()}
    files = {path.relative_to(COLLECTION) for path in COLLECTION.rglob("*") if path.is_file()}
    wanted = {str(path) for path in files if "__pycache__" not in path.parts} - {"galaxy.yml"}
    assert names == wanted | {"MANIFEST.json", "FILES.json"}
