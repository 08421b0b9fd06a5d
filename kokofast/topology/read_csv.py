"""Read CSV into a Document: each row becomes the link object of JSON, which the same rules check."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator

from kokofast.ends import ENDS
from kokofast.kinds import KINDS
from kokofast.topology.document import LINKS_MAX, NUMBER_DIGITS, Document, InvalidNumber, refuse_too_many
from kokofast.topology.locations import ColumnPlaces
from kokofast.topology.order import BEFORE_ALL, in_line_order
from kokofast.topology.problems import Problem, TopologyError, unknown
from kokofast.topology.shapes import DEFAULT_KIND, NODE_KINDS
from kokofast.topology.values import quote

END_COLUMNS = ("a_node", "a_if", "a_ip", "b_node", "b_if", "b_ip")
# Columns that are always known. Apart from "type" each is a key of JSON, and belongs to the kinds that declare it.
LINK_COLUMNS = ("type", "mtu", "parent", "remote", "vni", "port", "id", "mode", "subnet", "subnet6", "cost")
REQUIRED_COLUMNS = ("a_node",)
EXAMPLE_COLUMNS = (*END_COLUMNS, "type", "mtu")
DELIMITERS = (",", ";", "\t")

Row = dict[str, str]


def columns() -> dict[str, Callable[[str], object]]:
    """Return all known columns, each with the function that turns a cell into the value in JSON."""
    by_type: dict[str, Callable[[str], object]] = {
        "int": _number,
        "bool": _truth,
        "offload": _truth,
        "ips": _one_or_list,
    }
    fields = [field for kind in KINDS.values() for field in kind.fields]
    fields += [field for found in ENDS.values() if found.has_columns for field in found.all_fields()]
    declared = {field.name: by_type.get(field.type, str) for field in fields}
    return (
        dict.fromkeys((*END_COLUMNS, *LINK_COLUMNS), str) | declared | {"mtu": _number, "cost": _number, "dad": _truth}
    )


def read_csv(text: str, filename: str, problems: list[Problem]) -> Document:
    """Read a table of links, header first."""
    reader = _Reader(filename, problems)
    links: list[object] = []
    lines: list[int] = []
    header: list[str] | None = None
    delimiter = _delimiter(text)
    for line, cells in _rows(text, filename, problems, delimiter):
        if header is None:
            header = reader.check_header(line, cells)
        elif len(cells) != len(header):
            hint = _hint(cells, len(header), delimiter)
            told = f"has {len(cells)} cell{'s' * (len(cells) != 1)}, the header has {len(header)}{hint}"
            problems.append(Problem(f"{filename}:{line}", told))
        else:
            if len(links) == LINKS_MAX:
                raise refuse_too_many(filename)
            row = {key: cell for key, cell in zip(header, cells, strict=True) if cell and key in reader.columns}
            links.append(reader.link(line, row))
            lines.append(line)
    if header is None:
        raise TopologyError([*problems, Problem(filename, "has no header line")])
    document = Document(links, ColumnPlaces(filename, lines))
    document.nodes = reader.nodes
    document.broken = reader.broken
    document.node_at = lambda name, key: f"{filename}:{reader.first_use[name]}"
    order = {column: number for number, column in enumerate(header)}

    def within(line: int, found: list[Problem]) -> list[Problem]:
        return sorted(found, key=lambda problem: order.get(problem.place.rpartition(" ")[2], BEFORE_ALL))

    document.in_order = lambda found: in_line_order(found, filename, within)
    return document


def _hint(cells: list[str], columns: int, delimiter: str) -> str:
    """Say why a row may have another number of cells than the header, and the cure."""
    name = {"\t": "a tab"}.get(delimiter, f"'{delimiter}'")
    if len(cells) > columns:
        return f"; a cell with {name} in it needs double quotes, several addresses may be separated by spaces"
    others = [other for other in DELIMITERS if other != delimiter and cells[0].count(other) == columns - 1]
    if len(cells) == 1 and others:
        other = {"\t": "a tab"}.get(others[0], f"'{others[0]}'")
        return f"; it is separated by {other}, the header by {name}"
    return "; a cell may be blank, but must be there"


def _rows(text: str, filename: str, problems: list[Problem], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, stripped, each with its first line."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    while True:
        line = rows.line_num + 1
        try:
            cells = [cell.strip() for cell in next(rows)]
        except StopIteration:
            return
        except csv.Error as error:
            # After an unbalanced quote the rest cannot be read.
            problems.append(Problem(f"{filename}:{line}", f"not CSV: {error}"))
            return
        if any(cells):
            yield line, cells


def _delimiter(text: str) -> str:
    """Return the separator of the known columns: a comma, or as in spreadsheets a semicolon or a tab."""
    header = text.lstrip().partition("\n")[0]
    known = columns()

    def count(delimiter: str) -> int:
        # No more cells than a header can have, each known column once: a line may be anything.
        return sum(cell.strip(' \r"').lower() in known for cell in header.split(delimiter, len(known)))

    return max(DELIMITERS, key=count)


class _Reader:
    def __init__(self, filename: str, problems: list[Problem]) -> None:
        self.nodes: dict[str, object] = {}
        self.broken: set[str] = set()
        self.first_use: dict[str, str] = {}
        self._filename = filename
        self._problems = problems
        self.columns = columns()

    def check_header(self, line: int, header: list[str]) -> list[str]:
        """Check the header and return it. Unknown columns are ignored, after an error.

        Raises TopologyError when a required column is missing: the rows cannot be read.
        """
        place = f"{self._filename}:{line}"
        header = [column.lower() if column.lower() in self.columns else column for column in header]
        if not any(column in self.columns for column in header):
            message = f"there is no header: the first line names the columns, as in '{','.join(EXAMPLE_COLUMNS)}'"
            raise TopologyError([*self._problems, Problem(place, message)])
        for column, times in Counter(header).items():
            if column not in self.columns:
                self._problems.append(Problem(place, unknown("column", column, self.columns)))
            if times > 1:
                self._problems.append(Problem(place, f"the column {quote(column)} is there more than once"))
        missing = [column for column in REQUIRED_COLUMNS if column not in header]
        if missing:
            problems = [Problem(place, f"the column '{column}' is missing") for column in missing]
            raise TopologyError([*self._problems, *problems])
        return header

    def link(self, line: int, row: Row) -> dict[str, object]:
        """Return the link object of a row."""
        link: dict[str, object] = {key: self.columns[key](cell) for key, cell in row.items() if key not in END_COLUMNS}
        node, _, ifname = row.get("parent", "").rpartition(":")
        if ":" in node:
            link["parent"] = f"{self._node(line, 'parent', node)}:{ifname}"
        first = self._end(line, row, "a")
        kind = KINDS.get(row.get("type", DEFAULT_KIND))
        if kind is None or kind.ends == 2:
            link["endpoints"] = [first, self._end(line, row, "b")]
            return link
        link["endpoint"] = first
        for column in ("b_node", "b_if", "b_ip"):
            if column in row:
                self._complain(line, column, f"{kind.article} {kind.name} link has one end: leave {column} blank")
        return link

    def _end(self, line: int, row: Row, side: str) -> dict[str, object]:
        # Keep a blank node: the error should name its column.
        node = row.get(f"{side}_node", "")
        end: dict[str, object] = {"node": self._node(line, f"{side}_node", node) if ":" in node else node}
        if ifname := row.get(f"{side}_if"):
            end["interface"] = ifname
        if addresses := row.get(f"{side}_ip"):
            end["addresses"] = _several(addresses)
        return end

    def _node(self, line: int, column: str, cell: str) -> str:
        """Return the name of a node given as ``kind:target``, and declare it."""
        kind, _, target = cell.partition(":")
        name = target if kind == "netns" and ":" not in target else cell
        if name in self.nodes or name in self.broken:
            return name
        self.first_use[name] = f"{line} {column}"
        if kind not in NODE_KINDS:
            self._complain(line, column, unknown("node kind", kind, NODE_KINDS))
            self.broken.add(name)
        elif kind == "host" and target:
            self._complain(line, column, f"host: takes no name, not {quote(target)}")
            self.broken.add(name)
        else:
            declared: object = True if kind == "host" else _number(target) if kind == "pid" else target
            self.nodes[name] = {kind: declared}
        return name

    def _complain(self, line: int, column: str, message: str) -> None:
        self._problems.append(Problem(f"{self._filename}:{line} {column}", message))


def _one_or_list(cell: str) -> object:
    """Return the only address, or a list of several, which are separated as those of an end."""
    found = _several(cell)
    return cell if len(found) == 1 else found


def _several(cell: str) -> list[str]:
    return cell.replace(";", " ").replace(",", " ").split()


def _truth(cell: str) -> object:
    """Return true or false; any other cell unchanged, for the column's rule to refuse."""
    return {"true": True, "false": False}.get(cell.lower(), cell)


def _number(cell: str) -> object:
    """Return a whole number; any other cell unchanged, for the column's rule to refuse."""
    digits = cell[1:] if cell[0:1] == "-" else cell
    if not (digits.isascii() and digits.isdigit()):
        return cell
    return int(cell) if len(cell) <= NUMBER_DIGITS else InvalidNumber(cell)
