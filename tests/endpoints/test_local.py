"""Why a node's namespace cannot be opened, in words."""

from __future__ import annotations

import errno

import pytest

from kokofast.endpoints.local import explain
from kokofast.topology.model import Node


@pytest.mark.parametrize(("kind", "whose"), [("pid", "process 7 is"), ("docker", "the processes of container '7' are")])
def test_a_process_of_another_user(kind: str, whose: str) -> None:
    refusal = PermissionError(errno.EACCES, "Permission denied")
    said = explain(Node("n", kind, "7"), refusal)
    assert said == f"{whose} another user's: to look into it needs root, or CAP_SYS_PTRACE"
