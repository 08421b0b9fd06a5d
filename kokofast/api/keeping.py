"""watch(): keep a lab as its file says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kokofast.api.calls import public
from kokofast.api.checks import (
    check_flags,
    check_lab,
    check_outputs,
    check_path,
    check_timeout,
    check_topology,
    need,
)
from kokofast.engine.survey import DEFAULT_RUNTIME_TIMEOUT
from kokofast.host.files import read_file
from kokofast.host.limits import TO_WATCH
from kokofast.topology import FILE_BYTES_MAX, model
from kokofast.topology import load as load_bytes
from kokofast.watching.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable


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
