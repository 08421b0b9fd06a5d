"""The command import: a file of another program -> a file of ours."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from kokofast.cli.command import FAILED, INVALID, OK, STDIN, CommandError, check_imported, importing, read_file_by
from kokofast.cli.output import WRITING, clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

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
    lines = dump(trees[0])
    if options.output != STDIN:
        _write(options.output, lines, force=options.force)
        return OK
    with WRITING:
        for line in lines:
            sys.stdout.write(line + "\n")
    return OK


def _write(path: str, lines: Iterator[str], *, force: bool) -> None:
    from kokofast.host.files import write_whole

    try:
        write_whole(path, (line + "\n" for line in lines), overwrite=force)
    except FileExistsError:
        words = f"-o {clean(path)}: is there already; --force overwrites it"
        raise CommandError(INVALID, words) from None
    except OSError as error:
        code = INVALID if isinstance(error, FileNotFoundError | NotADirectoryError) else FAILED
        raise CommandError(
            code, f"-o {clean(path)}: cannot be written: {error.strerror or os.strerror(error.errno or 0)}"
        ) from None
