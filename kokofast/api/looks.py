"""The functions that look at a lab as it is: inspect(), verify() and draw()."""

from __future__ import annotations

from contextlib import closing

import trio

from kokofast.api.calls import public
from kokofast.api.checks import check_flags, check_lab, check_outputs, check_timeout, check_topology, need
from kokofast.drivers.trio_driver import TrioDriver
from kokofast.engine import inspect as _inspect
from kokofast.engine import verify as _verify
from kokofast.engine.graph import graph_of
from kokofast.engine.inspect import SeenLink
from kokofast.engine.result import Failure
from kokofast.engine.result_types import Progress
from kokofast.engine.survey import DEFAULT_RUNTIME_TIMEOUT
from kokofast.graph import FORMATS
from kokofast.graph.build import graph_of_file
from kokofast.graph.picture import picture
from kokofast.host.kernel import LinuxKernel
from kokofast.host.limits import TO_LOOK, TO_SEND
from kokofast.topology import model
from kokofast.topology.problems import unknown
from kokofast.verification.ports import CheckedLink


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
