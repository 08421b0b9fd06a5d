#!/usr/bin/python
"""The module kokofast.lab.verify."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verify
short_description: Check whether the links of this host carry
description:
  - Runs C(kokofast verify), which sends frames over each link and compares the links with a topology.
  - Fails when a link does.
options:
  src:
    description: The file of the topology, on the host.
    type: path
  content:
    description: The topology itself, as text or as data.
    type: raw
  lab:
    description: The lab. With a topology its name; alone, the lab as it is. By default all labs.
    type: str
    aliases: [name]
  timeout:
    description: How many seconds to wait for a frame at most.
    type: float
  across:
    description:
      - The other ends of links to other hosts, as C(kokofast hosts verify) makes it, as text or as data.
      - Frames are exchanged with the hosts that verify at the same time.
    type: raw
  failed_only:
    description: Whether to return only the links that failed.
    type: bool
    default: false
extends_documentation_fragment: kokofast.lab.command
attributes:
  check_mode:
    support: full
    description: Changes nothing.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Check all links of a lab
  kokofast.lab.verify:
    lab: fabric
  become: true
"""

RETURN = r"""
links:
  description: Each link with its state and its problems; see C(kokofast schema verify).
  returned: when they could be looked at
  type: list
  elements: dict
counts:
  description: How many links are C(ok), C(unchecked) and C(failed).
  returned: when they could be looked at
  type: dict
  sample: {"ok": 12, "unchecked": 1, "failed": 0}
errors:
  description: Why links could not be looked at; each with C(source), the place in the topology, and C(message).
  returned: when they could be looked at
  type: list
  elements: dict
msg:
  description: What failed, a line each.
  returned: failure
  type: str
rc:
  description: The exit code of C(kokofast).
  returned: failure
  type: int
"""

import json
import tempfile
from contextlib import ExitStack
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kokofast.lab.plugins.module_utils import command

STATES = ("ok", "unchecked", "failed")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **command.SOURCE,
            "lab": {"type": "str", "aliases": ["name"]},
            "timeout": {"type": "float"},
            "across": {"type": "raw"},
            "failed_only": {"type": "bool", "default": False},
            **command.OPTIONS,
        },
        mutually_exclusive=[("src", "content")],
        supports_check_mode=True,
    )
    lab, timeout = module.params["lab"], module.params["timeout"]
    arguments, text = ["verify", "--format=json"], None
    if module.params["src"] is not None or module.params["content"] is not None:
        file, text = command.source(module)
        arguments += [file] if lab is None else [file, f"--name={lab}"]
    elif lab is not None:
        arguments.append(lab)
    if timeout is not None:
        arguments.append(f"--timeout={timeout:g}")
    with ExitStack() as stack:
        across = module.params["across"]
        if across is not None:
            ends = stack.enter_context(tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=module.tmpdir))
            ends.write(across if isinstance(across, str) else json.dumps(across))
            ends.flush()
            arguments.append(f"--across={ends.name}")
        code, found, messages = command.run(module, arguments, text)
    if not isinstance(found, dict):
        command.fail(module, messages or f"kokofast ended with exit code {code}", code=code)
    leave(module, code, found, messages)


def leave(module: AnsibleModule, code: int, found: dict[str, Any], messages: str) -> None:
    """End the module with what verify has printed."""
    links = found["links"]
    failed = [link for link in links if link["problems"]]
    shown: dict[str, Any] = {
        "links": failed if module.params["failed_only"] else links,
        "counts": {state: sum(link["state"] == state for link in links) for state in STATES},
        "errors": found["errors"],
    }
    if not found["ok"]:
        bad = [f"{link['link']}: {one['message']}" for link in failed for one in link["problems"]]
        command.fail(module, "\n".join([*command.told_by(found), *bad]) or messages, code=code, **shown)
    command.leave(module, False, **shown)


if __name__ == "__main__":
    main()
