"""A parsed file, not yet checked: plain dicts, lists, texts and numbers, and the places of the links."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from kokofast.topology.locations import Places, TreePlaces, below
from kokofast.topology.order import in_tree_order
from kokofast.topology.problems import Problem, TopologyError, step, unknown
from kokofast.topology.shapes import FILE_KEYS, SCHEMA_KEY
from kokofast.topology.values import quote

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kokofast.topology.model import Hosts, Link, Node

    # Gives hosts to the nodes (by name) of these links. Then there are nodes that need not be on one host, though they
    # are one namespace on each; and the names of all hosts.
    Placing = Callable[[Mapping[str, Node], Sequence[Link], Collection[str], Collection[str]], None]

# The format is 6 deep. Without a limit a file of a million "[" would become as many nested lists.
DEPTH_MAX = 32
LINKS_MAX = 1_000_000

NO_LINKS = "has no 'links'"

# The longest number of ours is a u64. int() takes quadratic time on longer ones.
NUMBER_DIGITS = 20


class InvalidNumber:
    """A number that no field can hold (NaN, 1e400, a thousand digits), as written, for the message."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class RepeatedKeys(dict[str, object]):
    """An object with repeated keys. The last value of each counts."""

    __slots__ = ("repeated",)

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        times = Counter(key for key, _ in pairs)
        self.repeated = [key for key in self if times[key] > 1]


class Document:
    """The parts of a file. defaults and nodes are None if absent."""

    def __init__(self, links: list[object], places: Places) -> None:
        self.links = links
        self.places = places
        self.root = "$."  # what places outside of links begin with
        self.name: object = None
        self.name_given = False
        self.defaults: object = None
        self.nodes: object = None
        self.routing: object = None
        self.hosts: object = None
        self.between: object = None
        self.part: object = None
        # What a run of split brings along.
        self.given_hosts: Hosts | None = None
        self.placing: Placing | None = None
        # Nodes whose problems the reader has reported.
        self.broken: set[str] = set()
        self.node_at: Callable[[str, str], str] = tree_node_at
        # Sorts problems into the order of the file.
        self.in_order: Callable[[Iterable[Problem]], list[Problem]] = list
        # Of a file of another program: its format, and what could not be kept.
        self.imported = ""
        self.name_place = ""
        self.notes: list[Problem] = []

    def has_hosts(self) -> bool:
        """Whether the lab is on many machines."""
        return self.hosts is not None or self.given_hosts is not None

    def tree(self, lab: str) -> dict[str, object]:
        """Return what a JSON file of these links would have."""
        given = {
            "name": lab,
            "hosts": self.hosts,
            "between": self.between,
            "defaults": self.defaults,
            "routing": self.routing,
            "nodes": self.nodes,
        }
        return {**{key: value for key, value in given.items() if value}, "links": self.links}


def refuse_too_many(filename: str) -> TopologyError:
    """Return the error for a file with more than LINKS_MAX links."""
    return TopologyError([Problem(filename, f"has more than {LINKS_MAX:,} links")])


def tree_node_at(name: str, path: str) -> str:
    """Return the place of what is at a path in a node in JSON and YAML; of the node itself when the path is empty."""
    return f"$.nodes{step(name)}{'' if path[:1] in ('', '[') else '.'}{path}"


Locate = Callable[[set[str]], Mapping[str, tuple[int, int]]]


class Importing(Protocol):
    """What asks the importers about a file that may be of another program."""

    is_forced: bool  # the user has named the importer

    def __call__(self, tree: object, locate: Locate) -> Document | None:
        """Return the document of a JSON or YAML value; None when it may be ours."""


