"""graph: draw a topology, with the states of its links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.cli.command import (
    FAILED,
    IN_SANDBOX,
    INVALID,
    OK,
    STDIN,
    CommandError,
    load_source,
    need_capabilities,
    write_output,
)
from kokofast.cli.looking import look, print_unseen
from kokofast.cli.output import clean, print_error
from kokofast.cli.progress import Task
from kokofast.graph import FORMATS

if TYPE_CHECKING:
    import argparse

    from kokofast.graph.model import Graph

MANY = 1000  # links; fewer are placed in half a second
WITHOUT_STATES = "--no-state draws the file without them, and without the states of its links"


def graph(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    format = _format(options)
    source = load_source(options)
    code = OK
    if options.no_state:
        from kokofast.graph.build import graph_of_file

        if source is None or isinstance(source, str):
            raise CommandError(INVALID, f"--no-state goes with a FILE, and {options.source} is the name of a lab")
        drawn = graph_of_file(source)
    else:
        assert source is not None
        is_file = not isinstance(source, str)
        need_capabilities(looks_only=True, otherwise=WITHOUT_STATES if is_file else IN_SANDBOX)
        from kokofast.engine.graph import graph_of
        from kokofast.engine.inspect import see

        lab = source if isinstance(source, str) else source.name
        seen = look(lambda driver, kernel: see(lab, driver, kernel))
        print_unseen(seen.notes, seen.unseen)
        if isinstance(source, str) and seen.is_empty():
            raise CommandError(FAILED, f"nothing of the lab {lab} is there; 'kokofast inspect' shows all labs")
        drawn = graph_of(source, seen)
        code = FAILED if seen.unseen else OK
    _draw(drawn, format, options)
    return code


def _format(options: argparse.Namespace) -> str:
    """Return the format that --format says, or the ending of the file."""
    if options.format is not None:
        return str(options.format)
    if options.output == STDIN:
        return "svg"
    ending = options.output.rpartition(".")[2].lower()
    for name, format in FORMATS.items():
        if ending in (name, *format.endings):
            return name
    endings = ", ".join(f".{name}" for name in FORMATS)
    raise CommandError(
        INVALID, f"-o {clean(options.output)}: give a file that ends in {endings}, or say the format by --format"
    )


def _draw(drawn: Graph, format: str, options: argparse.Namespace) -> None:
    from kokofast.graph.picture import picture

    most = FORMATS[format].edges_max
    if most and len(drawn.edges) > most and not options.quiet:
        print_error(
            f"kokofast: note: what shows this format draws at most {most:,} links unless its maxEdges is higher, and "
            f"there are {len(drawn.edges):,}; svg and html have no limit"
        )
    try:
        with Task(f"placing {len(drawn.vertices):,} nodes", silent=options.quiet or len(drawn.edges) < MANY):
            parts = picture(drawn, format)
    except ImportError as error:
        raise CommandError(FAILED, str(error)) from None
    write_output(parts, options)
