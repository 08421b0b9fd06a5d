"""The HTML page, used in a headless browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kokofast
from kokofast.graph import FORMATS
from kokofast.graph.build import graph_of_file
from kokofast.graph.layout import places_of
from kokofast.graph.model import STATES, UNKNOWN, Graph
from tests.graph.test_formats import PLACES, SAMPLE

BROWSER = "chromium"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--allow-file-access-from-files", "--virtual-time-budget=3000"),
)
HARNESS = """\
<!DOCTYPE html><meta charset="utf-8">
<iframe id="page" src="page.html" width="1000" height="700"></iframe>
<script type="application/json" id="colours">{colours}</script>
<script src="steps.js"></script>
<pre id="result"></pre>
"""


def write_page(folder: Path, graph: Graph, places: Any) -> None:
    (folder / "page.html").write_text("".join(FORMATS["html"].write(graph, places)), encoding="utf-8")


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., str]:
    def browse(address: str, *more: str) -> str:
        command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *more]
        url = f"{(tmp_path / address.partition('#')[0]).as_uri()}{address[len(address.partition('#')[0]) :]}"
        done = subprocess.run([*command, url], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    return browse


def test_what_a_reader_does_with_it(browse: Callable[..., str], tmp_path: Path) -> None:
    write_page(tmp_path, SAMPLE, PLACES)
    colours = {state: list(bytes.fromhex(how.colour[1:])) for state, how in STATES.items()}
    (tmp_path / "harness.html").write_text(HARNESS.format(colours=json.dumps(colours)), encoding="utf-8")
    shutil.copy(Path(__file__).with_name("page_steps.js"), tmp_path / "steps.js")
    (result,) = re.findall(r'<pre id="result">(.*?)</pre>', browse("harness.html", "--dump-dom"), re.DOTALL)
    found = json.loads(html.unescape(result))
    assert "error" not in found, found["error"]
    first = found["atFirst"]
    assert first["labels"][0] == len(SAMPLE.vertices)
    assert first["labels"][1] >= 6
    assert {state for state, number in first["pixels"].items() if number > 20} == set(STATES) - {UNKNOWN}
    assert " ".join(first["legend"]).split() == [
        "down",
        "1",
        "missing",
        "1",
        "not",
        "in",
        "the",
        "file",
        "1",
        "up",
        "5",
    ]
    assert found["search"] == ['r2:eth2 -- <q>"&amp;\\N:<&>']
    assert found["address"] == ["r1:eth0 -- r2:eth0"]
    assert found["nothing"] == ["nothing found"]
    assert found["node"].splitlines()[0] == "r1"
    assert "netns" in found["node"]
    assert "r1:vx0 -- 192.0.2.9" in found["node"]
    assert found["closed"] is None
    assert found["clicked"] == found["node"]
    assert 'r2:eth2 -- <q>"&amp;\\N:<&>' in found["edge"]
    assert re.search(r"type\s+veth\s+state\s+missing", found["edge"])
    assert found["beside"] is None
    hidden = found["withoutUp"]
    assert hidden["pixels"]["up"] == 0
    assert hidden["pixels"]["down"] > 20
    assert hidden["search"] == ["r1", "r2:eth1 -- r1:eth1"]
    # From afar there is no room for interfaces, and for few names.
    assert found["far"][0] < len(SAMPLE.vertices)
    assert found["far"][1] == 0
    assert found["close"][0] >= 1
    assert found["loaded"] == []
    assert (found["heading"], found["images"]) == (SAMPLE.title, 0)


def test_a_graph_of_5000_links_and_the_part_of_the_address(browse: Callable[..., str], tmp_path: Path) -> None:
    graph = graph_of_file(kokofast.loads(kokofast.generate("grid", rows=50, columns=51)))
    write_page(tmp_path, graph, places_of(graph))
    shot = tmp_path / "shot.png"
    view = ("--window-size=1000,700", "--force-dark-mode")
    page = browse("page.html#find=r25-25", "--dump-dom", f"--screenshot={shot}", *view)
    (labels, interfaces) = re.findall(r'data-(?:labels|interfaces)="(\d+)"', page)
    assert 20 < int(labels) < 700
    assert int(interfaces) > 20
    assert '<aside id="details"><h2>r25-25</h2>' in page
    assert page.count("<li><button") == 1 + 4 + 4  # what was found, and the links of the node
    from matplotlib.image import imread

    pixels = imread(shot)[:, :, :3] * 255
    paper = (abs(pixels - (0x12, 0x17, 0x1D)).sum(axis=2) < 6).mean()
    assert 0.3 < paper < 0.95
