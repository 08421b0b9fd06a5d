#!/usr/bin/python
"""The module kokofast.lab.inspect."""

from __future__ import annotations

DOCUMENTATION = r"""
module: inspect
short_description: Return the links that are on this host
description:
  - Runs C(kokofast inspect), which reads them from the kernel.
options:
  lab:
    description: Only this lab. By default all.
    type: str
    aliases: [name]
extends_documentation_fragment: kokofast.lab.command
attributes:
  check_mode:
    support: full
    description: Changes nothing.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Look at a lab
  kokofast.lab.inspect:
    lab: fabric
  register: fabric
  become: true

- name: Its links that are not up
  ansible.builtin.debug:
    msg: "{{ fabric.links | rejectattr('state', 'equalto', 'up') }}"
"""

RETURN = r"""
links:
  description:
    - What C(kokofast inspect --format json) printed; links, namespaces without one, and what nodes have.
    - Empty when nothing of the lab is there.
  returned: success
  type: list
  elements: dict
msg:
  description: The errors, a line each.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kokofast.lab.plugins.module_utils import command


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"lab": {"type": "str", "aliases": ["name"]}, **command.OPTIONS}, supports_check_mode=True
    )
    command.leave(module, False, links=command.links_of(module, module.params["lab"]))


if __name__ == "__main__":
    main()
