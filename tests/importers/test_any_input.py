"""No input of any importer is an exception of Python, and every problem names a place in the user's file."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kokofast.importers import IMPORTERS
from kokofast.topology import TopologyError, load

# Words of the formats, from which texts are made.
WORDS = {
    "kathara": ["a[0]=X", "b[0]", "[1]=", "'", '"', "/", "=", "#", "LAB_NAME=", "LAB_", "[sysctl]=net.ipv4.x=1", "\n"],
}
PLACE = re.compile(r"(f[.\w]*:\d+|f[.\w]*: |\$)")


def texts(words: list[str]) -> st.SearchStrategy[str]:
    """Draw words of a format, and any text between them."""
    return st.lists(st.sampled_from(words) | st.text(max_size=4), max_size=30).map("".join)


def problems(text: str, filename: str, importer: str | None) -> list[str]:
    """Return what is wrong with a text, read by an importer or by that which recognises it."""
    try:
        load(text.encode(errors="replace"), filename=filename, format=importer)
    except TopologyError as error:
        return list(map(str, error.problems))
    return []


def check(text: str, filename: str, importer: str | None) -> None:
    """Check that each problem is one printable line that begins with a place in the file."""
    for problem in problems(text, filename, importer):
        assert PLACE.match(problem), problem
        assert problem.isprintable()


@pytest.mark.parametrize("importer", IMPORTERS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_text(importer: str, data: st.DataObject) -> None:
    text = data.draw(texts(WORDS.get(importer, [])))
    check(text, "f.txt", importer)
    check(text, data.draw(st.sampled_from(["f", "f.yaml", "f.json", "f.csv", "f.xml"])), None)


def test_aliases_that_stand_for_billions_of_values() -> None:
    lines = ["a: &a0 [x, x]"] + [f"b{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    with pytest.raises(TopologyError, match="aliases are not supported"):
        load("\n".join(lines).encode(), filename="f.yaml")
