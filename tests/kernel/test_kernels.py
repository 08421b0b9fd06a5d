"""docs/notes/kernels.md tells the truth about the kernel that runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.conftest import NamespaceFactory
from tests.kernel.facts import measured

OLD, NEW = (6, 1), (6, 18)
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "notes" / "kernels.md"

pytestmark = pytest.mark.usefixtures("requires_root")


def table(title: str) -> dict[str, tuple[str, str]]:
    """The table of a section: fact -> the answers of the two kernels."""
    _, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(f"\n## {title}\n")
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", rest.partition("\n## ")[0], re.MULTILINE)
    assert rows[0] == ("fact", "6.1", "6.18")
    return {fact: (old, new) for fact, old, new in rows[1:]}


def test_the_tables_are_what_this_kernel_answers(netns: NamespaceFactory) -> None:
    by_version, by_build = table("By version"), table("By how the kernel is built")
    found = measured(netns)
    assert found.keys() == by_version.keys() | by_build.keys()
    version = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))
    possible = slice(0 if version < NEW else 1, 1 if version <= OLD else 2)
    wrong = {fact: found[fact] for fact, told in by_version.items() if found[fact] not in told[possible]}
    wrong |= {fact: found[fact] for fact, told in by_build.items() if found[fact] not in told}
    assert not wrong
