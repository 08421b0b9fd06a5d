"""Recognise files of other programs by their beginning, for a better error than the parser's."""

from __future__ import annotations

import re

BEGINNING = 4096  # characters to search

# What a file starts with, after comments, and its format.
_TEXTS = (
    (re.compile(r"<\?xml[^>]*>\s*(<!--.*?-->\s*)?<graphml\b|<graphml\b", re.DOTALL), "GraphML"),
    (re.compile(r"<[?!A-Za-z]"), "XML"),
    (re.compile(r"(Creator\s+\"[^\"]*\"\s*|Version\s+\S+\s*|comment\s+\"[^\"]*\"\s*)*(graph|node)\s*\["), "GML"),
    (re.compile(r"(strict\s+)?(di)?graph\b[^{\n]*\{"), "Graphviz (DOT)"),
    (re.compile(r"(LAB_[A-Z]+=.*\n\s*)*[\w.-]+\[\w+\]\s*="), "a lab.conf of Kathara or Netkit"),
    (re.compile(r"LAB_[A-Z]+="), "a lab.conf of Kathara or Netkit"),
    (re.compile(r"\*(vertices|network)\b", re.IGNORECASE), "Pajek"),
)
_COMMENT = re.compile(r"(\s|#[^\n]*(\n|$))*")


# Written by git-merge(1) where two branches changed the same lines. No line of ours can start like this.
_CONFLICT = re.compile(r"^<{7} ", re.MULTILINE)


def conflict_in(text: str) -> int | None:
    """Return the line of the first conflict marker of git."""
    found = _CONFLICT.search(text) if "<<<<<<< " in text else None
    return None if found is None else text.count("\n", 0, found.start()) + 1


def text_of(text: str) -> str | None:
    """Return the name of the text's format; None when it may be ours."""
    start = text[:BEGINNING]
    start = start[_COMMENT.match(start).end() :]  # type: ignore[union-attr]
    return next((name for pattern, name in _TEXTS if pattern.match(start)), None)


def tree_of(tree: object) -> str | None:
    """Return the name of the format of a JSON or YAML file; None when it may be ours."""
    if not isinstance(tree, dict):
        return None
    inner = tree.get("topology")
    if "links" not in tree and isinstance(inner, dict) and ("nodes" in inner or "links" in inner):
        return "a topology of containerlab"
    for key in ("links", "edges"):
        links = tree.get(key)
        first = links[0] if isinstance(links, list) and links else None
        if isinstance(first, dict) and "source" in first and "target" in first:
            return "node-link JSON, as networkx and d3 have it"
    return None


def refusal(name: str) -> str:
    """Return the error for a file in that format."""
    return f"this is {name}, which is not read; write links as in README.md, 'kokofast schema' has the whole format"
