"""Each node kind resolves, and nothing but its entry and what resolves it compares kinds."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from kokofast.endpoints import containers, local
from kokofast.koko.grammar import syntax_of
from kokofast.topology.node_kinds import NODES, NodeKind
from tests import ROOT

# What resolves them, and the spellings of a target.
HOMES = ("kokofast/endpoints/", "kokofast/topology/nodes.py")


@pytest.mark.parametrize("kind", NODES.values(), ids=NODES)
def test_a_node_kind_is_whole(kind: NodeKind) -> None:
    assert NODES[kind.name] is kind
    if kind.daemon:
        module = containers._MODULES[kind.daemon]
        assert callable(module.address_of)
        assert callable(module.daemon)
    else:
        assert local.PATHS[kind.name]("17").endswith(("17", "/net"))
    if kind.letter:
        assert syntax_of(kind.letter).startswith(kind.word)
        assert syntax_of(kind.letter.upper()) == (f"{kind.word},LINK" if kind.word else "LINK")


def test_letters_are_of_one_kind_each() -> None:
    letters = [kind.letter for kind in NODES.values() if kind.letter]
    assert len(set(letters)) == len(letters)


def comparisons(source: str) -> Iterator[int]:
    """Yield the lines that compare the kind of a node."""
    for found in ast.walk(ast.parse(source)):
        if isinstance(found, ast.Compare) and ast.unparse(found.left).endswith("node.kind"):
            yield found.lineno


def test_no_other_module_compares_node_kinds() -> None:
    assert list(comparisons("if node.kind == 'netns' or self.node.kind in X: pass")) == [1, 1]
    paths = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "kokofast").rglob("*.py")}
    found = {
        name: lines
        for name, path in paths.items()
        if not name.startswith(HOMES) and (lines := [*comparisons(path.read_text(encoding="utf-8"))])
    }
    assert found == {}
