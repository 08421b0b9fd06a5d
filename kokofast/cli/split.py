"""split: a lab that is on many hosts -> a file for each of them."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

from kokofast.cli.command import (
    FAILED,
    INVALID,
    OK,
    STDIN,
    CommandError,
    check_imported,
    importing,
    read_file_by,
)
from kokofast.cli.output import clean, count, print_error, print_json, print_line, print_table

if TYPE_CHECKING:
    import argparse

    from kokofast.host.folder import Folder
    from kokofast.splitting.joints import Joint
    from kokofast.splitting.split import Split
    from kokofast.topology.model import Hosts, Topology

ENDING = ".json"


def split(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    found = read(options)
    notes = write(found, options)
    if options.format == "json":
        print_json(as_dict(found, options.output, notes))
        return OK
    if not options.quiet:
        for note in notes:
            print_error(f"kokofast: note: {note}")
        _print_table(found, options.output)
    return OK


def read(options: argparse.Namespace) -> Split:
    """Read the file, and split it. Raises CommandError."""
    from kokofast.splitting.split import split as split_whole
    from kokofast.topology.loader import load_to_split

    if options.file == options.hosts == STDIN:
        raise CommandError(INVALID, "FILE and --hosts cannot both be read from standard input")
    hosts = _read_hosts(options)
    placing = None
    if options.place is not None or options.place_by is not None:
        from kokofast.splitting.place import Placer

        placing = Placer(options.place or "", options.place_by or "")
    splits: list[Split] = []

    def load(data: bytes) -> Topology:
        topology, document = load_to_split(
            data,
            filename=options.file,
            name=options.name,
            create=options.create,
            hosts=hosts,
            placing=placing,
            **importing(options),
        )
        check_imported(topology, options)
        splits.append(split_whole(topology, document))
        return topology

    try:
        read_file_by(options, load)
    except ImportError as error:
        if error.name != "pymetis":
            raise
        raise CommandError(FAILED, "--place needs METIS: pip install 'kokofast[hosts]'") from None
    return splits[0]


def _read_hosts(options: argparse.Namespace) -> Hosts | None:
    from kokofast.host.files import read_file
    from kokofast.topology import FILE_BYTES_MAX, Problem, TopologyError
    from kokofast.topology.loader import load_hosts

    path = options.hosts
    if path is None:
        return None
    try:
        return load_hosts(read_file(None if path == STDIN else path, FILE_BYTES_MAX), filename=path)
    except OSError as error:
        raise CommandError(INVALID, Problem(clean(path), error.strerror or str(error))) from None
    except TopologyError as error:
        raise CommandError(INVALID, *error.problems) from None


def write(found: Split, options: argparse.Namespace) -> list[str]:
    """Write the parts, and remove those of hosts that are gone; return notes on what was left. Raises CommandError."""
    from kokofast.host.folder import Folder
    from kokofast.splitting.part import is_part_of
    from kokofast.topology.write import dump_json

    lab = found.topology.name

    def is_ours(name: str, head: str) -> bool:
        return is_part_of(head, name.removesuffix(ENDING), lab)

    files = {name + ENDING: (line + "\n" for line in dump_json(part.tree())) for name, part in found.parts.items()}
    where = f"-o {clean(options.output)}"
    try:
        with closing(Folder(options.output, is_ours)) as folder:
            folder.write(files)
            return _tidy(folder, files.keys(), where)
    except FileExistsError as error:
        words = f"{clean(str(error.filename))} is there, and is no part of the lab {lab}; give another folder"
        raise CommandError(INVALID, f"{where}: {words}") from None
    except OSError as error:
        code = INVALID if isinstance(error, FileNotFoundError | NotADirectoryError) else FAILED
        words = error.strerror or os.strerror(error.errno or 0)
        raise CommandError(code, f"{where}: cannot be written: {words}") from None


def _tidy(folder: Folder, written: object, where: str) -> list[str]:
    """Remove the parts of hosts that the lab is not on any more; return notes on other files."""
    notes: list[str] = []
    for name in folder.names():
        if not name.endswith(ENDING) or name in written:  # type: ignore[operator]
            continue
        if folder.owns(name):
            folder.remove(name)
            notes.append(f"{where}: {clean(name)} is removed: no such host has a part any more")
        else:
            notes.append(f"{where}: {clean(name)} is no part of this lab, and is left as it is")
    return notes


def as_dict(found: Split, folder: str, notes: list[str]) -> dict[str, object]:
    """Return the JSON object; ``kokofast schema split``."""
    hosts = {
        name: {
            "file": os.path.join(folder, name + ENDING),
            "nodes": nodes,
            "links": len(part.links),
            "between": part.between,
        }
        for (name, part), nodes in zip(found.parts.items(), _nodes_of(found).values(), strict=True)
    }
    answer: dict[str, object] = {
        "lab": found.topology.name,
        "hosts": hosts,
        "between": [_joint(joint) for joint in found.joints.values()],
    }
    return answer | ({"notes": notes} if notes else {})


def _nodes_of(found: Split) -> dict[str, list[str]]:
    nodes: dict[str, list[str]] = {name: [] for name in found.parts}
    for node in found.topology.nodes.values():
        assert node.host is not None
        nodes[node.host].append(node.name)
    return nodes


def _joint(joint: Joint) -> dict[str, object]:
    number = {joint.way.number: joint.number} if joint.way.number else {}
    return {
        "link": joint.link.title(),
        "hosts": [host.name for host in joint.hosts],
        "type": joint.between.kind,
        **number,
        "mtu": joint.mtu,
    }


def _print_table(found: Split, folder: str) -> None:
    nodes = _nodes_of(found)
    rows = [
        (
            name,
            f"{len(nodes[name]):,}",
            f"{len(part.links) - part.between:,}",
            f"{part.between:,}",
            os.path.join(folder, name + ENDING),
        )
        for name, part in found.parts.items()
    ]
    print_table(("HOST", "NODES", "LINKS INSIDE", "BETWEEN", "FILE"), rows)
    links, used = len(found.topology.links), sum(map(bool, nodes.values()))
    print_line(f"{count(links, 'link')}, of which {len(found.joints):,} between {count(used, 'host')}")
