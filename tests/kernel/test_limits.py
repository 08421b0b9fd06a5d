"""Limits of the machine that a lab meets only when it is used."""

from __future__ import annotations

import json

import pytest

from kokofast.host.limits import neighbours
from tests.kernel.conftest import Lab

pytestmark = pytest.mark.usefixtures("requires_root")

LINKS_MOST = 2000  # more would take too long: somebody has raised the limit


def test_more_ends_than_the_machine_keeps_neighbours(lab: Lab) -> None:
    found = neighbours("ipv4")
    if found is None or found[1] >= 2 * LINKS_MOST:
        pytest.skip("the limit on neighbours does not show here, or is too high")
    name, limit = found
    lab.bundle(limit // 2 + 1)
    # Its namespace is not the machine's first: what does not show is not spoken of.
    sandboxed = lab.kokofast("batch", lab.file, "--dry-run", "--sandbox", "--format", "json")
    assert not any(name in note for note in json.loads(sandboxed.stdout).get("notes", []))
    (note,) = lab.batch()["notes"]
    assert note.startswith(f"{2 * (limit // 2 + 1):,} ends have IPv4 addresses, and the machine keeps {limit:,} ")
    assert note.endswith(f"sysctl -w {name}=NUMBER")
    assert "notes" not in lab.batch()
