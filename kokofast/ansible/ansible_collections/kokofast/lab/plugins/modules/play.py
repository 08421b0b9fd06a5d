#!/usr/bin/python
"""The module kokofast.lab.play."""

from __future__ import annotations

DOCUMENTATION = r"""
module: play
short_description: Play a timeline in the background, for as long as it is wanted
description:
  - Runs C(kokofast play) in the background. It ends when its lease is not renewed in time, so that no host plays for
    ever when the controller has died.
  - C(kokofast hosts play) uses it.
options:
  state:
    description:
      - V(started) starts it. V(renewed) renews the lease.
      - V(stopped) ends it between two epochs, if it has not ended, waits for its end, and forgets it.
    type: str
    choices: [started, renewed, stopped]
    default: started
  job:
    description: A name for this play, which no other one has; 8 to 64 hexadecimal digits.
    type: str
    required: true
  content:
    description: The topology, with V(started).
    type: raw
  timeline:
    description: The timeline as JSON lines, with V(started).
    type: raw
  start_at:
    description: When the timeline begins, in seconds since the epoch by the host's clock.
    type: float
  lease:
    description: After this many seconds without V(renewed) it ends by itself.
    type: float
    default: 60.0
  arguments:
    description: More options of C(kokofast play).
    type: list
    elements: str
    default: []
  offset:
    description: The O(offset) that was returned before; what was printed up to there is not returned again.
    type: int
    default: 0
extends_documentation_fragment: kokofast.lab.command
attributes:
  check_mode:
    support: none
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Begin in ten seconds
  kokofast.lab.play:
    job: 0123456789abcdef
    content: "{{ lookup('ansible.builtin.file', 'parts/' ~ inventory_hostname ~ '.json') }}"
    timeline: "{{ lookup('ansible.builtin.file', 'parts/' ~ inventory_hostname ~ '.timeline.jsonl') }}"
    start_at: "{{ now().timestamp() + 10 }}"
  become: true

- name: Go on
  kokofast.lab.play:
    job: 0123456789abcdef
    state: renewed
  become: true

- name: End it
  kokofast.lab.play:
    job: 0123456789abcdef
    state: stopped
  become: true
"""

RETURN = r"""
ended:
  description: Whether it has ended.
  returned: success
  type: bool
code:
  description: The exit code of C(kokofast play), if it has ended. Not C(rc), by which Ansible takes a task for failed.
  returned: success
  type: int
at:
  description: The time in the timeline of the last epoch since O(offset), if there was one.
  returned: success
  type: float
bad:
  description: The lines of epochs that were refused; see C(kokofast schema played).
  returned: success
  type: list
  elements: dict
summary:
  description: The summary that C(kokofast play) has printed at its end.
  returned: success
  type: dict
  sample: {"epochs": 20, "refused": 0, "missed": 0}
messages:
  description: The end of what it has written to standard error.
  returned: success
  type: str
offset:
  description: Up to where this was all.
  returned: success
  type: int
msg:
  description: Why this was not possible.
  returned: failure
  type: str
"""

import json
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kokofast.lab.plugins.module_utils import command
from ansible_collections.kokofast.lab.plugins.module_utils.job import FOLDER, Job

POLL = 0.1  # seconds
# To end an epoch that has begun, and with --destroy the lab.
PATIENCE = 600.0
GOOD = ("applied", "unchanged")
FILE = "lab.json"
TIMELINE = "timeline.jsonl"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "renewed", "stopped"], "default": "started"},
            "job": {"type": "str", "required": True},
            "content": {"type": "raw"},
            "timeline": {"type": "raw"},
            "start_at": {"type": "float"},
            "lease": {"type": "float", "default": 60.0},
            "arguments": {"type": "list", "elements": "str", "default": []},
            "offset": {"type": "int", "default": 0},
            **command.OPTIONS,
        },
        required_if=[("state", "started", ("content", "timeline"))],
    )
    state = module.params["state"]
    try:
        job = Job(module.params["job"], (FILE, TIMELINE))
        if state == "started":
            start(module, job)
            command.leave(module, True, ended=False, offset=0)
        found = follow(job, module.params["offset"], is_last=state == "stopped")
    except FileNotFoundError:
        command.fail(module, "nothing is known here of this play: its lease was over, or the host was started again")
    except OSError as error:
        # One that writes names no file; ours, such as PermissionError, say all.
        command.fail(module, f"{error.filename or FOLDER}: {error.strerror}" if error.strerror else str(error))
    except ValueError as error:
        command.fail(module, str(error))
    command.leave(module, state == "stopped", **found)


def start(module: AnsibleModule, job: Job) -> None:
    """Start it."""
    lab, timeline = (
        # Before 2.19 Ansible makes data of a text that is one object.
        value if isinstance(value, str) else json.dumps(value)
        for value in (module.params["content"], module.params["timeline"])
    )
    program = command.find(module)
    options = list(module.params["arguments"])
    if module.params["start_at"] is not None:
        options.append(f"--start-at={module.params['start_at']:.6f}")

    def arguments(folder: str) -> list[str]:
        return [program, "play", os.path.join(folder, FILE), os.path.join(folder, TIMELINE), *options]

    job.start(arguments, {FILE: lab, TIMELINE: timeline}, module.params["lease"])


def follow(job: Job, offset: int, *, is_last: bool) -> dict[str, Any]:
    """Renew the lease; return what was printed since an offset. The last time end it, wait for that, and forget it."""
    found: dict[str, Any] = {"bad": []}
    deadline = time.monotonic() + PATIENCE
    if is_last:
        job.stop()
    while True:
        job.renew()
        look = job.look(offset)
        offset = look.offset
        for line in look.lines:
            take(found, line)
        if not is_last or look.code is not None or time.monotonic() > deadline:
            break
        time.sleep(POLL)
    if is_last and look.code is not None:
        job.forget()
    ended = look.code is not None
    return {**found, "ended": ended, "code": look.code, "offset": offset, "messages": command.plain(look.messages)}


def take(found: dict[str, Any], text: str) -> None:
    """Add a line of the output to what is returned: most epochs are as they should be, and only counted."""
    try:
        line = json.loads(text)
    except ValueError:
        return
    if "summary" in line:
        found["summary"] = line["summary"]
    elif "at" in line:
        found["at"] = line["at"]
        if line.get("status") not in GOOD:
            found["bad"].append(line)


if __name__ == "__main__":
    main()
