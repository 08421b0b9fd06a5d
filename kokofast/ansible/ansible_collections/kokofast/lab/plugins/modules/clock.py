#!/usr/bin/python
"""The module kokofast.lab.clock: its documentation. The action plugin of this name does it, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: clock
short_description: Measure how far the clock of this host is ahead
description:
  - Asks the host for its time several times, over Ansible's own connection, and takes the exchange with the shortest
    round trip, as RFC 5905 does.
  - The host's clock was read somewhere in this round trip. So its offset is known but for half the round trip.
  - Runs C(date) on the host, which has to know C(%N), as that of GNU coreutils does.
options:
  samples:
    description: How many times the host is asked, from 1 to 100.
    type: int
    default: 8
attributes:
  check_mode:
    support: full
    description: Nothing is changed anyhow.
  diff_mode:
    support: none
author:
  - The authors of kokofast (@kokofast)
"""

EXAMPLES = r"""
- name: How far is its clock ahead?
  kokofast.lab.clock:
  register: clock

- name: A moment that is the same on all hosts, ten seconds from now
  ansible.builtin.debug:
    msg: "{{ now().timestamp() + 10 + clock.offset }}"
"""

RETURN = r"""
offset:
  description: By how many seconds the host's clock is ahead of that of the controller. Below 0 it is behind.
  returned: success
  type: float
  sample: 0.132
error:
  description: The offset is wrong by so many seconds at most.
  returned: success
  type: float
  sample: 0.008
round_trip:
  description: How long the shortest exchange took, in seconds.
  returned: success
  type: float
  sample: 0.016
msg:
  description: Why the time is not known.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """End with an error: Ansible takes the action plugin, which is on the controller."""
    module = AnsibleModule(argument_spec={"samples": {"type": "int", "default": 8}}, supports_check_mode=True)
    module.fail_json(msg="the action plugin kokofast.lab.clock is missing: install the whole collection")


if __name__ == "__main__":
    main()
