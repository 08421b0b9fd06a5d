#!/usr/bin/python
"""The module kokofast.lab.confirm."""

from __future__ import annotations

DOCUMENTATION = r"""
module: confirm
short_description: Keep what a waiting batch has made, or take it back
description:
  - Runs C(kokofast confirm), which ends a M(kokofast.lab.batch) with O(kokofast.lab.batch#module:confirm_within), and
    waits for its end.
options:
  lab:
    description: The name of the lab.
    type: str
    required: true
    aliases: [name]
  revert:
    description: Whether all is to be taken back, not kept.
    type: bool
    default: false
  at_least:
    description: In check mode, fails if a batch waits for less than so many seconds.
    type: float
    default: 0.0
extends_documentation_fragment: kokofast.lab.command
attributes:
  check_mode:
    support: full
    description: Runs C(kokofast confirm --dry-run), which fails if no batch waits.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Keep it
  kokofast.lab.confirm:
    lab: fabric
  become: true

- name: Take it back
  kokofast.lab.confirm:
    lab: fabric
    revert: true
  become: true
"""

RETURN = r"""
waiting:
  description: Whether a batch still waits.
  returned: success
  type: bool
lab:
  description: The name of the lab.
  returned: success
  type: str
seconds:
  description: For how long it still waits.
  returned: in check mode
  type: float
result:
  description: The result of the batch that waited; see C(kokofast schema result).
  returned: not in check mode
  type: dict
  sample: {"lab": "fabric", "status": "applied", "links": {"total": 1, "created": 1}}
msg:
  description: The errors, a line each.
  returned: failure
  type: str
rc:
  description: The exit code of C(kokofast).
  returned: failure
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kokofast.lab.plugins.module_utils import command


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "lab": {"type": "str", "required": True, "aliases": ["name"]},
            "revert": {"type": "bool", "default": False},
            "at_least": {"type": "float", "default": 0.0},
            **command.OPTIONS,
        },
        supports_check_mode=True,
    )
    arguments = ["confirm", module.params["lab"], "--format=json"]
    if module.check_mode:
        code, event, messages = command.run(module, [*arguments, "--dry-run"])
        if code != 0 or not isinstance(event, dict):
            command.fail(module, messages, code)
        least = module.params["at_least"]
        if event["seconds"] < least:
            command.fail(module, f"the batch waits for {event['seconds']:.1f} s only, not for {least:g} s")
        command.leave(module, True, waiting=True, lab=event["lab"], seconds=event["seconds"])
    if module.params["revert"]:
        arguments.append("--revert")
    result = command.result_of(module, *command.run(module, arguments))
    command.leave(module, True, result=result, lab=result["lab"], waiting=False)


if __name__ == "__main__":
    main()
