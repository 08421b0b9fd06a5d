"""The library: load a topology, apply it, destroy it, inspect what is there; or all of it around a block of code.

>>> async with kokofast.deployed(topology) as result: ...
"""

from __future__ import annotations

import errno
import functools
import math
import os
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import trio

from kokofast.drivers.trio_driver import TrioDriver
from kokofast.drivers.warmup import leaves
from kokofast.engine import apply as _apply
from kokofast.engine import destroy as _destroy
from kokofast.engine import inspect as _inspect
from kokofast.engine.inspect import SeenLink
from kokofast.engine.result import APPLIED, PARTIAL, UNCHANGED, Failure, Result
from kokofast.engine.result_types import Progress, Status
from kokofast.engine.survey import DEFAULT_RUNTIME_TIMEOUT
from kokofast.host.files import read_file
from kokofast.host.kernel import Kernel
from kokofast.host.limits import TO_LOOK, TO_WIRE, missing_capabilities
from kokofast.topology import FILE_BYTES_MAX, Problem, TopologyError
from kokofast.topology import load as load_bytes
from kokofast.topology.model import Topology
from kokofast.topology.values import check_lab_name, quote

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = [
    "ApplyError",
    "DestroyError",
    "Failure",
    "Problem",
    "Progress",
    "Result",
    "SeenLink",
    "Status",
    "Topology",
    "TopologyError",
    "apply",
    "deployed",
    "destroy",
    "inspect",
    "load",
]

P = ParamSpec("P")
T = TypeVar("T")


class _RunError(Exception):
    def __init__(self, result: Result) -> None:
        super().__init__("\n".join(map(str, result.errors)) or result.status)
        self.result = result


class ApplyError(_RunError):
    """A topology could not be applied. result.errors says why; everything was taken back, but for what result.left
    lists."""


class DestroyError(_RunError):
    """A lab could not be destroyed whole. result.errors says what is left, and why."""


def _public(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Give a function of the library what every caller needs.

    That is a plain exception where trio has a group of one, a KeyboardInterrupt as itself, and a clear error outside of
    trio. A KeyboardInterrupt cancels the run. It is raised when the rollback has ended, however often Ctrl-C comes.
    """

    @functools.wraps(function)
    async def called(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            trio.lowlevel.current_trio_token()
        except RuntimeError:
            name = f"kokofast.{function.__name__}"
            raise RuntimeError(
                f"{name}() needs trio: trio.run({name}, ...), or from asyncio "
                f"await asyncio.to_thread(trio.run, {name}, ...)"
            ) from None
        answers: list[T] = []

        @trio.lowlevel.enable_ki_protection
        async def run() -> None:
            answers.append(await function(*arguments, **options))

        try:
            # trio delivers Ctrl-C to the main task, also in a shielded scope: so the run is a task of its own.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
        except BaseExceptionGroup as group:
            found = list(leaves(group))
            interrupts = [error for error in found if isinstance(error, KeyboardInterrupt)]
            if interrupts or len(found) == 1:
                raise (interrupts or found)[0] from None
            raise
        return answers[0]

    return called


def _need(capabilities: tuple[str, ...], function: str) -> None:
    if missing := missing_capabilities(capabilities):
        text = f"kokofast.{function}() needs root, or {' and '.join(missing)}"
        raise PermissionError(errno.EPERM, text)


def _topology(topology: Topology) -> Topology:
    if not isinstance(topology, Topology):
        raise TypeError(f"not a topology but a {type(topology).__name__}: kokofast.load() reads one from a file")
    check_lab_name(topology.name)
    return topology


def _lab(name: object) -> str | None:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"a lab's name is a string, not {type(name).__name__}")
    return None if name is None else check_lab_name(name)


def _check_flags(**flags: object) -> None:
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} is True or False, not {quote(value)}")


def _check_jobs(jobs: object) -> None:
    if jobs is None:
        return
    if not isinstance(jobs, int) or isinstance(jobs, bool):
        raise TypeError(f"jobs is a whole number or None, not {quote(jobs)}")
    if jobs < 1:
        raise ValueError(f"jobs is a whole number from 1, or None, not {jobs}")


def _check_timeout(seconds: object) -> None:
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise TypeError(f"runtime_timeout is a number of seconds, not {quote(seconds)}")
    if not 0 < seconds < math.inf:  # nan is neither
        raise ValueError(f"runtime_timeout is a number of seconds above 0, not {seconds}")


def _check_outputs(progress: object, **outputs: tuple[object, type]) -> None:
    if progress is not None and not callable(progress):
        raise TypeError(f"progress is a function of (stage, done, total) or None, not {quote(progress)}")
    for name, (value, kind) in outputs.items():
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} is a {kind.__name__} or None, not {quote(value)}")


def load(path: str | os.PathLike[str], *, name: str | None = None, create: bool = False) -> Topology:
    """Read a topology from a .json, .jsonl, .yaml or .csv file.

    name is the lab's name (by default the file's own, or its stem); create makes missing network namespaces.
    Raises OSError, TopologyError with every problem of the file in ``problems``, TypeError for an argument of another
    type, and ValueError for a name that cannot be a lab's.
    """
    filename = os.fspath(path)
    if not isinstance(filename, str):
        raise TypeError(f"path is a string or a path, not {type(filename).__name__}")
    _check_flags(create=create)
    name = _lab(name)
    data = read_file(filename, FILE_BYTES_MAX)
    return load_bytes(data, filename=filename, name=name, create=create, name_option="name=")


@_public
async def apply(
    topology: Topology,
    *,
    keep_going: bool = False,
    dry_run: bool = False,
    jobs: int | None = None,
    runtime_timeout: float = DEFAULT_RUNTIME_TIMEOUT,
    progress: Progress | None = None,
    result: Result | None = None,
) -> Result:
    """Make the kernel match the topology and return what was done.

    When a link fails, or the caller's scope is cancelled, everything this run made is taken back first; with keep_going
    the links that work stay. What the kernel or the file is to blame for is no exception: see Result.status and
    Result.errors. dry_run touches nothing. jobs is the number of worker threads, None for as many as are worth it;
    runtime_timeout is how many seconds a container daemon may be silent. A result that is given is filled in, so that
    a caller who cancels the run can see what became of it.

    Raises TypeError for an argument of another type, ValueError for a number out of its range or a lab's name that is
    none, PermissionError without the capabilities it takes, OSError when the machine fails, RuntimeError outside of
    trio.
    """
    _topology(topology)
    _check_flags(keep_going=keep_going, dry_run=dry_run)
    _check_jobs(jobs)
    _check_timeout(runtime_timeout)
    _check_outputs(progress, result=(result, Result))
    _need(TO_LOOK if dry_run else TO_WIRE, "apply")
    with closing(Kernel()) as kernel:
        return await _apply.apply(
            topology,
            TrioDriver(),
            kernel,
            keep_going=keep_going,
            dry_run=dry_run,
            jobs=jobs,
            runtime_timeout=runtime_timeout,
            progress=progress,
            result=result,
        )


@_public
async def destroy(
    lab: str | Topology | None = None,
    *,
    topology: Topology | None = None,
    all_labs: bool = False,
    force: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Remove what carries the mark of a lab, given by its name or its topology, and nothing else.

    A topology has the paths of its nodes looked into as well. all_labs, without a lab, removes every lab of the
    machine. Result.status is "partial" when something is left: Result.errors says what, and why.

    A lab stays, and the status is "invalid", when links of other labs would go with it: those in a namespace that the
    lab made, or on one of its links. force takes them along.

    Raises ValueError for neither a lab nor all_labs, or for both; else as apply().
    """
    _check_flags(all_labs=all_labs, force=force)
    _check_jobs(jobs)
    _check_outputs(progress, topology=(topology, Topology))
    if isinstance(lab, Topology):
        topology = lab
    name = topology.name if topology is not None and not isinstance(lab, str) else lab
    if (name is None) != all_labs:
        raise ValueError("kokofast.destroy() takes a lab's name, its topology, or all_labs=True")
    lab = _lab(name)
    _need(TO_WIRE, "destroy")
    with closing(Kernel()) as kernel:
        return await _destroy.destroy(
            lab, TrioDriver(), kernel, topology=topology, force=force, jobs=jobs, progress=progress
        )


