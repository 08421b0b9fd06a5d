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
from kokofast.cli.output import clean, print_error, print_line
from kokofast.cli.results import count, print_json, print_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Collection, Iterable, Mapping

    from kokofast.host.folder import Folder
    from kokofast.splitting.joints import Joint
    from kokofast.splitting.split import Split
    from kokofast.timeline.epoch import Epoch
    from kokofast.topology.document import Document
    from kokofast.topology.model import Hosts, Topology


def split(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    found = read(options)
    timelines = split_timeline(found, options) if options.timeline is not None else {}
    notes = write(found, timelines, options)
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

    splits: list[Split] = []
    read_whole(options, lambda topology, document: splits.append(split_whole(topology, document)))
    return splits[0]


def read_whole(options: argparse.Namespace, use: Callable[[Topology, Document], object] = lambda *_: None) -> Topology:
    """Read the file. use() may raise TopologyError. Raises CommandError."""
    from kokofast.topology.loader import load_to_split

    if [options.file, options.hosts, options.timeline].count(STDIN) > 1:
        raise CommandError(INVALID, "only one of FILE, --hosts and --timeline can be read from standard input")
    hosts = _read_hosts(options)
    placing = None
    if options.place is not None or options.place_by is not None:
        from kokofast.splitting.place import Placer

        placing = Placer(options.place or "", options.place_by or "")

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
        use(topology, document)
        return topology

    try:
        return read_file_by(options, load)
    except ImportError as error:
        if error.name != "pymetis":
            raise
        raise CommandError(FAILED, "--place needs METIS: pip install 'kokofast[hosts]'") from None


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


def split_timeline(
    found: Split,
    options: argparse.Namespace,
    note: Callable[[str, Epoch, Mapping[str, list[str]]], object] | None = None,
) -> dict[str, list[str]]:
    """Return the lines of each host's timeline. Raises CommandError with all problems.

    With note() all hosts get the first epoch, if only its time, and note(host, epoch, places of entries) is called for
    each line.
    """
    import json

    from kokofast.cli.timelines import epochs_in
    from kokofast.splitting.timeline import SplitTimeline
    from kokofast.topology.problems import PROBLEMS_MAX, Problem, TopologyError

    lines: dict[str, list[str]] = {host: [] for host in found.parts}
    splits = SplitTimeline(found)
    problems: list[Problem] = []
    last: float | None = None
    latest: dict[str, float | None] = {}
    for epoch in epochs_in(options.timeline):
        if isinstance(epoch, TopologyError):
            problems += epoch.problems
            continue
        is_first, last = last is None, epoch.at
        try:
            parts = splits.split(epoch)
            if is_first and note is not None:
                parts = {host: parts.get(host, {"at": last}) for host in lines}
            for host, line in parts.items():
                lines[host].append(json.dumps(line) + "\n")
                latest[host] = last
                if note is not None:
                    note(host, epoch, splits.places.get(host, {}))
        except TopologyError as error:
            problems += error.problems
        if len(problems) >= PROBLEMS_MAX:
            break
    if problems:
        raise CommandError(INVALID, *problems)
    for part in found.parts.values():
        part.has_timeline = True
        if latest.get(part.host, -1) != last:  # all end, and begin again, at the same time
            lines[part.host].append(json.dumps({"at": last}) + "\n")
    return lines


def write(found: Split, timelines: Mapping[str, Iterable[str]], options: argparse.Namespace) -> list[str]:
    """Write the parts, and remove those of hosts that are gone; return notes on what was left. Raises CommandError."""
    from kokofast.host.folder import Folder
    from kokofast.splitting.part import file_of, timeline_of
    from kokofast.topology.write import dump_json

    files: dict[str, Iterable[str]] = {}
    for host, part in found.parts.items():
        files[file_of(host)] = (line + "\n" for line in dump_json(part.tree()))
        if host in timelines:
            files[timeline_of(host)] = timelines[host]
    where = f"-o {clean(options.output)}"
    try:
        with closing(Folder(options.output, lambda name, head: name in former)) as folder:
            former = _former(folder, found.topology.name)
            folder.write(files)
            return _tidy(folder, files.keys(), former, where)
    except FileExistsError as error:
        words = f"{clean(str(error.filename))} is there, and is no part of the lab {found.topology.name}"
        raise CommandError(INVALID, f"{where}: {words}; give another folder") from None
    except OSError as error:
        code = INVALID if isinstance(error, FileNotFoundError | NotADirectoryError) else FAILED
        words = error.strerror or os.strerror(error.errno or 0)
        raise CommandError(code, f"{where}: cannot be written: {words}") from None


def _former(folder: Folder, lab: str) -> set[str]:
    """Return the names of the files that an earlier split of the lab wrote. A timeline is known by its part."""
    from kokofast.splitting.part import ENDING, file_of, is_part_of, timeline_of

    found: set[str] = set()
    for name in folder.names():
        host = name.removesuffix(ENDING)
        head = folder.head(name) if name == file_of(host) else None
        if head is not None and is_part_of(head, host, lab):
            found.add(name)
            if is_part_of(head, host, lab, with_timeline=True):
                found.add(timeline_of(host))
    return found


def _tidy(folder: Folder, written: Collection[str], former: Collection[str], where: str) -> list[str]:
    """Remove what an earlier split wrote and this one did not; return notes on that, and on files of others."""
    from kokofast.splitting.part import ENDINGS

    notes: list[str] = []
    for name in folder.names():
        if name in written or not name.endswith(ENDINGS):
            continue
        if name in former and folder.owns(name):
            folder.remove(name)
            notes.append(f"{where}: {clean(name)} is removed: the lab has no such part any more")
        else:
            notes.append(f"{where}: {clean(name)} is no part of this lab, and is left as it is")
    return notes


def as_dict(found: Split, folder: str, notes: list[str]) -> dict[str, object]:
    """Return the JSON object; ``kokofast schema split``."""
    from kokofast.splitting.part import file_of, timeline_of

    hosts = {
        name: {
            "file": os.path.join(folder, file_of(name)),
            "nodes": nodes,
            "links": len(part.links),
            "between": part.between,
            **({"timeline": os.path.join(folder, timeline_of(name))} if part.has_timeline else {}),
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
    from kokofast.splitting.part import file_of

    nodes = _nodes_of(found)
    rows = [
        (
            name,
            f"{len(nodes[name]):,}",
            f"{len(part.links) - part.between:,}",
            f"{part.between:,}",
            os.path.join(folder, file_of(name)),
        )
        for name, part in found.parts.items()
    ]
    print_table(("HOST", "NODES", "LINKS INSIDE", "BETWEEN", "FILE"), rows)
    links, used = len(found.topology.links), sum(map(bool, nodes.values()))
    print_line(f"{count(links, 'link')}, of which {len(found.joints):,} between {count(used, 'host')}")
