"""The site of the documentation: built with warnings as errors, whole, and without anything from other servers."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import MemberDescriptorType
from urllib.parse import unquote

import pytest

import kokofast
from kokofast import pytest_plugin
from tests import ROOT

BUILD = ROOT / "docs" / "site" / "build.py"
# Methods that raise nothing, or only what those that they refer to raise.
CANNOT_FAIL = {"as_dict", "as_dicts", "close", "kill", "send_signal", "terminate"}
# Methods of the engine, which the reference leaves out: see docs/site/zensical.toml.
INTERNAL = {"begin_rollback", "end_rollback", "stage"}


class Page(HTMLParser):
    """The links, the anchors and the assets of a page, and its text."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.assets: list[str] = []
        self.words: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a":
            self.links += [values["href"]] if "href" in values else []
        else:
            self.assets += [values[name] for name in ("src", "href", "srcset", "data", "poster") if name in values]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run([sys.executable, BUILD, folder], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # The page for what is missing names the others from the server's root.
    return {file: Page(file) for file in folder.rglob("*.html") if file.name != "404.html"}


def test_only_an_earlier_site_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("years of work")
    done = subprocess.run([sys.executable, BUILD, tmp_path], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "is there and no site of an earlier build" in done.stderr
    assert (tmp_path / "thesis").exists()


def test_links_and_anchors_lead_somewhere(site: dict[Path, Page]) -> None:
    for file, page in site.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if "://" not in target:
                there = (file.parent / unquote(target)).resolve() if target else file
                assert there.exists(), (file, link)
                assert not anchor or there not in site or unquote(anchor) in site[there].anchors, (file, link)


def test_a_page_has_the_items_and_programs_of_its_document(site: dict[Path, Page]) -> None:
    top = next(file for file in site if file.name == "SECURITY.html").parent
    for file in site:
        document = ROOT / file.relative_to(top).with_suffix(".md")
        if file.name == "index.html":
            document = document.with_name("README.md")
        if document.exists():
            text, programs = re.subn(
                r"^ *```.*?^ *```$", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
            )
            article = file.read_text("utf-8").partition("<article")[2].partition("</article")[0]
            assert article.count("<li>") == len(re.findall(r"^ *(?:[-*]|\d+\.) ", text, re.MULTILINE)), document
            assert article.count("<pre>") == programs, document
            assert not re.findall(r"<code>[^<]*\\\|", article), document


def test_nothing_is_loaded_from_other_servers(site: dict[Path, Page]) -> None:
    for file, page in site.items():
        for asset in page.assets:
            assert asset.startswith("data:") or (file.parent / asset.partition("?")[0]).is_file(), (file, asset)
    # tests/test_docs.py makes each of them by the command that its document shows.
    pictures = {path.name for folder in ("plots", "pictures") for path in (ROOT / "docs" / folder).iterdir()}
    shown = {Path(asset).name for page in site.values() for asset in page.assets if "assets/" not in asset}
    assert {name for name in shown if name.endswith((".svg", ".png"))} == pictures
    styles = "".join(style.read_text("utf-8") for file in site for style in file.parent.rglob("assets/**/*.css"))
    assert not re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", styles)


def test_every_document_is_a_page(site: dict[Path, Page]) -> None:
    documents = {path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]}
    top = next(file for file in site if file.name == "SECURITY.html").parent
    pages = {file.relative_to(top).with_suffix(".md") for file in site}
    assert {path.with_name(path.name.replace("README", "index")) for path in documents} <= pages
    home = site[top / "index.html"]
    assert {(top / link).resolve() for link in home.links if "://" not in link and link[0] != "#"} >= set(site)


def test_every_command_and_option_is_in_the_reference(site: dict[Path, Page]) -> None:
    text = "".join(next(page for file, page in site.items() if file.name == "commands.html").words)
    helps = subprocess.run([sys.executable, "-m", "kokofast", "--help"], capture_output=True, text=True, check=True)
    commands = re.findall(r"^    (\w+) ", helps.stdout, re.MULTILINE)
    assert len(commands) > 10
    assert all(f"kokofast {command}" in text for command in commands)
    assert "--runtime-timeout SECONDS" in text


def test_every_name_of_the_library_is_in_the_reference(site: dict[Path, Page]) -> None:
    page = next(page for file, page in site.items() if file.parts[-2:] == ("reference", "library.html"))
    for name in {*kokofast.__all__} - {"__version__", "sync"}:
        assert f"kokofast.{name}" in page.anchors
        for member in public_members(getattr(kokofast, name)):
            assert f"kokofast.{name}.{member}" in page.anchors or member in "".join(page.words)
    for name in ("lab", "make_lab"):
        assert f"kokofast.pytest_plugin.{name}" in page.anchors
        assert "raises" in (getattr(pytest_plugin, name).__doc__ or "").lower()
    assert all(f"kokofast.sync.{name}" in page.words for name in kokofast.sync.__all__)


def public_members(found: object) -> list[str]:
    own = vars(found) if inspect.isclass(found) else {}
    return [name for name in own if not name.startswith("_") and name not in INTERNAL]


@pytest.mark.parametrize("name", sorted({*kokofast.__all__} - {"__version__", "sync", "Progress", "Status"}))
def test_a_docstring_says_what_arguments_mean_and_what_is_raised(name: str) -> None:
    found = getattr(kokofast, name)
    described = inspect.getdoc(found) or ""
    members = {member: getattr(found, member) for member in public_members(found)}
    for member, one in {"": found, **members}.items():
        if isinstance(one, MemberDescriptorType):
            assert re.search(rf"\b{member}\b", described), f"{name}.{member}"
            continue
        text = inspect.getdoc(one) or ""
        assert text, f"{name}.{member}"
        if inspect.isfunction(one):
            arguments = {*inspect.signature(one).parameters} - {"self"}
            assert all(re.search(rf"\b{argument}\b", text) for argument in arguments), f"{name}.{member}: {arguments}"
            assert member in CANNOT_FAIL or re.search(r"\b[Rr]aise[sd]?\b", text), f"{name}.{member}"
