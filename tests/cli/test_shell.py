"""Completion in real shells, the man page by man(1), and the versions for a report."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kokofast import __version__
from kokofast.cli.parser import build_parser
from kokofast.cli.shell import _actions, completion, manual
from tests.conftest import RunKokofast

# What is typed, and what Tab makes of it in a folder with links.json, where the lab office is there.
COMPLETED = [
    ("kokofast bat", "kokofast batch"),
    ("kokofast batch --rep", "kokofast batch --replace"),
    ("kokofast batch lin", "kokofast batch links.json"),
    ("kokofast batch --trace lin", "kokofast batch --trace links.json"),
    ("kokofast verify lin", "kokofast verify links.json"),
    ("kokofast verify off", "kokofast verify office"),
    ("kokofast inspect off", "kokofast inspect office"),
    ("kokofast destroy --name off", "kokofast destroy --name office"),
    ("kokofast graph links.json -o lin", "kokofast graph links.json -o links.json"),
    ("kokofast destroy --format j", "kokofast destroy --format json"),
    ("kokofast generate wal", "kokofast generate walker"),
    ("kokofast generate walker --plan", "kokofast generate walker --planes"),  # options that are added late
    ("kokofast play --unt", "kokofast play --until"),
    ("kokofast split --timel", "kokofast split --timeline"),
]

BASH = """
source ./script
complete_line() {
    read -r -a COMP_WORDS <<< "$1"
    COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )) COMP_LINE=$1 COMP_POINT=${#1} COMPREPLY=()
    local function
    function=$(complete -p kokofast | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
    "$function" kokofast "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
    echo "${COMP_WORDS[*]:0:COMP_CWORD} ${COMPREPLY[*]}"
}
"""
# An interactive zsh in a terminal of zpty's. ^U empties its line for the next one.
ZSH = """
zmodload zsh/zpty
zpty shell env PS1= TERM=dumb COLUMNS=200 zsh -f -i
zpty -w shell 'unsetopt zle_bracketed_paste; autoload -Uz compinit; fpath=($PWD $fpath); compinit -u -D; echo rea''dy'
zpty -r shell seen $'*\\nready*'
complete_line() {
    zpty -w -n shell $'\\x15'"$1"$'\\t'
    zpty -r shell seen "*$2*"
    echo "$2"
}
"""
FISH = """
source ./script
function complete_line
    set words (string split ' ' -- $argv[1])
    echo $words[1..-2] (string split -f 1 \\t -- (complete -C $argv[1]))
end
"""
SHELLS = {"bash": (["bash"], BASH), "zsh": (["zsh", "-f"], ZSH), "fish": (["fish", "--no-config"], FISH)}


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes(shell: str, tmp_path: Path) -> None:
    (tmp_path / "links.json").write_text("[]")
    (tmp_path / ("_kokofast" if shell == "zsh" else "script")).write_text(completion(shell) + "\n")
    # What is there is no part of this: a program of that name prints a lab.
    (tmp_path / "kokofast").write_text('#!/bin/sh\n[ "$*" = "inspect --format labs" ] && echo office && echo other\n')
    (tmp_path / "kokofast").chmod(0o755)
    command, functions = SHELLS[shell]
    calls = "\n".join(f"complete_line {shlex.join(pair)}" for pair in COMPLETED)
    done = subprocess.run(
        [*command, "-c", f"{functions}\n{calls}"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == [line for _, line in COMPLETED], done.stderr
    assert done.stderr == ""


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in _actions(parser):
        yield from (name for name in action.option_strings if name.startswith("--"))


def test_the_man_page_has_all_and_is_well_formed(tmp_path: Path) -> None:
    page = tmp_path / "kokofast.1"
    page.write_text(manual() + "\n")
    command = ["man", "--warnings", "--local-file", str(page)]
    env = {**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=True)
    assert done.stderr == ""
    parser = build_parser()
    for name in {*options(parser), "/run/netns"}:
        assert name in done.stdout, name
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name in commands.choices:
        assert f"\n   kokofast {name}\n" in done.stdout, name
    for heading in ("NAME", "SYNOPSIS", "COMMANDS", "EXIT STATUS", "FILES", "ENVIRONMENT", "EXAMPLES", "SEE ALSO"):
        assert f"\n{heading}\n" in done.stdout, heading
    named = subprocess.run(["lexgrog", str(page)], capture_output=True, text=True, timeout=60, check=True)
    assert '"kokofast - wires network namespaces' in named.stdout


def test_the_commands_print_them(kokofast: RunKokofast) -> None:
    assert kokofast("man").stdout == manual() + "\n"
    assert kokofast("completion", "bash").stdout == completion("bash") + "\n"
    assert kokofast("completion", "tcsh").returncode == 2


@pytest.mark.parametrize(("module", "arguments"), [("shtab", ["completion", "fish"]), ("argparse_manpage", ["man"])])
def test_a_missing_library_is_named_with_its_extra(module: str, arguments: list[str]) -> None:
    script = f"import sys; sys.modules[{module!r}] = None; from kokofast.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(": pip install 'kokofast[shell]'\n")


def test_the_version_comes_with_what_runs_it(kokofast: RunKokofast) -> None:
    lines = kokofast("--version").stdout.splitlines()
    assert lines[0] == f"kokofast {__version__}"
    assert os.uname().release in lines[1]
    assert lines[2] == f"Python {sys.version.split()[0]}"
    assert [line.split()[0] for line in lines[3:]] == ["trio", "msgspec"]
    assert kokofast("-v").stdout == f"kokofast {__version__}\n"
