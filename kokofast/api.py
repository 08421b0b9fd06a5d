"""The library: load a topology, apply, inspect and destroy it, or deploy it around a block of code.

>>> async with kokofast.deployed(topology) as result: ...
"""

from __future__ import annotations

import errno
import functools
import math
import os
import threading
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import trio

from kokofast.drivers.trio_driver import TrioDriver
from kokofast.drivers.warmup import leaves
from kokofast.engine import apply as _apply
from kokofast.engine import destroy as _destroy
from kokofast.engine import inspect as _inspect
from kokofast.engine import session as _session
from kokofast.engine.inspect import SeenLink
from kokofast.engine.result import APPLIED, INVALID, PARTIAL, UNCHANGED, Failure, Result, failure_of
from kokofast.engine.result_types import Progress, Status
from kokofast.engine.survey import DEFAULT_RUNTIME_TIMEOUT
from kokofast.host.files import read_file
from kokofast.host.kernel import LinuxKernel
from kokofast.host.limits import TO_LOOK, TO_WATCH, TO_WIRE, missing_capabilities
from kokofast.plan.step import Step
from kokofast.topology import FILE_BYTES_MAX, Problem, TopologyError
from kokofast.topology import load as load_bytes
from kokofast.topology.model import Topology
from kokofast.topology.values import check_lab_name, quote
from kokofast.watching.events import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

__all__ = [
    "ApplyError",
    "DestroyError",
    "Event",
    "Failure",
    "Problem",
    "Progress",
    "Result",
    "SeenLink",
    "Session",
    "Status",
    "Step",
    "Topology",
    "TopologyError",
    "apply",
    "deployed",
    "destroy",
    "inspect",
    "load",
    "session",
    "watch",
]

P = ParamSpec("P")
T = TypeVar("T")


class _RunError(Exception):
    def __init__(self, result: Result) -> None:
        super().__init__("\n".join(map(str, result.errors)) or result.status)
        self.result = result


class ApplyError(_RunError):
    """A topology could not be applied: result.errors says why. All was taken back but for what result.left lists."""


class DestroyError(_RunError):
    """A lab could not be destroyed completely: result.errors says what is left, and why."""


