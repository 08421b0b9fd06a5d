"""The arrows between the packages of kokofast point one way. Reads the sources, imports nothing of kokofast."""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from tests import ROOT

# A package may import from itself and from these. The library (api), the command lines (cli, koko), and the modules
# outside of packages, may import anything.
ARROWS = {
    # The loader asks the importers about a file that is not ours; they use what it uses, and not the loader.
    "topology": {"kinds", "ends", "importers"},
    "importers": {"registry", "timeline", "topology"},
    "kinds": {"registry"},
    "ends": {"kinds", "wire", "registry"},
    "timeline": {"topology"},
    "generators": {"topology"},
    "doctor": {"kinds", "ends", "topology"},
    "verification": {"kinds", "wire"},
    "graph": {"registry", "kinds", "ends", "topology"},
    "hosts": {"engine", "topology"},
    "plan": {"kinds", "ends", "topology"},
    "splitting": {"kinds", "plan", "timeline", "topology"},
    "watching": {"plan", "topology", "wire"},
    "wire": set(),
    "host": {"wire"},
    "endpoints": {"host", "topology"},
    "drivers": {"endpoints", "host", "topology", "watching"},
    "ops": {"plan", "host", "endpoints", "topology", "wire", "kinds", "ends"},
    "engine": {
        "doctor",
        "verification",
        "graph",
        "drivers",
        "watching",
        "ops",
        "timeline",
        "plan",
        "host",
        "endpoints",
        "topology",
        "wire",
        "kinds",
        "ends",
    },
}
# Types only, under `if TYPE_CHECKING`, may come from these wherever the importer lives.
SHARED_TYPES = ("kokofast.topology.model", "kokofast.kinds")
FREE = {"api", "cli", "koko"}

PURE = {
    "topology",
    "generators",
    "importers",
    "timeline",
    "doctor",
    "verification",
    "graph",
    "kinds",
    "ends",
    "plan",
    "splitting",
    "watching",
    "wire",
}
NOT_PURE = {"socket", "_socket", "ctypes", "_ctypes", "trio", "asyncio", "subprocess", "threading", "fcntl", "select"}

# What Ansible runs on a host cannot import kokofast: it may be another version there, for another Python.
COLLECTION = "kokofast/ansible/ansible_collections/kokofast/lab/plugins"
CTYPES_HOMES = ("kokofast/host/libc.py", f"{COLLECTION}/module_utils/job.py")
TRIO_HOMES = ("kokofast/drivers/", "kokofast/api/")
SPEAKERS = ("kokofast/cli/", "kokofast/koko/command.py", "kokofast/__main__.py")
# Circles of imports that are still there, all by way of type annotations. Add none. A line whose circle is gone fails
# the test as well.
CIRCLES = {
    # model and problems annotate each other's types; problems quotes by values, which uses model.
    ("kokofast.topology.model", "kokofast.topology.problems", "kokofast.topology.values"),
    ("kokofast.engine.inspect", "kokofast.engine.names"),
}

KIND_WORD = "vxlan"
# containerlab has the word in its own format.
KIND_WORD_HOMES = ("kokofast/kinds/", "kokofast/wire/", "kokofast/importers/")
# Only inside strings: help texts, and koko's option for it.
KIND_WORD_HELP = ("kokofast/cli/", "kokofast/koko/")


