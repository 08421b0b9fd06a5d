"""A file that is refused: what is printed, in which form, and how much of it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kokofast.cli.main import run
from kokofast.cli.result_schema import schema_of_doctor, schema_of_verify
from kokofast.cli.results import FOLDED, print_errors
from kokofast.engine.result import Failure
from kokofast.host.sandbox import SandboxError

EMPTY = {
    "batch": ({"total": 0, "created": 0, "updated": 0, "unchanged": 0, "failed": 0}, {"created": 0}),
    "destroy": ({"removed": 0, "failed": 0}, {"removed": 0, "failed": 0}),
}


@pytest.mark.parametrize(
    ("arguments", "source", "message"),
    [
        (["batch", "{}/missing.json"], "{}/missing.json", "No such file or directory"),
        (["destroy", "{}/missing.json"], "{}/missing.json", "No such file or directory"),
        (["batch", "{}"], "{}", "Is a directory"),
        (["batch", "/proc/self/mem"], "/proc/self/mem", "Input/output error"),
        (["batch", "/dev/zero"], "/dev/zero", "is larger than 64 MiB"),
        (["batch", "--sandbox", "{}/bad.json"], "$.links", "must be a list, not 5"),
        (["destroy", "{}/bad.json"], "$.links", "must be a list, not 5"),
        (["destroy", "--name", "a b"], "", "'a b' cannot be the lab's name"),
        (["destroy", "--name", "a", "--all"], "", "destroy takes either"),
        (["destroy"], "", "destroy takes either"),
        (["batch", "--exit-code", "{}/bad.json"], "", "--exit-code goes with --dry-run"),
        (["batch", "--sandbox", "{}/outside.json"], "$.nodes.a", "a pid node cannot be in a sandbox"),
    ],
)
def test_json_stays_json(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], source: str, message: str
) -> None:
    (tmp_path / "bad.json").write_text('{"links": 5}')
    (tmp_path / "outside.json").write_text('{"nodes": {"a": {"pid": 1}}, "links": [{"endpoints": ["a:x", "b:x"]}]}')
    code = run([part.format(tmp_path) for part in [*arguments, "--format", "json"]])
    output, errors = capfd.readouterr()
    result: dict[str, Any] = json.loads(output)
    assert (code, result["lab"], result["status"], result["seconds"]) == (2, "", "invalid", {"total": 0})
    assert (result["links"], result["namespaces"]) == EMPTY[arguments[0]]
    (error,) = result["errors"]
    assert error["source"] == source.format(tmp_path)
    assert error["message"].startswith(message)
    assert error["message"] in errors


def test_json_stays_json_where_the_machine_refuses(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "lab.json"
    file.write_text('{"links": [{"endpoints": ["a:x", "b:x"]}]}')
    for module, name, raised in (
        ("kokofast.host.limits", "missing_capabilities", None),
        ("kokofast.host.sandbox", "enter", SandboxError("no user namespaces")),
        ("kokofast.engine.apply", "apply", OSError(errno.EMFILE, os.strerror(errno.EMFILE))),
        ("kokofast.engine.destroy", "destroy", OSError(errno.EMFILE, os.strerror(errno.EMFILE))),
    ):

        def refuse(*_: object, raised: Exception | None = raised, **__: object) -> list[str]:
            if raised is not None:
                raise raised
            return ["CAP_NET_ADMIN"]

        async def refuse_later(*arguments: object, refuse: Any = refuse, **options: object) -> None:
            refuse()

        with monkeypatch.context() as patch:
            patch.setattr("kokofast.host.limits.missing_capabilities", lambda *_: [])
            patch.setattr(f"{module}.{name}", refuse_later if name in ("apply", "destroy") else refuse)
            command = "destroy" if name.endswith("destroy") else "batch"
            options = ["--sandbox"] if name == "enter" else []
            code = run([command, str(file), *options, "--format", "json"])
        output, errors = capfd.readouterr()
        result: dict[str, Any] = json.loads(output)
        # Of a destroy that broke off nobody knows how much it did.
        assert (code, result["status"]) == ((3, "partial") if command == "destroy" else (1, "rolled_back"))
        assert (result["links"], result["namespaces"]) == EMPTY[command]
        (error,) = result["errors"]
        assert errors == f"kokofast: {error['message']}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["verify", "/missing.json"], 2, "No such file or directory"),
        (["verify", "{}/bad.json"], 2, "must be a list, not 5"),
        (["verify", "a b"], 2, "'a b' cannot be the lab's name"),
        (["verify", "lab"], 1, "this needs "),
        (["doctor", "/missing.json"], 2, "No such file or directory"),
        (["doctor", "{}/bad.json"], 2, "must be a list, not 5"),
    ],
)
def test_an_answer_in_json_stays_one(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad.json").write_text('{"links": 5}')
    monkeypatch.setattr("kokofast.host.limits.missing_capabilities", lambda *_: ["CAP_NET_RAW"])
    assert run([part.format(tmp_path) for part in [*arguments, "--format", "json"]]) == code
    output, errors = capfd.readouterr()
    answer = json.loads(output)
    schema = schema_of_verify() if arguments[0] == "verify" else schema_of_doctor()
    Draft202012Validator(schema).validate(answer)
    (error,) = answer["errors"]
    assert (answer["ok"], error["message"].startswith(message)) == (False, True)
    assert error["message"] in errors


def test_without_json_standard_output_is_empty(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "/missing"]) == 2
    assert capfd.readouterr() == ("", "kokofast: /missing: No such file or directory\n")


def test_many_errors_of_a_sort_are_folded(capfd: pytest.CaptureFixture[str]) -> None:
    missing = [Failure(f"$.links[{n}]", f"node r{n}: there is no network namespace 'r{n}'") for n in range(2001)]
    other = Failure("$.links[7].mtu", "must be a whole number from 68 to 65535, not 5")
    print_errors([*missing[:3], other, *missing[3:], other])
    lines = capfd.readouterr().err.splitlines()
    assert lines == [
        *[f"kokofast: {error}" for error in [*missing[:3], other, *missing[3:FOLDED]]],
        f"kokofast: ... and {2001 - FOLDED:,} more like this; --format json lists them all",
        f"kokofast: {other}",
    ]


def test_many_errors_of_a_timeline_are_folded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    links, timeline = tmp_path / "links.json", tmp_path / "timeline.jsonl"
    links.write_text('[["a", "b"]]')
    changes = [{"endpoints": [f"x{n}:e0", f"y{n}:e0"], "rate": "1mbit"} for n in range(500)]
    timeline.write_text(json.dumps({"at": 1, "set": changes}))
    assert run(["play", str(links), str(timeline), "--dry-run"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == FOLDED + 1
    assert lines[0].endswith("set[0].endpoints: there is no link 'x0:e0--y0:e0' at this time")
    assert lines[-1] == f"kokofast: ... and {500 - FOLDED} more like this"


def test_errors_that_say_different_things_are_not_folded(capfd: pytest.CaptureFixture[str]) -> None:
    words = [Failure("", f"the {word} is wrong") for word in ("mtu", "mac", "vni", "port", "id", "mode", "name", "up")]
    print_errors(words)
    assert len(capfd.readouterr().err.splitlines()) == len(words)
    print_errors([Failure(f"$.links[{n}]", "no") for n in range(FOLDED + 1)])  # nor one line by another
    assert "more" not in capfd.readouterr().err


def test_many_errors_that_say_the_same_are_one_line(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "wrong.json"
    links = [{"endpoints": [f"a{n}:x", f"b{n}:x"], "labels": {}} for n in range(413)]
    file.write_text(json.dumps([*links, {"endpoints": 5}]))
    words = "unknown key 'labels'; known: "
    for command in (["validate"], ["batch", "--sandbox"]):
        assert run([*command, str(file)]) == 2
        first, second = capfd.readouterr().err.splitlines()
        assert f"$[0].labels: {words}" in first
        assert first.endswith(" (the same at 412 more places, the last is $[412].labels)")
        assert "$[413].endpoints: " in second


@pytest.mark.usefixtures("requires_root")
def test_an_end_that_is_given_twice_is_one_line(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "twice.json"
    here = {"host": True}
    for second in (["a:k5x", "a:k5z"], ["a:k5x", "a:k5y"]):
        file.write_text(
            json.dumps({"nodes": {"a": here}, "links": [{"endpoints": ["a:k5x", "a:k5y"]}, {"endpoints": second}]})
        )
        for command in (["validate"], ["batch", "--dry-run"]):
            assert run([*command, str(file)]) == 2
            assert len(capfd.readouterr().err.splitlines()) == 1


def test_a_file_of_wrong_links(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps([{"endpoints": [f"a{n}:x", f"b{n}:x"], "mtu": n} for n in range(60)]))
    assert run(["batch", str(file), "--sandbox", "--format", "json"]) == 2
    output, errors = capfd.readouterr()
    assert len(json.loads(output)["errors"]) == 60
    assert len(errors.splitlines()) == FOLDED + 1
    # validate has no other form: it lists them all.
    assert run(["validate", str(file)]) == 2
    assert len(capfd.readouterr().err.splitlines()) == 60
