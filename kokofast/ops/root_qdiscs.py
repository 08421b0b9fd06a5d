"""Read the root qdiscs of interfaces. Imported where an interface of ours has another one than the kernel's own."""

from __future__ import annotations

from kokofast.ends.impairments import RootQdisc
from kokofast.ends.shaping import SHAPERS, shaper_in
from kokofast.wire import tc
from kokofast.wire.message import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.host.kernel import Handle, Kernel


def _is_root(header: Mapping[str, int]) -> bool:
    # One that the kernel gives to an interface by itself has no handle.
    return header["parent"] == tc.TC_H_ROOT and header["handle"] != 0


ROOTS = Request(tc.RTM_GETQDISC, {}, only=frozenset(("kind", "options")), where=_is_root)


def list_roots(kernel: Kernel, handle: Handle) -> dict[int, RootQdisc]:
    """Return the root qdiscs of a namespace that somebody has put there, by ifindex. Raises KernelError, OSError."""
    found: dict[int, RootQdisc] = {}
    for message in kernel.dump(handle, ROOTS):
        if _is_root(message.header):
            kind, options = message.attributes["kind"], message.attributes.get("options")
            shaper = shaper_in(kind, options) if kind in SHAPERS and options is not None else None
            found[message.header["index"]] = RootQdisc(kind, message.header["handle"], shaper)
    return found
