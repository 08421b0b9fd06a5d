"""HTML: one file to look around in, without network access. The page draws the graph on a canvas."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from kokofast.graph.format import Format
from kokofast.graph.model import STATES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kokofast.graph.format import Places
    from kokofast.graph.model import Graph

# Nothing may be loaded, and nothing but these two texts is carried out.
POLICY = "default-src 'none'; script-src '{script}'; style-src '{style}'; base-uri 'none'; form-action 'none'"

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<canvas id="picture" tabindex="0"
aria-label="The topology. Arrows move it, plus and minus zoom, 0 shows all of it."></canvas>
<header>
<h1>{title}</h1>
<input id="find" type="search" placeholder="Find a node, interface or address  ( / )"
autocomplete="off" spellcheck="false">
<ol id="found"></ol>
<form id="states"></form>
</header>
<aside id="details" hidden></aside>
<nav><button id="in" title="Zoom in (+)">+</button><button id="out" title="Zoom out (-)">&minus;</button>
<button id="fit" title="Show all (0)">all</button></nav>
<noscript>This page draws the topology by its own script.</noscript>
<script type="application/json" id="data">
"""
END = "</script>\n<script>{script}</script>\n</body>\n</html>\n"


def write(graph: Graph, places: Places) -> Iterator[str]:
    """Yield the lines of the page."""
    script, style = (files("kokofast.graph").joinpath(name).read_text("utf-8") for name in ("page.js", "page.css"))
    policy = POLICY.format(script=_digest(script), style=_digest(style))
    yield PAGE.format(policy=policy, title=escape(graph.title), style=style)
    states = {state: {"title": how.title, "colour": how.colour, "dashes": how.dashes} for state, how in STATES.items()}
    yield '{"states":' + as_json(states) + ',"counts":' + as_json(graph.counts()) + ',\n"vertices":[\n'
    vertices = zip(graph.vertices, places, strict=True)
    yield from _list(
        [round(x, 3), round(y, 3), one.name, one.shape, one.state, one.details] for one, (x, y) in vertices
    )
    yield '],\n"edges":[\n'
    edges = zip(graph.edges, graph.bends(), strict=True)
    yield from _list(
        [one.first, one.second, bend, *one.labels, one.kind, one.state, one.details] for one, bend in edges
    )
    yield "]}\n" + END.format(script=script)


def _list(items: Iterator[object]) -> Iterator[str]:
    for number, item in enumerate(items):
        yield f"{',' if number else ''}{as_json(item)}\n"


def as_json(value: object) -> str:
    """Return JSON that ends no script: without < and other letters of HTML."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


FORMAT = Format(write, endings=("htm",))