def from_tree(
    tree: object,
    problems: list[Problem],
    title: str,
    locate: Locate,
    importing: Importing | None = None,
    refused: Problem | None = None,
) -> Document:
    """Make a document of a JSON or YAML value.

    Args:
        tree: The value.
        problems: Problems are appended.
        title: The file.
        locate: Finds the positions of places in the text.
        importing: Asked about a value that is not ours at first sight.
        refused: What our files may not have, and those of other programs may.

    Raises:
        TopologyError: With the problem refused, or that of the importer.
    """
    if importing is not None and (importing.is_forced or not _has_our_links(tree)):
        document = importing(tree, locate)
        if document is not None:
            return document
    if refused is not None:
        raise TopologyError([*problems, refused])
    document = Document([], TreePlaces("$.links"))
    document.in_order = lambda found: in_tree_order(found, locate, title)
    if isinstance(tree, list):
        document.links, document.places = tree, TreePlaces("$")
        return document
    if not isinstance(tree, dict):
        cure = "; a list of edges is read with --from edges" if isinstance(tree, str) and " " in tree else ""
        problems.append(Problem("$", f"must be an object with 'links', or a list of links, not {describe(tree)}{cure}"))
        return document
    _take_parts(tree, document, problems)
    return document


def _take_parts(tree: dict[str, object], document: Document, problems: list[Problem]) -> None:
    """Take the parts of the object that a file is, and report those that are missing, unknown, or of a wrong type."""
    if not isinstance(tree.get(SCHEMA_KEY, ""), str):
        problems.append(Problem("$" + step(SCHEMA_KEY), f"must be text, not {describe(tree[SCHEMA_KEY])}"))
    for key in tree:
        if key not in FILE_KEYS and key != SCHEMA_KEY:
            problems.append(Problem("$" + step(key), unknown("key", key, FILE_KEYS)))
    for key in ("defaults", "nodes"):
        if key in tree and not isinstance(tree[key], dict):
            problems.append(Problem(f"$.{key}", f"must be an object, not {describe(tree[key])}"))
        else:
            setattr(document, key, tree.get(key))
    for key in ("routing", "hosts", "between", "part"):
        setattr(document, key, tree.get(key))
        if key in tree and tree[key] is None:
            problems.append(Problem(f"$.{key}", "must not be null; leave it out"))
    if document.part is not None and not isinstance(document.part, dict):
        problems.append(Problem("$.part", f"must be an object, not {describe(document.part)}"))
    document.name = tree.get("name")
    document.name_given = "name" in tree
    links = tree.get("links")
    if isinstance(links, list):
        document.links = links
    elif "links" in tree:
        problems.append(Problem("$.links", f"must be a list, not {describe(links)}"))
    else:
        problems.append(Problem("$", NO_LINKS))


def _has_our_links(tree: object) -> bool:
    links = tree.get("links") if isinstance(tree, dict) else tree
    first = links[0] if isinstance(links, list) and links else None
    return isinstance(first, list) or (isinstance(first, dict) and ("endpoints" in first or "endpoint" in first))


def report_repeated(tree: object, root: str, joint: str, problems: list[Problem]) -> None:
    """Report each repeated key in a tree. Called only when there is one."""
    waiting: list[tuple[object, str, int]] = [(tree, root, 0)]
    while waiting:
        value, place, depth = waiting.pop()
        if depth == DEPTH_MAX:  # an error already, and the places would take more memory than the file
            continue
        if isinstance(value, RepeatedKeys):
            for key in value.repeated:
                problems.append(
                    Problem(below(place, key, root, joint), f"the key {quote(key)} is given more than once")
                )
        if isinstance(value, dict):
            waiting += [(child, below(place, key, root, joint), depth + 1) for key, child in value.items()]
        elif isinstance(value, list):
            waiting += [(child, f"{place}[{index}]", depth + 1) for index, child in enumerate(value)]


def describe(value: object) -> str:
    """Describe a wrong value in a message: ``null``, ``true``, ``1500.0``, ``'abc'``, ``a list``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, InvalidNumber):
        return f"the number {value.text[:NUMBER_DIGITS]}" + ("..." if len(value.text) > NUMBER_DIGITS else "")
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    return quote(value)
