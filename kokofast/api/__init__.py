"""The library: load a topology, apply, inspect and destroy it, or deploy it around a block of code.

>>> async with kokofast.deployed(topology) as result: ...
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import trio

from kokofast.api.calls import (
    ApplyError,
    DestroyError,
    answering,
    check_applied,
    check_block_options,
    check_destroyed,
    note_left,
    public,
)
from kokofast.api.checks import (
    check_confirmation,
    check_flags,
    check_jobs,
    check_lab,
    check_outputs,
    check_path,
    check_timeout,
    check_topology,
    need,
    need_lab,
    refuse_whole,
)
from kokofast.api.loading import load, loads
from kokofast.api.sandboxes.client import Sandbox, sandbox
from kokofast.api.sandboxes.process import Process
from kokofast.api.sessions import Session, session
from kokofast.drivers.trio_driver import TrioDriver
from kokofast.engine import apply as _apply
from kokofast.engine import destroy as _destroy
from kokofast.engine import inspect as _inspect
from kokofast.engine import verify as _verify
from kokofast.engine.confirmation import confirm as _confirm
from kokofast.engine.graph import graph_of
from kokofast.engine.inspect import SeenLink
from kokofast.engine.result import UNCHANGED, Failure, Result
from kokofast.engine.result_types import Progress, Status
from kokofast.engine.survey import DEFAULT_RUNTIME_TIMEOUT
from kokofast.generators.wiring import generate
from kokofast.graph import FORMATS
from kokofast.graph.build import graph_of_file
from kokofast.graph.picture import picture
from kokofast.host.files import read_file
from kokofast.host.kernel import LinuxKernel
from kokofast.host.limits import TO_LOOK, TO_SEND, TO_WATCH, TO_WIRE
from kokofast.host.sandbox import SandboxError
from kokofast.plan.step import Step
from kokofast.topology import FILE_BYTES_MAX, Problem, TopologyError, model
from kokofast.topology import load as load_bytes
from kokofast.topology.code import Endpoint, Link, Node, Topology
from kokofast.topology.problems import unknown
from kokofast.verification.ports import CheckedLink
from kokofast.watching.events import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = [
    "ApplyError",
    "CheckedLink",
    "DestroyError",
    "Endpoint",
    "Event",
    "Failure",
    "Link",
    "Node",
    "Problem",
    "Process",
    "Progress",
    "Result",
    "Sandbox",
    "SandboxError",
    "SeenLink",
    "Session",
    "Status",
    "Step",
    "Topology",
    "TopologyError",
    "apply",
    "confirm",
    "deployed",
    "destroy",
    "draw",
    "generate",
    "inspect",
    "load",
    "loads",
    "sandbox",
    "session",
    "verify",
    "watch",
]


@public
async def apply(
    topology: model.Topology,
    *,
    keep_going: bool = False,
    dry_run: bool = False,
    prune: bool = False,
    replace: bool = False,
    jobs: int | None = None,
    runtime_timeout: float = DEFAULT_RUNTIME_TIMEOUT,
    progress: Progress | None = None,
    result: Result | None = None,
    confirm_within: float | None = None,
    waiting: Callable[[float], object] | None = None,
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
        runtime_timeout: Seconds that a container daemon may be silent (10).
        progress: Called with (stage, done, total).
        result: Filled in and returned, so that a caller who cancels the run still has it.
        confirm_within: When all is made, wait so many seconds for confirm(). Without it take everything back.
        waiting: Called with the seconds when the run waits for confirm(). What it raises ends the run.

    Raises:
        TypeError: An argument has another type.
        ValueError: A number is out of its range, the topology's name cannot be a lab's, or confirm_within is given with
            keep_going or dry_run.
        PermissionError: Capabilities are missing.
        OSError: The machine fails, such as for want of memory or descriptors.
        RuntimeError: Called outside of trio.
    """
    check_topology(topology)
    check_flags(keep_going=keep_going, dry_run=dry_run, prune=prune, replace=replace)
    check_jobs(jobs)
    check_timeout(runtime_timeout)
    check_outputs(progress, result=(result, Result))
    check_confirmation(confirm_within, waiting, keep_going=keep_going, dry_run=dry_run)
    need(TO_LOOK if dry_run else TO_WIRE, "apply")
    result = result if result is not None else Result(topology.name, UNCHANGED)
    with (
        answering(topology.name, confirm_within, waiting, result) as confirmation,
        closing(LinuxKernel()) as kernel,
    ):
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
            confirmation=confirmation,
        )


