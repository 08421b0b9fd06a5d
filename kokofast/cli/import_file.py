"""The command import: a file of another program -> a file of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.cli.command import (
    INVALID,
    OK,
    STDIN,
    CommandError,
    check_imported,
    importing,
    read_file_by,
    write_output,
)
from kokofast.cli.output import clean

if TYPE_CHECKING:
    import argparse

    from kokofast.topology.model import Topology


def import_file(options: argparse.Namespace) -> int:
    """Print the topology of options.file as ours, or write it to options.output; return the exit code."""
    from kokofast.topology import dump_json, dump_yaml
    from kokofast.topology.loader import load_with_tree

    extension = options.output.rpartition(".")[2].lower() if options.output != STDIN else "json"
    dump = {"json": dump_json, "yaml": dump_yaml, "yml": dump_yaml}.get(extension)
    if dump is None:
        raise CommandError(INVALID, f"-o {clean(options.output)}: give the name of a .json or .yaml file")
    trees: list[dict[str, object]] = []

    def read(data: bytes) -> Topology:
        topology, tree = load_with_tree(data, filename=options.file, name=options.name, **importing(options))
        trees.append(tree)
        check_imported(topology, options)
        return topology

    read_file_by(options, read)
    write_output((line + "\n" for line in dump(trees[0])), options)
    return OK
