"""Read topologies: from a file, from a text, from data."""

from __future__ import annotations

import os

from kokofast.api.checks import check_flags, check_import, check_lab, check_path
from kokofast.host.files import read_file
from kokofast.importers.importer import Options
from kokofast.topology import FILE_BYTES_MAX
from kokofast.topology import load as load_bytes
from kokofast.topology.code import Topology, load_tree, public_topology
from kokofast.topology.loader import TEXT


def load(
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    create: bool = False,
    format: str | None = None,
    runtime: str | None = None,
    distance_delay: bool = False,
) -> Topology:
    """Read a topology from a .json, .jsonl, .yaml or .csv file, or from one of another program (docs/import.md).

    Of a file of another program ``topology.imported`` is the format, and ``topology.notes`` has what cannot be kept.

    Args:
        path: The file.
        name: The lab's name; by default the file's own, or its stem.
        create: Make missing network namespaces.
        format: "json", "jsonl", "yaml" or "csv", or "containerlab" and others of docs/import.md; None recognises it.
        runtime: "docker" or "podman": the nodes of a file of another program are its containers.
        distance_delay: Give links of a graph the time that light takes in fibre between the places of their nodes.

    Raises:
        OSError: The file cannot be read.
        TopologyError: With every problem of the file in ``problems``.
        TypeError: An argument has another type.
        ValueError: For a name that cannot be a lab's, an unknown format or runtime.
    """
    filename = check_path(path)
    check_flags(create=create, distance_delay=distance_delay)
    name = check_lab(name)
    check_import(format, runtime)
    options = Options(runtime=runtime, environment=os.environ, distance_delay=distance_delay)
    data = read_file(filename, FILE_BYTES_MAX)
    return public_topology(
        load_bytes(
            data, filename=filename, name=name, create=create, format=format, name_option="name=", options=options
        )
    )


def loads(data: object, *, name: str | None = None, create: bool = False, format: str | None = None) -> Topology:
    """Read a topology from a text, from bytes, or from a dict or a list as json.loads() returns them.

    Args:
        data: The text of a file in any of the formats; or what a JSON file has, also with tuples for lists.
        name: The lab's name, unless the data have one.
        create: Make missing network namespaces.
        format: Of a text: as of load().

    Raises:
        TopologyError: With every problem, and its place: ``$.links[3].mtu``, in a text with line and column as well.
        TypeError: An argument has another type.
        ValueError: For a name that cannot be a lab's, or an unknown format.
    """
    check_flags(create=create)
    name = check_lab(name)
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    if isinstance(data, (bytes, bytearray, memoryview)):
        return public_topology(
            load_bytes(bytes(data), filename=TEXT, format=format, name=name, create=create, name_option="name=")
        )
    if format is not None:
        raise TypeError("format is for texts: a dict or a list is no text")
    return public_topology(load_tree(data, name=name, create=create))
