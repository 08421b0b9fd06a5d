"""Plays a playbook of our collection by ansible-runner, and hands over what each task returned on each host.

Ansible is under the GPL. It is not imported: ansible-runner, which is not, starts it as a program.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COLLECTIONS = Path(__file__).resolve().parent.parent / "ansible"
PROGRAM = "ansible-playbook"
FORKS_MAX = 50  # hosts that are asked at a time; each is a process of some 50 MB
# A host that does not answer any more is given up after 15 s. Without, ssh waits for TCP, which takes 15 minutes.
KEEPALIVE = "-o ServerAliveInterval=5 -o ServerAliveCountMax=3"
ENDED = {"runner_on_ok": "ok", "runner_on_failed": "failed", "runner_on_unreachable": "unreachable"}
CURE = "pip install 'kokofast[hosts]'"
PATIENCE = 1  # seconds until is_cancelled() is called again, when Ansible says nothing
ERROR = "[ERROR]: "
TAIL = 3  # lines of Ansible's output, where none is an error


class AnsibleError(Exception):
    """Ansible is not here, or broke down. The text says what to do."""


class Answer(NamedTuple):
    """What a task came to on a host: state is ok, failed or unreachable."""

    task: str
    host: str
    state: str
    found: dict[str, Any]


class Play(NamedTuple):
    """How a playbook is played.

    Attributes:
        playbook: Its name in the collection.
        folder: For what Ansible writes; nothing of it is needed afterwards.
        inventory: As Ansible has it in YAML; or the path of one.
        variables: The playbook's.
        options: Of ansible-playbook.
        forks: How many hosts are asked at a time; None: all, but no more than FORKS_MAX.
    """

    playbook: str
    folder: Path
    inventory: Mapping[str, Any] | str
    variables: Mapping[str, Any]
    options: tuple[str, ...] = ()
    forks: int | None = None


def play(
    this: Play,
    on_task: Callable[[str], None],
    on_answer: Callable[[Answer], None],
    is_cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Play a playbook. Calls on_task at the begin of each task, and ends Ansible when is_cancelled() returns True.

    Raises AnsibleError when Ansible did not get as far as to a host.
    """
    try:
        import ansible_runner
    except ImportError:
        raise AnsibleError(f"hosts need ansible-runner: {CURE}") from None
    answers = 0

    def take(event: dict[str, Any]) -> bool:
        nonlocal answers
        data = event.get("event_data", {})
        if event["event"] == "playbook_on_task_start":
            on_task(data["task"])
        elif event["event"] in ENDED:
            answers += 1
            on_answer(Answer(data["task"], data["host"], ENDED[event["event"]], data["res"]))
        return False  # do not keep it in a file

    inventory, variables, forks = this.inventory, this.folder / "variables.yml", FORKS_MAX
    if not isinstance(inventory, str):
        forks = this.forks or min(len(inventory["all"]["hosts"]), FORKS_MAX)
        path = this.folder / "hosts.json"
        path.write_text(json.dumps(inventory), encoding="utf-8")
        inventory = str(path)
    variables.write_text("".join(map(_line, this.variables.items())), encoding="utf-8")
    ran = ansible_runner.run(
        private_data_dir=str(this.folder),
        playbook=f"kokofast.lab.{this.playbook}",
        inventory=inventory,
        envvars=_environment(_program()),
        cmdline=shlex.join([*this.options, f"--extra-vars=@{variables}"]),
        forks=forks,
        event_handler=take,
        cancel_callback=is_cancelled,
        settings={"pexpect_timeout": PATIENCE},
        quiet=True,
    )
    if ran.rc != 0 and not answers and ran.status != "canceled":
        with ran.stdout as output:
            raise AnsibleError(f"{PROGRAM} ended with exit code {ran.rc}: {_cause(output.read())}")


def _cause(output: str) -> str:
    """Return the errors in Ansible's output, or its end."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
    return "; ".join(errors or lines[-TAIL:])


def _line(variable: tuple[str, Any]) -> str:
    """Return a variable as a line of YAML. A name of the user's with {{ }} in it is no template."""
    name, value = variable
    return f"{name}: {'!unsafe ' * isinstance(value, str)}{json.dumps(value)}\n"


def _program() -> str:
    """Return the path of Ansible's program: where kokofast itself is installed, or else on the PATH."""
    beside = Path(sys.executable).with_name(PROGRAM)
    found = str(beside) if beside.exists() else shutil.which(PROGRAM)
    if found is None:
        raise AnsibleError(f"hosts need {PROGRAM}: {CURE}")
    if not COLLECTIONS.is_dir():
        raise AnsibleError(f"hosts need kokofast as a package, not as one file: {CURE}")
    return found


def _environment(program: str) -> dict[str, str]:
    """Return what Ansible's environment has beside ours. What the user has set there stays."""
    others = os.environ.get("ANSIBLE_COLLECTIONS_PATH", "~/.ansible/collections:/usr/share/ansible/collections")
    wanted = {"ANSIBLE_PIPELINING": "true", "ANSIBLE_SSH_EXTRA_ARGS": KEEPALIVE}
    return {
        "PATH": f"{os.path.dirname(program)}:{os.environ.get('PATH', os.defpath)}",
        "ANSIBLE_COLLECTIONS_PATH": f"{COLLECTIONS}:{others}",
        **{name: value for name, value in wanted.items() if name not in os.environ},
    }
