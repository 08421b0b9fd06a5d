"""The functions that make a lab and remove it: apply(), confirm(), destroy() and deployed()."""

from __future__ import annotations

from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import trio

from kokofast.api.calls import answering, check_applied, check_block_options, check_destroyed, note_left, public
from kokofast.api.checks import (
    check_confirmation,
    check_flags,
    check_jobs,
    check_lab,
    check_outputs,
    check_timeout,
    check_topology,
    need,
    need_lab,
    refuse_whole,
)
from kokofast.drivers.trio_driver import TrioDriver
from kokofast.engine import apply as _apply
from kokofast.engine import destroy as _destroy
from kokofast.engine.confirmation import confirm as _confirm
from kokofast.engine.result import UNCHANGED, Result
from kokofast.engine.result_types import Progress
from kokofast.engine.survey import DEFAULT_RUNTIME_TIMEOUT
from kokofast.host.kernel import LinuxKernel
from kokofast.host.limits import TO_LOOK, TO_WIRE
from kokofast.topology import model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


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