def is_type_checking(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    test = node.test
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def absolute(node: ast.ImportFrom, path: str) -> str:
    """The module an import names, relative ones resolved against the file it is in."""
    if node.level == 0:
        return node.module or ""
    package = path.split("/")[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def imports(tree: ast.AST, path: str, types_only: bool = False) -> Iterator[tuple[int, str, bool]]:
    """(line, module or module.name, under `if TYPE_CHECKING`) of every import, inside functions too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, types_only
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, f"{absolute(node, path)}.{alias.name}", types_only
        elif isinstance(node, ast.If) and is_type_checking(node):
            yield from imports(ast.Module(node.body, []), path, True)
            yield from imports(ast.Module(node.orelse, []), path, types_only)
        else:
            yield from imports(node, path, types_only)


def import_violations(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    parts = path.split("/")
    package = parts[1] if len(parts) > 2 else ""
    for line, target, types_only in imports(tree, path):
        first, _, rest = target.partition(".")
        if first in {"ctypes", "_ctypes"} and path not in CTYPES_HOMES:
            yield line, f"only {CTYPES_HOMES[0]} imports ctypes"
        if first == "trio" and not path.startswith(TRIO_HOMES) and package not in PURE:
            yield line, f"only {' and '.join(TRIO_HOMES)} import trio"
        if package in PURE and first in NOT_PURE and not types_only:
            yield line, f"{package} is pure and imports {first}"
        if first != "kokofast" or package in {"", *FREE}:
            continue
        goal = rest.partition(".")[0]
        if goal.startswith("__"):  # kokofast.__version__
            continue
        shared = types_only and f"{target}.".startswith(tuple(f"{name}." for name in SHARED_TYPES))
        if goal != package and goal not in ARROWS.get(package, set()) and not shared:
            yield line, f"{package} must not import {goal}"


def violations(path: str, source: str) -> list[str]:
    """Every broken rule of one module; ``path`` is relative to the checkout: kokofast/wire/header.py."""
    tree = ast.parse(source)
    found = list(import_violations(path, tree))
    if not path.startswith(SPEAKERS):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                found.append((node.lineno, "only cli/ prints"))
    if not path.startswith(KIND_WORD_HOMES):
        spoken = {tokenize.NAME, tokenize.COMMENT} if path.startswith(KIND_WORD_HELP) else None
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if (spoken is None or token.type in spoken) and KIND_WORD in token.string.lower():
                found.append((token.start[0], f"{KIND_WORD} is a word of kinds/ and wire/"))
    return [f"{path}:{line}: {message}" for line, message in sorted(found)]


def test_the_arrows_point_one_way() -> None:
    modules = sorted((ROOT / "kokofast").rglob("*.py"))
    assert modules
    found = [line for file in modules for line in violations(file.relative_to(ROOT).as_posix(), file.read_text())]
    assert not found, "\n".join(found)


def test_every_room_has_its_rule() -> None:
    packages = {file.parent.name for file in (ROOT / "kokofast").glob("*/__init__.py")}
    assert packages - FREE <= set(ARROWS)


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def arrows(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Which of these modules each of them imports, from path -> source.

    All imports count: inside a function and under `if TYPE_CHECKING` too. They do not fail when a program starts, but
    who reads one module of a circle has to know all of them, and who moves one has to move all. What is imported from
    a package is the module of that name, or else the package itself.
    """
    modules = {module_name(path): path for path in sources}
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        found[module] = set()
        for _, target, _ in imports(ast.parse(sources[path]), path):
            while target and target not in modules:
                target = target.rpartition(".")[0]
            found[module] |= {target} - {"", module}
    return found


def circles(graph: Mapping[str, set[str]]) -> set[tuple[str, ...]]:
    """The modules that reach each other, sorted, for each such set."""
    reached: dict[str, set[str]] = {}
    for module in graph:
        seen: set[str] = set()
        ahead = [module]
        while ahead:
            new = graph[ahead.pop()] - seen
            seen |= new
            ahead += new
        reached[module] = seen
    return {
        tuple(sorted(other for other in seen if module in reached[other]))
        for module, seen in reached.items()
        if module in seen
    }


def test_imports_make_no_circle() -> None:
    files = [file for top in ("kokofast", "bench") for file in (ROOT / top).rglob("*.py")]
    found = circles(arrows({file.relative_to(ROOT).as_posix(): file.read_text() for file in files}))
    assert found == CIRCLES


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        (("import a.y", "import a.z", ""), ()),
        (("import a.y", "import a.x", ""), ("a.x", "a.y")),
        (("from a import y", "from . import z", "from .x import f"), ("a.x", "a.y", "a.z")),
        (("import a.y", "def f():\n    import a.x", ""), ("a.x", "a.y")),
        (("import a.y", "if TYPE_CHECKING:\n    from a.x import T", ""), ("a.x", "a.y")),
        (("import a.y", "import a", "import os"), ()),
    ],
)
def test_a_circle_is_seen(sources: tuple[str, ...], found: tuple[str, ...]) -> None:
    named = dict(zip(("a/x.py", "a/y.py", "a/z.py"), sources, strict=True))
    assert circles(arrows({"a/__init__.py": "", **named})) == ({found} if found else set())