@_public
async def inspect(
    lab: str | None = None,
    *,
    progress: Progress | None = None,
    unseen: dict[str, OSError] | None = None,
    namespaces: dict[str, str] | None = None,
) -> list[SeenLink]:
    """Return the links that carry our mark, of one lab or of all, read from the kernel.

    unseen is filled with the namespaces that are there and could not be looked into, by title, and why; namespaces with
    the lab of each named namespace that a lab made.
    Raises as apply().
    """
    name = _lab(lab)
    _check_outputs(progress, unseen=(unseen, dict), namespaces=(namespaces, dict))
    _need(TO_LOOK, "inspect")
    with closing(Kernel()) as kernel:
        return await _inspect.inspect(
            name, TrioDriver(), kernel, progress=progress, unseen=unseen, namespaces=namespaces
        )


@asynccontextmanager
async def deployed(topology: Topology, **options: Any) -> AsyncIterator[Result]:
    """Apply the topology, run the block with the result, and destroy the lab, however the block ends: all of it, also
    what was there before.

    options are those of apply(), but for dry_run. With keep_going the block runs with the links that work, and
    result.errors has the others. Raises ApplyError when the topology cannot be applied, DestroyError when something of
    the lab is left; where the block itself raised, that exception stays, with a note of what is left.
    """
    if "dry_run" in options:
        raise TypeError("kokofast.deployed() takes no dry_run: it makes the lab")
    result = await apply(topology, **options)
    works = result.status in (APPLIED, UNCHANGED) or (result.status == PARTIAL and options.get("keep_going", False))
    if not works:
        raise ApplyError(result)
    try:
        yield result
    except BaseException as error:
        destroyed = await _destroy_shielded(topology)
        if destroyed.errors:
            error.add_note(f"the lab {topology.name} is not destroyed: {DestroyError(destroyed)}")
        raise
    destroyed = await _destroy_shielded(topology)
    if destroyed.errors:
        raise DestroyError(destroyed)


async def _destroy_shielded(topology: Topology) -> Result:
    with trio.CancelScope(shield=True):
        result = await destroy(topology)
    return result