def _public(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Raise plain exceptions in place of trio's groups of one, and a clear RuntimeError outside of trio.

    A KeyboardInterrupt cancels the run. It is raised when the rollback has ended, however often Ctrl-C comes.
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
    filename = _text_path(path)
    _check_flags(create=create)
    name = _lab(name)
    data = read_file(filename, FILE_BYTES_MAX)
    return load_bytes(data, filename=filename, name=name, create=create, name_option="name=")


def _text_path(path: str | os.PathLike[str]) -> str:
    found = os.fspath(path)
    if not isinstance(found, str):
        raise TypeError(f"path is a string or a path, not {type(found).__name__}")
    return found


@_public
async def apply(
    topology: Topology,
    *,
    keep_going: bool = False,
    dry_run: bool = False,
    prune: bool = False,
    replace: bool = False,
    jobs: int | None = None,
    runtime_timeout: float = DEFAULT_RUNTIME_TIMEOUT,
    progress: Progress | None = None,
    result: Result | None = None,
) -> Result:
    """Make the kernel match the topology and return what was done.

    When a link fails, or the caller's scope is cancelled, everything this run made is taken back first. Errors of the
    file and refusals of the kernel raise no exception: see Result.status and Result.errors.

    Args:
        topology: From load().
        keep_going: Keep the links that work when others fail.
        dry_run: Only compute what would be done: see Result.planned.
        prune: Remove the lab's links and namespaces that are not in the topology, when all else has succeeded.
        replace: Delete links of the lab that cannot be changed in place, and make them anew.
        jobs: Number of worker threads; None chooses it by the size of the work.
        runtime_timeout: Seconds that a container daemon may be silent.
        progress: Called with (stage, done, total).
        result: Filled in and returned, so that a caller who cancels the run still has it.

    Raises:
        TypeError: An argument has another type.
        ValueError: A number is out of its range, or the topology's name cannot be a lab's.
        PermissionError: Capabilities are missing.
        OSError: The machine fails, such as for want of memory or descriptors.
        RuntimeError: Called outside of trio.
    """
    _topology(topology)
    _check_flags(keep_going=keep_going, dry_run=dry_run, prune=prune, replace=replace)
    _check_jobs(jobs)
    _check_timeout(runtime_timeout)
    _check_outputs(progress, result=(result, Result))
    _need(TO_LOOK if dry_run else TO_WIRE, "apply")
    with closing(LinuxKernel()) as kernel:
        return await _apply.apply(
            topology,
            TrioDriver(),
            kernel,
            keep_going=keep_going,
            dry_run=dry_run,
            prune=prune,
            replace=replace,
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
    """Remove exactly what carries the mark of a lab, given by its name or its topology.

    With a topology, also look into the paths of its nodes. all_labs, without a lab, removes every lab of the machine.
    Result.status is "partial" when something is left: Result.errors says what, and why.

    A lab stays, and the status is "invalid", when links of other labs would go with it: those in a namespace that the
    lab made, or on one of its links. force removes them too.

    Raises ValueError without a lab or all_labs, or with both; otherwise as apply().
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
    with closing(LinuxKernel()) as kernel:
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
    """Return the links that carry our mark, of one lab or of all, as the kernel has them.

    unseen is filled with the namespaces that could not be read, by title, and the reason; namespaces with the lab of
    each named namespace that a lab made. Raises as apply().
    """
    name = _lab(lab)
    _check_outputs(progress, unseen=(unseen, dict), namespaces=(namespaces, dict))
    _need(TO_LOOK, "inspect")
    with closing(LinuxKernel()) as kernel:
        return await _inspect.inspect(
            name, TrioDriver(), kernel, progress=progress, unseen=unseen, namespaces=namespaces
        )


@_public
async def watch(
    source: Topology | str | os.PathLike[str],
    *,
    report: Callable[[Event], object],
    name: str | None = None,
    create: bool = False,
    prune: bool = False,
    once: float | None = None,
    runtime_timeout: float = DEFAULT_RUNTIME_TIMEOUT,
    rereads: Callable[[Callable[[], None]], object] | None = None,
) -> bool:
    """Keep the kernel at what a topology says, until the caller's scope is cancelled. The links stay then.

    Return whether all is as the topology says. It returns only with once, or when another run destroys the lab.

    Args:
        source: From load(); or the path of a file, which is read again when it changes.
        report: Called with each event.
        name: The lab's name, as for load().
        create: Make missing network namespaces, as for load().
        prune: Remove links and namespaces of the lab that are not in the topology.
        once: Return as soon as all is as the topology says, after this many seconds at the latest.
        runtime_timeout: Seconds that a container daemon may be silent.
        rereads: Called with a function that has the file read again.

    Raises as load() and apply(), and BlockingIOError when another watch keeps the lab.
    """
    _check_flags(create=create, prune=prune)
    _check_timeout(runtime_timeout)
    _check_outputs(report)
    _need(TO_WATCH, "watch")
    from kokofast.engine.keep import keep_lab, rereader

    if isinstance(source, Topology):
        return await keep_lab(
            _topology(source), report, prune=prune, once=once, runtime_timeout=runtime_timeout, rereads=rereads
        )

    file, lab = _text_path(source), _lab(name)
    data = read_file(file, FILE_BYTES_MAX)

    def load_again(data: bytes) -> Topology:
        return load_bytes(data, filename=file, name=lab, create=create, name_option="name=")

    return await keep_lab(
        load_again(data),
        report,
        file=file,
        read=rereader(file, data, load_again),
        prune=prune,
        once=once,
        runtime_timeout=runtime_timeout,
        rereads=rereads,
    )


@asynccontextmanager
async def deployed(topology: Topology, **options: Any) -> AsyncIterator[Result]:
    """Apply the topology, run the block with the result, and destroy the lab, however the block ends.

    All of the lab is destroyed, also what was there before. options are those of apply() except dry_run. With
    keep_going the block runs with the links that work, and result.errors has the others.

    Raises ApplyError when the topology cannot be applied, DestroyError when something of the lab is left. If the block
    raises, its exception gets a note of what is left instead.
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


class Session:
    """A lab whose links change while it is up: see session()."""

    def __init__(self, running: _session.Session) -> None:
        self._running = running
        self._one_at_a_time = trio.Lock()

    @property
    def topology(self) -> Topology:
        """The lab as it is by now."""
        return self._running.live.whole()

    @property
    def result(self) -> Result:
        """What was done to bring the lab up."""
        return self._running.result

    async def apply(self, changes: Mapping[str, Any]) -> Result:
        """Carry out a change, all or nothing, and return what was done. It costs what it touches, not the whole lab.

        changes is an entry of a timeline without its time: {"set": [...], "add": [...], "remove": [...]}. Those of
        several tasks or threads are made one after the other, and the end of the block waits for one that has begun.

        Raises ApplyError when the change cannot be made: the state before stays. Its result has the reasons. With the
        status "partial" all was done but something: result.errors and result.left say what.
        """
        async with self._one_at_a_time:
            return await _apply_changes(self._running, changes)


class BlockingSession(Session):
    """The same for programs without trio: apply() blocks."""

    def __init__(self, running: _session.Session) -> None:
        super().__init__(running)
        self._one_thread = threading.Lock()

    def apply(self, changes: Mapping[str, Any]) -> Result:  # type: ignore[override]
        """Carry out a change: see Session.apply()."""
        with self._one_thread:
            return trio.run(_apply_changes, self._running, changes)

    @property
    def topology(self) -> Topology:
        """The lab as it is by now; wait for a change that another thread has begun."""
        with self._one_thread:
            return super().topology


class session:
    """Bring a lab up, and keep it open for changes: a block that yields a Session.

    Links of the lab that are not in the topology are removed first, as by apply(prune=True).
    Under trio it is ``async with``, and apply() is awaited. With a plain ``with`` apply() blocks; from asyncio call
    that by ``await asyncio.to_thread(lab.apply, changes)``.

    Other runs of kokofast on the lab wait until the block ends. The lab stays then: destroy() removes it. jobs,
    runtime_timeout and progress are as for apply(). Entering the block raises ApplyError when the lab cannot be brought
    up, otherwise as apply().
    """

    def __init__(
        self,
        topology: Topology,
        *,
        jobs: int | None = None,
        runtime_timeout: float = DEFAULT_RUNTIME_TIMEOUT,
        progress: Progress | None = None,
    ) -> None:
        self._topology = _topology(topology)
        _check_jobs(jobs)
        _check_timeout(runtime_timeout)
        _check_outputs(progress)
        self._options: dict[str, Any] = {"jobs": jobs, "runtime_timeout": runtime_timeout, "progress": progress}

    async def __aenter__(self) -> Session:
        await _open_session(self)
        self._session = Session(self._running)
        return self._session

    async def __aexit__(self, *_: object) -> None:
        # A change that another task has begun needs the lock of the lab and the descriptors to its end.
        with trio.CancelScope(shield=True):
            async with self._session._one_at_a_time:
                await self._close()

    def __enter__(self) -> BlockingSession:
        trio.run(_open_session, self)
        self._blocking = BlockingSession(self._running)
        return self._blocking

    def __exit__(self, *_: object) -> None:
        with self._blocking._one_thread:  # as in __aexit__()
            trio.run(self._close)

    async def _open(self) -> None:
        _need(TO_WIRE, "session")
        self._kernel = LinuxKernel()
        try:
            self._running = _session.Session(self._topology, TrioDriver(), self._kernel, **self._options)
            await self._running.__aenter__()
            if self._running.result.status not in (APPLIED, UNCHANGED):
                await self._running.__aexit__()
                raise ApplyError(self._running.result)
        except BaseException:
            self._kernel.close()
            raise

    async def _close(self) -> None:
        try:
            await self._running.__aexit__()
        finally:
            self._kernel.close()


@_public
async def _open_session(opened: session) -> None:
    await opened._open()


@_public
async def _apply_changes(running: _session.Session, changes: Mapping[str, Any]) -> Result:
    if running.has_ended:
        raise RuntimeError("the block of this session has ended: other runs may change the lab")
    if not isinstance(changes, dict):
        raise TypeError(f"changes are a dict, not {quote(changes)}")
    try:
        result = await running.apply(changes, lambda path: path)
    except TopologyError as error:
        result = Result(running.live.name, INVALID)
        result.errors = list(map(failure_of, error.problems))
    if result.status not in (APPLIED, UNCHANGED):
        raise ApplyError(result)
    return result