def unused_constants(sources: Mapping[str, str]) -> list[str]:
    """The constants at the top of these modules that no module names again, from path -> source.

    Exempt are names that are read off a module, as those of message types and of what a Registry has are.
    """
    trees = {path: ast.parse(source) for path, source in sources.items()}
    words = Counter(
        node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, (ast.Name, ast.Attribute, ast.alias))
    )
    return [
        f"{path}: {target.id}"
        for path, tree in trees.items()
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for part in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for target in (part.elts if isinstance(part, ast.Tuple) else [part])
        if isinstance(target, ast.Name) and target.id.isupper() and words[target.id] == 1
        if not target.id.startswith(("RTM_", "NLMSG_")) and target.id not in ("KIND", "PROPERTY", "IMPORTER", "FORMAT")
    ]


def test_each_constant_is_used() -> None:
    files = [file for top in ("kokofast", "bench", "tests") for file in (ROOT / top).rglob("*.py")]
    assert unused_constants({file.relative_to(ROOT).as_posix(): file.read_text() for file in files}) == []


def test_an_unused_constant_is_seen() -> None:
    sources = {"a.py": "A, B = 1, 2\nC: int = 3\nRTM_D = 4\nE = 5\nprint(A, E)\n", "b.py": "from a import C\n"}
    assert unused_constants(sources) == ["a.py: B"]


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("kokofast/wire/x.py", "import kokofast.host", "wire must not import host"),
        ("kokofast/wire/x.py", "from kokofast import host", "wire must not import host"),
        ("kokofast/wire/x.py", "from ..host import libc", "wire must not import host"),
        ("kokofast/host/__init__.py", "from ..engine import run", "host must not import engine"),
        ("kokofast/host/x.py", "def f():\n    import kokofast.engine.run", "host must not import engine"),
        ("kokofast/kinds/x.py", "from kokofast.topology.model import Link", "kinds must not import topology"),
        ("kokofast/plan/x.py", "from kokofast.cli import main", "plan must not import cli"),
        ("kokofast/plan/x.py", "from kokofast.koko import command", "plan must not import koko"),
        ("kokofast/kinds/x.py", "if TYPE_CHECKING:\n    import kokofast.plan.ops", "kinds must not import plan"),
        ("kokofast/kinds/x.py", "if not TYPE_CHECKING:\n    import socket", "kinds is pure and imports socket"),
        ("kokofast/plan/x.py", "try:\n    from trio import run\nexcept: pass", "plan is pure and imports trio"),
        ("kokofast/wire/x.py", "import os, _socket as s", "wire is pure and imports _socket"),
        ("kokofast/host/x.py", "import ctypes.util", "only kokofast/host/libc.py imports ctypes"),
        ("kokofast/cli/x.py", "from ctypes import CDLL", "only kokofast/host/libc.py imports ctypes"),
        ("kokofast/engine/x.py", "import trio", "only kokofast/drivers/ and kokofast/api/ import trio"),
        ("kokofast/engine/x.py", "print('done')", "only cli/ prints"),
        ("kokofast/plan/x.py", "kind = 'VXLAN'", "vxlan is a word of kinds/ and wire/"),
        ("kokofast/plan/x.py", "def f():\n    return f'{1}vxlan'", "vxlan is a word of kinds/ and wire/"),
        ("kokofast/cli/x.py", "make_vxlan()", "vxlan is a word of kinds/ and wire/"),
    ],
)
def test_a_turned_arrow_is_seen(path: str, source: str, complaint: str) -> None:
    (found,) = violations(path, source)
    assert found.endswith(f": {complaint}")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("kokofast/topology/x.py", "from kokofast.kinds import KINDS"),
        ("kokofast/kinds/x.py", "if TYPE_CHECKING:\n    from kokofast.topology.model import Link"),
        ("kokofast/wire/x.py", "import typing\nif typing.TYPE_CHECKING:\n    import socket"),
        ("kokofast/wire/x.py", "from . import header\nfrom kokofast import __version__"),
        ("kokofast/host/libc.py", "import ctypes"),
        ("kokofast/engine/x.py", "import time\nfrom kokofast.plan.ops import Plan"),
        ("kokofast/drivers/x.py", "import trio"),
        ("kokofast/cli/x.py", "import kokofast.engine\nprint('makes a vxlan')"),
        ("kokofast/koko/x.py", "from kokofast.topology.model import Link\nLink('vxlan', ())"),
        ("kokofast/kinds/x.py", "NAME = 'vxlan'"),
    ],
)
def test_an_arrow_in_its_direction_is_not(path: str, source: str) -> None:
    assert violations(path, source) == []