@public
async def confirm(lab: str, *, revert: bool = False) -> Result:
    """Tell the run of apply() or batch that waits for it to keep what it has made; return its result.

    Args:
        lab: The name of the lab.
        revert: Have it take everything back instead.

    Raises:
        TypeError: An argument has another type.
        ValueError: It cannot be a lab's name.
        ProcessLookupError: No run of the lab waits to be confirmed.
        ConnectionResetError: The run has ended without a result, as after a kill.
        PermissionError: Another user runs it.
    """
    check_flags(revert=revert)
    return await _confirm(need_lab(lab), TrioDriver(), revert=revert)


@public
async def destroy(
    lab: str | model.Topology | None = None,
    *,
    topology: model.Topology | None = None,
    all_labs: bool = False,
    force: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Remove exactly what carries the mark of a lab, given by its name or its topology.

    With a topology, also look into the paths of its nodes. all_labs, without a lab, removes every lab of the machine.
    Result.status is "partial" when something is left: Result.errors says what, and why.

    A lab stays, and the status is "invalid", when links of other labs would go with it: those in a namespace that the
    lab made, or on one of its links. force removes them too. jobs and progress are as for apply().

    Raises ValueError without a lab or all_labs, or with both; otherwise as apply().
    """
    check_flags(all_labs=all_labs, force=force)
    check_jobs(jobs)
    check_outputs(progress, topology=(topology, model.Topology))
    if isinstance(lab, model.Topology):
        topology = lab
    name = topology.name if topology is not None and not isinstance(lab, str) else lab
    if (name is None) != all_labs:
        raise ValueError("kokofast.destroy() takes a lab's name, its topology, or all_labs=True")
    lab = check_lab(name)
    if topology is not None:
        refuse_whole(topology)
    need(TO_WIRE, "destroy")
    with closing(LinuxKernel()) as kernel:
        return await _destroy.destroy(
            lab, TrioDriver(), kernel, topology=topology, force=force, jobs=jobs, progress=progress
        )


@public
async def inspect(
    lab: str | None = None,
    *,
    progress: Progress | None = None,
    unseen: dict[str, OSError] | None = None,
    namespaces: dict[str, str] | None = None,
) -> list[SeenLink]:
    """Return the links that carry our mark, of one lab or of all, as the kernel has them.

    unseen is filled with the namespaces that could not be read, by title, and the reason; namespaces with the lab of
    each named namespace that a lab made. progress is as for apply().

    Raises as apply().
    """
    name = check_lab(lab)
    check_outputs(progress, unseen=(unseen, dict), namespaces=(namespaces, dict))
    need(TO_LOOK, "inspect")
    with closing(LinuxKernel()) as kernel:
        return await _inspect.inspect(
            name, TrioDriver(), kernel, progress=progress, unseen=unseen, namespaces=namespaces
        )


@public
async def verify(
    source: str | model.Topology | None = None,
    *,
    patience: float = _verify.DEFAULT_PATIENCE,
    runtime_timeout: float = DEFAULT_RUNTIME_TIMEOUT,
    progress: Progress | None = None,
    unseen: dict[str, OSError] | None = None,
    errors: list[Failure] | None = None,
) -> list[CheckedLink]:
    """Send frames over links, both ways, and return the links, each with what is wrong with it.

    Args:
        source: The name of a lab, or a topology, with which what is there is compared, too. None: all labs.
        patience: Seconds to wait for frames at most (10). Without delays, losses and rates it takes no waiting.
        runtime_timeout: Seconds that a container daemon may be silent (10).
        progress: Called with (stage, done, total).
        unseen: Filled with the namespaces that could not be read, by title, and the reason.
        errors: Filled with what is wrong with nodes of a topology. Links to them have failed; they may have none.

    Raises as apply().
    """
    given = check_topology(source) if isinstance(source, model.Topology) else check_lab(source)
    check_timeout(patience, "patience")
    check_timeout(runtime_timeout)
    check_outputs(progress, unseen=(unseen, dict), errors=(errors, list))
    need(TO_SEND, "verify")
    with closing(LinuxKernel()) as kernel:
        found = await _verify.verify(
            given, TrioDriver(), kernel, patience=patience, runtime_timeout=runtime_timeout, progress=progress
        )
    if unseen is not None:
        unseen.update(found.unseen)
    if errors is not None:
        errors += found.errors
    return found.wires


@public
async def draw(
    source: str | model.Topology,
    *,
    format: str = "svg",
    states: bool = True,
    unseen: dict[str, OSError] | None = None,
) -> str:
    """Return a picture of a topology, or of what is there of a lab, as the command graph makes it.

    Args:
        source: The name of a lab, or a topology.
        format: "svg", "html", "dot", "mmd" or "drawio".
        states: Whether to look at the states of the links. Without, a topology is drawn alone, and it needs no rights.
        unseen: Filled with the namespaces that could not be read, by title, and the reason.

    Raises:
        ImportError: The format needs the extra "graph", which is not installed.
        ValueError: The format is unknown, the name cannot be a lab's, or a lab is to be drawn without states.

    Otherwise it raises as apply().
    """
    given = check_topology(source) if isinstance(source, model.Topology) else check_lab(source)
    check_flags(states=states)
    check_outputs(None, unseen=(unseen, dict))
    if given is None:
        raise TypeError("kokofast.draw() takes a topology or the name of a lab")
    if format not in FORMATS:
        raise ValueError(unknown("format", str(format), FORMATS))
    if states:
        need(TO_LOOK, "draw")
        with closing(LinuxKernel()) as kernel:
            seen = await _inspect.see(given if isinstance(given, str) else given.name, TrioDriver(), kernel)
        graph = graph_of(given, seen)
        if unseen is not None:
            unseen.update(seen.unseen)
    elif isinstance(given, str):
        raise ValueError(f"states=False is for topologies, and {given!r} is the name of a lab")
    else:
        graph = graph_of_file(given)
    return await trio.to_thread.run_sync(lambda: "".join(picture(graph, format)))


@public
async def watch(
    source: model.Topology | str | os.PathLike[str],
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
        runtime_timeout: Seconds that a container daemon may be silent (10).
        rereads: Called with a function that has the file read again.

    Raises as load() and apply(), and BlockingIOError when another watch keeps the lab.
    """
    check_flags(create=create, prune=prune)
    check_timeout(runtime_timeout)
    check_outputs(report)
    need(TO_WATCH, "watch")
    from kokofast.engine.keep import keep_lab, rereader

    if isinstance(source, model.Topology):
        return await keep_lab(
            check_topology(source), report, prune=prune, once=once, runtime_timeout=runtime_timeout, rereads=rereads
        )

    file, lab = check_path(source), check_lab(name)
    data = read_file(file, FILE_BYTES_MAX)

    def load_again(data: bytes) -> model.Topology:
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
async def deployed(topology: model.Topology, **options: Any) -> AsyncIterator[Result]:
    """Apply the topology, run the block with the result, and destroy the lab, however the block ends.

    All of the lab is destroyed, also what was there before. options are those of apply() except dry_run. With
    keep_going the block runs with the links that work, and result.errors has the others.

    Raises ApplyError when the topology cannot be applied, DestroyError when something of the lab is left. If the block
    raises, its exception gets a note of what is left instead.
    """
    check_block_options(options)
    result = await apply(topology, **options)
    check_applied(result, keep_going=options.get("keep_going", False))
    try:
        yield result
    except BaseException as error:
        note_left(await _destroy_shielded(topology), error)
        raise
    check_destroyed(await _destroy_shielded(topology))


async def _destroy_shielded(topology: model.Topology) -> Result:
    with trio.CancelScope(shield=True):
        result = await destroy(topology)
    return result
