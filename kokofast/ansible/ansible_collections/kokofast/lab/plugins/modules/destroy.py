#!/usr/bin/python
"""The module kokofast.lab.destroy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: destroy
short_description: Remove a lab from this host
description:
  - Runs C(kokofast destroy), which removes exactly what kokofast made for the lab.
options:
  lab:
    description: The name of the lab.
    type: str
    aliases: [name]
  all:
    description: Whether all labs of the host are to be removed. One of O(lab) and O(all) is needed.
    type: bool
    default: false
  force:
    description: Whether to delete links of other labs, too, that are in a namespace of this lab, or on its links.
    type: bool
    default: false
extends_documentation_fragment: kokofast.lab.command
attributes:
  check_mode:
    support: full
    description: Counts the links that are there, by C(kokofast inspect).
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Remove a lab
  kokofast.lab.destroy:
    lab: fabric
  become: true
"""

RETURN = r"""
result:
  description: What C(kokofast destroy --format json) printed; see C(kokofast schema result). Not in check mode.
  returned: always
  type: dict
  sample: {"lab": "fabric", "status": "destroyed", "links": {"removed": 12}}
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
            "lab": {"type": "str", "aliases": ["name"]},
            "all": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            **command.OPTIONS,
        },
        supports_check_mode=True,
    )
    lab = module.params["lab"]
    if (lab is not None) == module.params["all"]:
        command.fail(module, "destroy takes either a lab, or all: true")
    if module.check_mode:
        command.leave(module, bool(command.links_of(module, lab)))
    arguments = ["destroy", "--format=json", "--all" if lab is None else f"--name={lab}"]
    if module.params["force"]:
        arguments.append("--force")
    result = command.result_of(module, *command.run(module, arguments))
    command.leave(module, result["status"] != "unchanged", result=result)


if __name__ == "__main__":
    main()
