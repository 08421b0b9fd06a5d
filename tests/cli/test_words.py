"""What helps a user who mistypes, and what goes to which stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from kokofast.cli.main import run as run_in_process
from kokofast.cli.output import with_streams
from kokofast.cli.results import print_result
from kokofast.engine.result import Result
from kokofast.plan.step import Step
from kokofast.topology.model import End, Link
from tests.conftest import RunKokofast


@pytest.mark.parametrize(
    ("arguments", "usage", "words"),
    [
        (["batch", "x", "--dryrun"], "kokofast batch", "unknown option '--dryrun'; did you mean '--dry-run'?"),
        (["batch", "--dryrun"], "kokofast batch", "did you mean '--dry-run'?"),
        (["batch", "x", "--job=4"], "kokofast batch", "unknown option '--job'; did you mean '--jobs'?"),
        (["batch", "x", "--format", "jsn"], "kokofast batch", "unknown value 'jsn'; did you mean 'json'?"),
        (["destroy", "--al"], "kokofast destroy", "did you mean '--all'?"),
        (["destroy", "x", "-z"], "kokofast destroy", "unrecognized arguments: -z"),
        (["validate", "x", "y"], "kokofast validate", "unrecognized arguments: y"),
        (["generate", "chain", "--link", "5"], "kokofast generate chain", "did you mean '--links'?"),
        (["generate", "--links=5", "chain", "--links", "5"], "kokofast generate", "the option --links goes behind"),
        (["inspekt"], "kokofast", "unknown command 'inspekt'; did you mean 'inspect'?"),
        (["--versio"], "kokofast", "did you mean '--version'?"),
        (["--dry-run", "batch", "x", "--name", "y"], "kokofast", "the option --dry-run goes behind the command"),
        (["--format", "json", "batch", "x"], "kokofast", "the option --format goes behind the command"),
        (["--quiet", "batch", "x"], "kokofast", "the option --quiet goes behind the command"),
        (["inspekt", "--all"], "kokofast", "unknown command 'inspekt'"),
        (["generate", "rng", "--nodes", "3"], "kokofast generate", "unknown shape 'rng'; did you mean 'ring'?"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_a_typing_error_gets_the_usage_of_its_command(
    capfd: pytest.CaptureFixture[str], arguments: Sequence[str], usage: str, words: str
) -> None:
    with pytest.raises(SystemExit) as end:
        run_in_process(arguments)
    assert end.value.code == 2
    output, errors = capfd.readouterr()
    assert output == ""
    assert errors.startswith(f"usage: {usage} ")
    assert words in errors.splitlines()[-1]
    assert errors.splitlines()[-1].startswith(f"{usage}: error: ")


def test_destroy_of_a_lab_by_its_bare_name_is_told_of_name(kokofast: RunKokofast, tmp_path: Path) -> None:
    done = kokofast("destroy", "fabric1")
    assert done.returncode == 2
    assert "kokofast destroy --name fabric1" in done.stderr
    for other in (str(tmp_path / "fabric1"), "../fabric1"):
        assert "--name" not in kokofast("destroy", other).stderr
    assert "--name" not in kokofast("batch", "fabric1").stderr


def test_an_option_of_one_letter_in_front_of_its_command(kokofast: RunKokofast) -> None:
    done = kokofast("-q", "batch", "x.json")
    assert done.returncode == 2
    assert "there is no option '-q' in front of a command; options go behind it: kokofast batch -q ..." in done.stderr
    assert "command" not in kokofast("-q", "x").stderr


@pytest.mark.parametrize("command", ["batch", "validate", "destroy"])
def test_a_file_that_is_called_nearly_like_it_is_named(kokofast: RunKokofast, tmp_path: Path, command: str) -> None:
    (tmp_path / "chain.json").write_text("[]")
    for name in ("chian", "chian.json", "chain.jsn", "chain"):
        done = kokofast(command, f"{tmp_path}/{name}")
        assert done.returncode == 2
        assert f"did you mean {tmp_path}/chain.json?" in done.stderr
    for name in ("other", "other.json", "x.json"):
        assert "did you mean" not in kokofast(command, f"{tmp_path}/{name}").stderr


def test_remarks_go_to_standard_error_and_the_plan_to_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    result = Result("lab", "planned")
    step = Step("create", "link", Link("veth", (End("a", "e0"), End("b", "e0"))), source="$.links[0]")
    result.planned, result.notes = [step], ["3 are many"]
    print_result(result, "table", quiet=False)
    output, errors = capfd.readouterr()
    assert output.splitlines()[0] == "+ veth a:e0--b:e0"
    assert "many" not in output
    assert errors == "kokofast: 3 are many\n"
    print_result(result, "table", quiet=True)
    assert capfd.readouterr() == ("", "")
    print_result(result, "json", quiet=False)
    found = json.loads(capfd.readouterr().out)
    assert found["notes"] == ["3 are many"]
    ends = [{"node": node, "interface": "e0", "addresses": []} for node in "ab"]
    (shown,) = found["plan"]
    assert shown == {
        "action": "create",
        "kind": "link",
        "source": "$.links[0]",
        "link": "a:e0--b:e0",
        "type": "veth",
        "endpoints": ends,
    }


@pytest.mark.usefixtures("requires_root")
def test_q_is_quiet(kokofast: RunKokofast) -> None:
    done = kokofast("batch", "-", "--sandbox", "-q", input='{"endpoints": ["a:e0", "b:e0"]}\n')
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert kokofast("destroy", "-q", "--help").returncode == 0


def test_an_exception_that_the_interpreter_has_lost_is_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    def run(words: str) -> int:
        def job() -> int:
            raise SystemError(words)

        return with_streams(job)

    assert run("<built-in function open> returned NULL without setting an exception") == 1
    assert capfd.readouterr().err == "kokofast: not enough memory\n"
    with pytest.raises(SystemError, match="bad argument"):
        run("bad argument")
