"""What each importer has, and what it is given and returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kokofast.topology.document import tree_node_at
from kokofast.topology.order import ancestors
from kokofast.topology.problems import Problem, Problems


class Source:
    """A file that is not in our format.

    Args:
        title: The file, for messages.
        text: Its content.
        tree: The value of a JSON or YAML file, None for any other. Numbers with a fraction are InvalidNumber objects,
            which have the text.
        extension: What follows the last dot of its name, in lower case.
    """

    __slots__ = ("extension", "text", "title", "tree")

    def __init__(self, title: str, text: str, tree: object = None, extension: str = "") -> None:
        self.title = title
        self.text = text
        self.tree = tree
        self.extension = extension


class Options:
    """What the user chooses.

    Args:
        runtime: The container engine whose containers the nodes are; None: network namespaces.
        environment: The variables that a file may use.
        distance_delay: Give links the time that light takes between their nodes, where a file has the nodes' places.
    """

    __slots__ = ("distance_delay", "environment", "runtime")

    def __init__(
        self,
        *,
        runtime: str | None = None,
        environment: Mapping[str, str] | None = None,
        distance_delay: bool = False,
    ) -> None:
        self.runtime = runtime
        self.distance_delay = distance_delay
        self.environment: Mapping[str, str] = environment if environment is not None else {}


class Origins(dict[str, str]):
    """The places in the user's file of parts of the topology: ``$.links[0].endpoints[1]`` -> ``lab.conf:7``.

    It is called with the path of any value of the topology. One without an entry has the place of the next value around
    it that has one.
    """

    def __call__(self, path: str) -> str:
        """Return the place."""
        return next((self[part] for part in reversed(ancestors(path)) if part in self), "")


class Imported:
    """What an importer made of a file.

    Args:
        tree: The topology, as links.json would have it.
        notes: What could not be kept: the place and the fact, each fact once.
        place_of: Returns the place in the user's file of a path in the tree, such as ``$.links[3].endpoints[0].mtu`` or
            ``$.nodes.r1``. It begins with ``$`` for a value of a JSON or YAML file, and with ``title:LINE`` for others.
        problems: What is wrong with the file. The ordinary checks of the tree find the rest.
    """

    __slots__ = ("notes", "place_of", "problems", "tree")

    def __init__(
        self,
        tree: dict[str, object],
        notes: Sequence[Problem] = (),
        place_of: Callable[[str], str] = Origins(),  # noqa: B008  it is never changed
        problems: Sequence[Problem] = (),
    ) -> None:
        self.tree = tree
        self.notes = notes
        self.place_of = place_of
        self.problems = problems


class Importer:
    """One format.

    Args:
        name: Of ``--from``, and of the module.
        title: The format in a sentence: "a topology of containerlab".
        recognise: Whether a file is in this format. It says no to a file that could be of another.
        read: Makes a topology of the file. Raises TopologyError where nothing can be made of it.
        has_positions: Whether nodes may have a latitude and a longitude.
    """

    __slots__ = ("has_positions", "name", "read", "recognise", "title")

    def __init__(
        self,
        name: str,
        title: str,
        recognise: Callable[[Source], bool],
        read: Callable[[Source, Options], Imported],
        *,
        has_positions: bool = False,
    ) -> None:
        self.name = name
        self.title = title
        self.recognise = recognise
        self.read = read
        self.has_positions = has_positions


class Draft:
    """A topology that an importer fills.

    Attributes:
        tree: Its name, defaults and others.
        nodes: The declared nodes.
        links: The links.
        problems: What is wrong with the file.
    """

    def __init__(self) -> None:
        self.tree: dict[str, object] = {}
        self.nodes: dict[str, object] = {}
        self.links: list[dict[str, object]] = []
        self.problems: list[Problem] = Problems()
        self._origins = Origins()
        self._notes: dict[str, list[str]] = {}

    def add_link(
        self,
        link: dict[str, object],
        place: str,
        ends: Sequence[str] = (),
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """Add a link with its place, and the places of its ends and of some of its fields."""
        path = f"$.links[{len(self.links)}]"
        self._origins[path] = place
        if "endpoint" in link and ends:
            self._origins[f"{path}.endpoint"] = ends[0]
        for number, end in enumerate(ends):
            self._origins[f"{path}.endpoints[{number}]"] = end
        for field, where in (fields or {}).items():
            self._origins[f"{path}.{field}"] = where
        self.links.append(link)

    def add_node(self, name: str, node: dict[str, object], place: str) -> None:
        """Add a node with its place."""
        self.nodes[name] = node
        self.place_in_node(name, "", place)

    def place_in_node(self, name: str, path: str, place: str) -> None:
        """Set the place of a value in a node."""
        self._origins[tree_node_at(name, path)] = place

    def name_lab(self, name: str, place: str) -> None:
        """Set the name of the lab."""
        self.tree["name"] = name
        self._origins["$.name"] = place

    def note(self, place: str, fact: str) -> None:
        """Note what is not kept. A fact with several places is listed once."""
        self._notes.setdefault(fact, []).append(place)

    def refuse(self, place: str, message: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(place, message))

    def imported(self) -> Imported:
        """Return the topology."""
        tree = dict(self.tree)
        if self.nodes:
            tree["nodes"] = self.nodes
        tree["links"] = self.links
        notes = [
            Problem(places[0], fact if len(places) == 1 else f"{fact} (and {len(places) - 1:,} more of these)")
            for fact, places in self._notes.items()
        ]
        return Imported(tree, notes, self._origins, self.problems)
