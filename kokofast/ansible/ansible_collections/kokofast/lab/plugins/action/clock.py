"""The action kokofast.lab.clock: runs on the controller, and asks the host for its time."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kokofast.lab.plugins.plugin_utils.clock import Exchange, estimate, told_time

COMMAND = "date +%s.%N"
SAMPLES_MAX = 100


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Asks a host for its time, again and again over the same connection."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the offset of the host's clock, and how far that may be off."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec({"samples": {"type": "int", "default": 8}})
        samples = arguments["samples"]
        if not 1 <= samples <= SAMPLES_MAX:
            raise AnsibleActionFail(f"samples: {samples} is not a number from 1 to {SAMPLES_MAX}")
        self._exchange()  # makes the connection
        found = estimate([self._exchange() for _ in range(samples)])
        return {**result, "changed": False, "samples": samples, **found}

    def _exchange(self) -> Exchange:
        asked, began = time.time(), time.monotonic()
        # No sudo: the time is the same for every user, and sudo takes some of it.
        answer = self._low_level_execute_command(COMMAND, sudoable=False)
        took = time.monotonic() - began
        said = told_time(answer["stdout"])
        if said is None:
            told = (answer["stdout"] + answer["stderr"]).strip()
            raise AnsibleActionFail(
                f"'{COMMAND}' printed {told[:200]!r} on this host, not the time: install the date of GNU coreutils"
            )
        return Exchange(asked, took, said)
