"""Print what commands have found or done: errors of runs, tables, JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kokofast.cli.output import WRITING, clean, print_error, print_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kokofast.engine.inspect import SeenLink, SeenNode
    from kokofast.engine.result import Failure, Result

FOLDED = 5  # errors of one sort that are printed in full
DIGITS = frozenset("0123456789")


def print_errors(errors: Sequence[Failure], fold: bool = True, whole: str = "--format json lists them all") -> None:
    """Print errors to standard error.

    Many errors with the same message become one line. With fold, of many errors that differ only in names and numbers
    (2,000 missing namespaces) print FOLDED, and the number of the others; whole says where those are listed.
    """
    same: dict[str, list[Failure]] = {}
    for error in errors:
        same.setdefault(error.message, []).append(error)
    errors = [error for error in errors if len(same[error.message]) <= FOLDED + 1 or error is same[error.message][0]]
    kinds = [_constant_words(error.message) for error in errors]
    times: dict[tuple[str, ...], int] = {}
    for kind in kinds:
        times[kind] = times.get(kind, 0) + 1
    shown = dict.fromkeys(times, 0)
    for error, kind in zip(errors, kinds, strict=True):
        shown[kind] += 1
        if len(others := same[error.message]) > FOLDED + 1:
            print_error(
                f"kokofast: {error} (the same at {len(others) - 1:,} more places, the last is {others[-1].source})"
            )
        elif not fold or shown[kind] <= FOLDED or times[kind] <= FOLDED + 1:
            print_error(f"kokofast: {error}")
        elif shown[kind] == FOLDED + 1:
            print_error(f"kokofast: ... and {times[kind] - FOLDED:,} more like this{f'; {whole}' if whole else ''}")


def _constant_words(message: str) -> tuple[str, ...]:
    """Return the message without what differs between errors of one sort: quoted text, node names, words with digits.

    Linear in the length of the message: names may be long.
    """
    unquoted = "".join("".join(message.split("'")[::2]).split('"')[::2])
    words = unquoted.replace(":", " ").split()
    return tuple(
        word for before, word in zip(("", *words), words, strict=False) if before != "node" and DIGITS.isdisjoint(word)
    )


def count(number: int, noun: str) -> str:
    """Return ``1 link``, ``2 links``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_json(value: object) -> None:
    """Print a JSON document to standard output."""
    import json

    with WRITING:
        json.dump(value, sys.stdout, indent=2)
        sys.stdout.write("\n")


def print_result(result: Result, format: str, quiet: bool) -> None:
    """Print the result of batch or destroy: errors to standard error, the table or JSON object to standard output."""
    print_errors(result.errors)
    for line in result.left:
        print_error(f"kokofast: could not be taken back: {line}")
    if format == "json":
        print_json(result.as_dict())
        return
    if quiet:
        return
    for note in result.notes:
        print_error(f"kokofast: {note}")
    for step in result.planned:
        print_line(str(step))
    if result.status != "invalid":
        print_line(f"{summary(result)} in {sum(result.seconds.values()):.2f} s")


def summary(result: Result) -> str:
    """Return ``fabric1: applied, 2 links created``."""
    title = f"{result.lab}: " if result.lab else ""
    counts = counts_of(result.links, result.namespaces, is_plan=bool(result.planned))
    return f"{title}{', '.join([result.status, *counts])}"


def counts_of(links: Mapping[str, int], namespaces: Mapping[str, int], *, is_plan: bool) -> list[str]:
    """Return ``["2 links created", "1 namespace created"]``, of a plan ``["2 links to create", ...]``."""
    planned = {"created": "to create", "updated": "to update", "removed": "to remove", "replaced": "to replace"}
    done = planned if is_plan else {}
    return [
        f"{count(number, noun)} {done.get(what, what)}"
        for noun, counted in (("link", links), ("namespace", namespaces))
        for what, number in counted.items()
        if number and what != "total"
    ]


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns."""
    cleaned = [tuple(clean(cell) for cell in row) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cleaned, strict=True)]
    with WRITING:
        for row in cleaned:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            sys.stdout.write(line.rstrip() + "\n")


def print_links(links: Sequence[SeenLink], namespaces: Mapping[str, str], nodes: Sequence[SeenNode] = ()) -> None:
    """Print the tables of inspect, and a line of counts. namespaces maps those that labs made to their labs."""
    from kokofast.engine.inspect import addresses_of

    rows = []
    for link in links:
        states = {end.state for end in link.ends}
        state = next(state for state in ("down", "lower-layer-down", "up") if state in states)
        mtu = "/".join(sorted({str(end.interface.mtu) for end in link.ends}))
        addresses = [" ".join(addresses_of(end.interface)) or "-" for end in link.ends]
        title = " -- ".join(map(str, link.ends))
        rows.append((link.lab or "?", link.kind, title, state, mtu, " -- ".join(addresses), _details(link)))
    if rows:
        width = 7 if any(row[-1] for row in rows) else 6
        header = ("LAB", "TYPE", "LINK", "STATE", "MTU", "ADDRESSES", "DETAILS")
        print_table(header[:width], [row[:width] for row in rows])
    bare = unlinked(links, namespaces)
    if bare:
        print_table(("LAB", "NAMESPACE WITHOUT LINKS"), [(lab, name) for name, lab in bare.items()])
    if nodes:
        rows_of_nodes = [
            (node.lab, node.namespace, " ".join(node.addresses) or "-", f"{node.routes}") for node in nodes
        ]
        print_table(("LAB", "NODE", "LOOPBACK", "ROUTES"), rows_of_nodes)
    labs = {link.lab for link in links} | set(namespaces.values()) | {node.lab for node in nodes}
    made = [count(len(namespaces), "namespace")] if namespaces else []
    print_line(", ".join([count(len(links), "link"), *made, count(len(labs), "lab")]))


def unlinked(links: Sequence[SeenLink], namespaces: Mapping[str, str]) -> dict[str, str]:
    """Return the namespaces without a link of the lab that made them."""
    linked = {(link.lab, end.namespace) for link in links for end in link.ends}
    return {name: lab for name, lab in namespaces.items() if (lab, name) not in linked}


def _text_of(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "?" if value is None else ("off", "on")[value] if isinstance(value, bool) else str(value)


def _details(link: SeenLink) -> str:
    """Return the fields of the link kind that differ from the kernel's defaults, and what the ends have.

    What is the same at both ends is shown once.
    """
    from kokofast.kinds import KINDS

    fields = {field.name: field for field in KINDS[link.kind].fields} if link.fields else {}
    shown = [
        f"{name} {_text_of(value)}"
        for name, value in link.fields.items()
        if (fields[name].default is not value if isinstance(value, bool) else fields[name].required or value != 0)
    ]
    of_ends = [" ".join(f"{name} {_text_of(value)}" for name, value in end.properties.items()) for end in link.ends]
    if len(set(of_ends)) == 1:
        shown += filter(None, of_ends[:1])
    else:
        shown += [f"{end} {text}" for end, text in zip(link.ends, of_ends, strict=True) if text]
    for end in link.ends:
        shown += [f"{end} mirrors {source} {direction}" for source, direction in end.mirrors]
    return ", ".join(shown)
