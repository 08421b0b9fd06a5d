"""What a dry run prints of a change, in the words of the file."""

from __future__ import annotations

import pytest

from kokofast.plan.step import Step


@pytest.mark.parametrize(
    ("field", "before", "after", "words"),
    [
        ("mtu", 1500, 9000, "mtu 1500 -> 9000"),
        ("lacp", None, True, "lacp none -> true"),
        ("lacp", True, False, "lacp true -> false"),
        ("altnames", ["x", "y"], [], "altnames x,y -> none"),
        ("offload", True, {"tx": False, "gro": True}, "offload true -> {tx: false, gro: true}"),
    ],
)
def test_a_change_is_told_as_the_file_has_it(field: str, before: object, after: object, words: str) -> None:
    assert str(Step("update", "end", name="a:e0", changes=((field, before, after),))) == f"~ a:e0 {words}"
