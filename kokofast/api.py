"""The library: load a topology, apply it, destroy it, inspect what is there; or all of it around a block of code.

>>> async with kokofast.deployed(topology) as result: ...
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from kokofast.engine.apply import apply
from kokofast.engine.destroy import destroy
from kokofast.engine.inspect import SeenLink, inspect
from kokofast.engine.result import APPLIED, PARTIAL, UNCHANGED, Failure, Result
from kokofast.host.files import read_file
from kokofast.topology import FILE_BYTES_MAX, TopologyError
from kokofast.topology import load as load_bytes
from kokofast.topology.model import Topology

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = [
    "ApplyError",
    "Failure",
    "Result",
    "SeenLink",
    "Topology",
    "TopologyError",
    "apply",
    "deployed",
    "destroy",
    "inspect",
    "load",
]


class ApplyError(Exception):
    """A topology could not be applied. result.errors says why; everything was taken back, but for what result.left
    lists."""

    def __init__(self, result: Result) -> None:
        super().__init__("\n".join(map(str, result.errors)) or result.status)
        self.result = result


def load(path: str | os.PathLike[str], *, name: str | None = None, create: bool = False) -> Topology:
    """Reads a topology from a .json, .jsonl, .yaml or .csv file.

    name is the lab's name (by default the file's own, or its stem); create makes missing network namespaces.
    Raises OSError, and TopologyError with every problem of the file in ``problems``.
    """
    filename = os.fspath(path)
    data = read_file(filename, FILE_BYTES_MAX)
    return load_bytes(data, filename=filename, name=name, create=create)


@asynccontextmanager
async def deployed(topology: Topology, **options: Any) -> AsyncIterator[Result]:
    """Applies the topology, runs the block with the result, and destroys the lab, however the block ends: all of it,
    also what was there before.

    options are those of apply(). With keep_going the block runs with the links that work, and result.errors has the
    others. Raises ApplyError when the topology cannot be applied.
    """
    result = await apply(topology, **options)
    works = result.status in (APPLIED, UNCHANGED) or (result.status == PARTIAL and options.get("keep_going", False))
    if not works:
        raise ApplyError(result)
    try:
        yield result
    finally:
        with trio.CancelScope(shield=True):
            await destroy(topology.name, topology=topology)
