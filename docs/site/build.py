"""Build the site of the documentation: ``python docs/site/build.py [FOLDER]``, by default build/site.

A copy of the documents is laid out as the repository is, so that the links between them hold in both, and pages are
added that are made of the code: commands, schemas, the names of the library. Warnings are errors.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import reference  # noqa: E402

ITEM = re.compile(r"(?:[-*]|\d\.) +")
CODE = re.compile(r"`[^`]*`")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def documents() -> list[Path]:
    """Return the documents of the repository, below its root."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("[a-z]*/README.md")]
    return sorted({path.relative_to(ROOT) for path in found})


def lay_out(pages: Path) -> None:
    """Copy the documents and the files that they link to, and write the pages that are made of the code."""
    for document in documents():
        text = (ROOT / document).read_text(encoding="utf-8")
        (pages / document).parent.mkdir(parents=True, exist_ok=True)
        (pages / document).write_text(adapt(text), encoding="utf-8")
        for target in LINK.findall(text):
            file = (ROOT / document.parent / target).resolve().relative_to(ROOT)
            if file.suffix != ".md":
                (pages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / file, pages / file)
    for name, text in reference.pages().items():
        (pages / "reference").mkdir(exist_ok=True)
        (pages / "reference" / name).write_text(text, encoding="utf-8")


def adapt(text: str) -> str:
    """Return a document of the code host in the dialect of Python-Markdown.

    There what belongs to a list's item is indented by 4, a blank line is between items with several paragraphs, and a |
    in the code of a table has no backslash.
    """
    lines: list[str] = []
    missing = 0  # indentation of what belongs to the item above
    has_paragraphs = False  # that item
    for line in text.splitlines():
        if item := ITEM.match(line):
            lines += [""] * has_paragraphs
            missing, has_paragraphs = 4 - len(item[0]), False
        elif line[:1].strip():
            missing, has_paragraphs = 0, False
        is_inside = missing and line.startswith(" " * (4 - missing))
        has_paragraphs |= bool(is_inside and lines and not lines[-1])
        shifted = " " * missing + line if is_inside else line
        lines.append(CODE.sub(lambda code: code[0].replace(r"\|", "|"), shifted) if line[:1] == "|" else shifted)
    return "\n".join(lines) + "\n"


def in_nav(entry: object) -> set[str]:
    """Return the pages of an entry of the navigation."""
    if isinstance(entry, str):
        return {entry}
    children = entry.values() if isinstance(entry, dict) else entry
    assert isinstance(children, (list, type({}.values())))
    return set().union(*map(in_nav, children))


def check_nav(pages: Path) -> None:
    """Exit when a page is not in the navigation."""
    nav = tomllib.loads((HERE / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    there = {path.relative_to(pages).as_posix() for path in pages.rglob("*.md")}
    if there != in_nav(nav):
        lacking, gone = sorted(there - in_nav(nav)), sorted(in_nav(nav) - there)
        sys.exit(f"docs/site/zensical.toml: add to nav: {lacking}; remove from it: {gone}")


def main() -> int:
    """Build the site; return the exit code."""
    if missing := [name for name in ("zensical", "mkdocstrings") if find_spec(name) is None]:
        sys.exit(f"docs/site/build.py needs {' and '.join(missing)}: pip install '.[docs]'")
    site = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "site").resolve()
    if site.exists() and not (site / "search.json").exists():
        sys.exit(f"docs/site/build.py: {site} is there and no site of an earlier build: name another folder")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(folder / "pages")
        check_nav(folder / "pages")
        shutil.copyfile(HERE / "site.css", folder / "pages" / "site.css")
        shutil.copyfile(HERE / "zensical.toml", folder / "zensical.toml")
        command = [sys.executable, "-m", "zensical", "build", "--strict"]
        code = subprocess.run(command, cwd=folder, check=False).returncode
        if code == 0:
            shutil.rmtree(site, ignore_errors=True)
            shutil.copytree(folder / "site", site)
            print(site / "index.html")
    return code


if __name__ == "__main__":
    sys.exit(main())
