"""What the library asks of its callers: arguments of the right type, and capabilities."""

from __future__ import annotations

import errno
import math
import os

from kokofast.host.limits import missing_capabilities
from kokofast.importers import RUNTIMES
from kokofast.topology.loader import importer_of
from kokofast.topology.model import Topology
from kokofast.topology.problems import TopologyError
from kokofast.topology.values import check_lab_name, quote


def need(capabilities: tuple[str, ...], function: str) -> None:
    """Raise PermissionError if a function of the library lacks capabilities."""
    if missing := missing_capabilities(capabilities):
        text = f"kokofast.{function}() needs root, or {' and '.join(missing)}"
        raise PermissionError(errno.EPERM, text)


def check_topology(topology: Topology) -> Topology:
    """Return the topology.

    Raises TypeError, ValueError when its name cannot be a lab's, and TopologyError when it is for many hosts.
    """
    if not isinstance(topology, Topology):
        raise TypeError(f"not a topology but a {type(topology).__name__}: kokofast.load() reads one from a file")
    check_lab_name(topology.name)
    refuse_whole(topology)
    return topology


def refuse_whole(topology: Topology) -> None:
    """Raise TopologyError for a topology of many hosts: each needs its part."""
    if topology.hosts:
        from kokofast.topology.hosts import unsplit

        problem = unsplit(topology)
        if problem is not None:
            raise TopologyError([problem])


def check_lab(name: object) -> str | None:
    """Return the name of a lab. Raises TypeError and ValueError."""
    return None if name is None else need_lab(name)


def need_lab(name: object) -> str:
    """Return the name of a lab. Raises TypeError, also for None, and ValueError."""
    if not isinstance(name, str):
        raise TypeError(f"a lab's name is a string, not {type(name).__name__}")
    return check_lab_name(name)


def check_path(path: str | os.PathLike[str]) -> str:
    """Return the path of a file in text. Raises TypeError."""
    found = os.fspath(path)
    if not isinstance(found, str):
        raise TypeError(f"path is a string or a path, not {type(found).__name__}")
    return found


def check_flags(**flags: object) -> None:
    """Raise TypeError unless these arguments are True or False."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} is True or False, not {quote(value)}")


def check_jobs(jobs: object) -> None:
    """Raise TypeError or ValueError unless this is a number of worker threads, or None."""
    if jobs is None:
        return
    if not isinstance(jobs, int) or isinstance(jobs, bool):
        raise TypeError(f"jobs is a whole number or None, not {quote(jobs)}")
    if jobs < 1:
        raise ValueError(f"jobs is a whole number from 1, or None, not {jobs}")


def check_timeout(seconds: object, name: str = "runtime_timeout") -> None:
    """Raise TypeError or ValueError unless this is a time to wait."""
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise TypeError(f"{name} is a number of seconds, not {quote(seconds)}")
    if not 0 < seconds < math.inf:  # nan is neither
        raise ValueError(f"{name} is a number of seconds above 0, not {seconds}")


def check_confirmation(seconds: object, waiting: object, **others: bool) -> None:
    """Raise TypeError or ValueError unless apply() can wait to be confirmed, or need not."""
    if waiting is not None and not callable(waiting):
        raise TypeError(f"waiting is a function of the seconds or None, not {quote(waiting)}")
    if seconds is None:
        return
    check_timeout(seconds, "confirm_within")
    for name, is_given in others.items():
        if is_given:
            raise ValueError(f"confirm_within does not go with {name}")


def check_outputs(progress: object, **outputs: tuple[object, type]) -> None:
    """Raise TypeError unless progress is a function or None, and each output (value, type) of its type or None."""
    if progress is not None and not callable(progress):
        raise TypeError(f"progress is a function of (stage, done, total) or None, not {quote(progress)}")
    for name, (value, kind) in outputs.items():
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} is a {kind.__name__} or None, not {quote(value)}")


def check_import(format: object, runtime: object) -> None:
    """Raise TypeError or ValueError unless load() knows the format and the container engine."""
    if format is not None:
        if not isinstance(format, str):
            raise TypeError(f"format is a string or None, not {quote(format)}")
        importer_of(format)  # raises ValueError
    if runtime is not None and runtime not in RUNTIMES:
        raise ValueError(f"runtime is one of {', '.join(RUNTIMES)}, not {quote(runtime)}")
