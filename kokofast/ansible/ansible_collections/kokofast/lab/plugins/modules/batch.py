#!/usr/bin/python
"""The module kokofast.lab.batch."""

from __future__ import annotations

DOCUMENTATION = r"""
module: batch
short_description: Make the links of this host match a topology
description:
  - Creates what is missing, sets what differs, leaves what is right; all of it, or nothing.
  - Runs C(kokofast batch) once, with the whole topology.
  - With O(confirm_within) the links are made, and taken back unless M(kokofast.lab.confirm) keeps them in time. So the
    links of many hosts are made on all of them, or on none.
options:
  src:
    description: The file of the topology, on the host.
    type: path
  content:
    description: The topology itself, as text or as data. One of O(src) and O(content) is needed.
    type: raw
  name:
    description: The name of the lab. By default the C(name) in the topology.
    type: str
    aliases: [lab]
  create:
    description: Whether to make network namespaces that are missing.
    type: bool
    default: false
  prune:
    description: Whether to remove links and namespaces of the lab that are not in the topology any more.
    type: bool
    default: false
  replace:
    description: Whether to delete and make again links that cannot be changed in place.
    type: bool
    default: false
  confirm_within:
    description:
      - After this many seconds all is taken back, unless M(kokofast.lab.confirm) keeps it.
      - The module returns as soon as all is made; C(kokofast batch) waits in the background.
    type: float
extends_documentation_fragment: kokofast.lab.command
attributes:
  check_mode:
    support: full
    description: Runs C(kokofast batch --dry-run). The steps of its plan are returned with C(diff) only.
  diff_mode:
    support: full
    description: Shows the steps of the plan, a line each.
"""

EXAMPLES = r"""
- name: Two namespaces and a link between them
  kokofast.lab.batch:
    content:
      name: pair
      defaults: {create: true}
      links:
        - endpoints: ["left:eth0:192.0.2.1/30", "right:eth0:192.0.2.2/30"]
  become: true

- name: What this host has of a lab, from a file of `kokofast split`
  kokofast.lab.batch:
    content: "{{ lookup('ansible.builtin.file', 'parts/' ~ inventory_hostname ~ '.json') }}"
    prune: true
  become: true

- name: Taken back after a minute, unless it is confirmed
  kokofast.lab.batch:
    src: /etc/kokofast/fabric.json
    confirm_within: 60
  become: true
"""

RETURN = r"""
result:
  description: What C(kokofast batch --format json) printed; see C(kokofast schema result).
  returned: unless it waits
  type: dict
  sample: {"lab": "pair", "status": "applied", "links": {"total": 1, "created": 1}}
waiting:
  description: Whether C(kokofast batch) waits for a confirmation now.
  returned: success
  type: bool
lab:
  description: The name of the lab.
  returned: success
  type: str
seconds:
  description: For how long it waits.
  returned: when it waits
  type: float
msg:
  description: The errors, a line each, with their places in the topology.
  returned: failure
  type: str
rc:
  description: The exit code of C(kokofast).
  returned: failure
  type: int
"""

import json
import subprocess
import tempfile
import time
from contextlib import ExitStack
from typing import IO, Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kokofast.lab.plugins.module_utils import command

SIGNS = {"create": "+", "replace": "-/+", "update": "~", "delete": "-"}
POLL = 0.02  # seconds


def main() -> None:
    """Run the module."""
    flags = {name: {"type": "bool", "default": False} for name in ("create", "prune", "replace")}
    module = AnsibleModule(
        argument_spec={
            **command.SOURCE,
            **command.NAME,
            **flags,
            **command.OPTIONS,
            "confirm_within": {"type": "float"},
        },
        mutually_exclusive=[("src", "content")],
        required_one_of=[("src", "content")],
        supports_check_mode=True,
    )
    file, text = command.source(module)
    arguments = ["batch", file, "--format=json", *command.named(module)]
    arguments += [f"--{flag}" for flag in flags if module.params[flag]]
    shown: dict[str, Any] = {}
    if module.check_mode or module._diff:
        planned = command.result_of(module, *command.run(module, [*arguments, "--dry-run"], text))
        if module._diff:
            shown = {"diff": {"prepared": as_text(planned)}}
        if module.check_mode:
            command.leave(
                module,
                planned["status"] == "planned",
                result=planned,
                lab=planned["lab"],
                waiting=False,
                **shown,
            )
    if module.params["confirm_within"] is None:
        result = command.result_of(module, *command.run(module, arguments, text))
    else:
        result = begin(module, [*arguments, f"--confirm-within={module.params['confirm_within']:g}"], text, shown)
    command.leave(module, result["status"] != "unchanged", result=result, lab=result["lab"], waiting=False, **shown)


def begin(module: AnsibleModule, arguments: list[str], text: str | None, shown: dict[str, Any]) -> dict[str, Any]:
    """Start a batch that waits for a confirmation, and end the module then; return its result if it does not wait."""
    with ExitStack() as stack:
        # It outlives the module, and so it has files without a name: a pipe would end with the module.
        given, printed, messages = (
            stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", dir=module.tmpdir)) for _ in range(3)
        )
        given.write(text or "")
        given.seek(0)
        process = subprocess.Popen(
            [command.find(module), *arguments], stdin=given, stdout=printed, stderr=messages, start_new_session=True
        )
        code = None
        while code is None:
            code = process.poll()
            first, _, rest = contents(printed).partition("\n")
            if first.startswith('{"event"'):
                if code is None and first.endswith("}"):
                    event = json.loads(first)
                    command.leave(module, True, waiting=True, lab=event["lab"], seconds=event["seconds"], **shown)
            else:
                rest = contents(printed)
            time.sleep(POLL)
        return command.result_of(module, code, command.parse(module, rest), command.plain(contents(messages)))


def contents(file: IO[str]) -> str:
    """Return what was written to a file so far."""
    file.seek(0)
    return file.read()


def as_text(result: dict[str, Any]) -> str:
    """Return the plan, a line a step."""
    return "".join(f"{line_of(step)}\n" for step in result.get("plan", []))


def line_of(step: dict[str, Any]) -> str:
    """Return a step of the plan as a line."""
    words = [SIGNS[step["action"]], step.get("type", step["kind"]), step.get("end") or step.get("name") or step["link"]]
    if "field" in step:
        words.append(f"{step['field']}: {json.dumps(step['before'])} -> {json.dumps(step['after'])}")
    words += [
        f"{one['field']}: {json.dumps(one['before'])} -> {json.dumps(one['after'])}" for one in step.get("changes", [])
    ]
    return " ".join(words)


if __name__ == "__main__":
    main()
