"""Files of other programs, recognised by their beginning: better than the errors of a parser that they were not made
for."""

from __future__ import annotations

import re

BEGINNING = 4096  # characters that are looked at

# What starts a file, below its comments, and whose it is.
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


# git(1), where two branches have changed the same lines. No line of ours can start like this.
_CONFLICT = re.compile(r"^<{7} ", re.MULTILINE)


def conflict_in(text: str) -> int | None:
    """The line of the first conflict that git has left in the text."""
    found = _CONFLICT.search(text) if "<<<<<<< " in text else None
    return None if found is None else text.count("\n", 0, found.start()) + 1


def text_of(text: str) -> str | None:
    """Whose format the text is; None when it may be ours."""
    start = text[:BEGINNING]
    start = start[_COMMENT.match(start).end() :]  # type: ignore[union-attr]
    return next((name for pattern, name in _TEXTS if pattern.match(start)), None)


def tree_of(tree: object) -> str | None:
    """Whose format a file of JSON or YAML is; None when it may be ours."""
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
    """The sentence about a file in that format."""
    return f"this is {name}, which is not read; write links as in README.md, 'kokofast schema' has the whole format"
