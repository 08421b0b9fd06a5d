"""Turn refusals of the kernel into problems of the user's file. Imported only after failures."""

from __future__ import annotations

import errno

from kokofast.ends import ATTRIBUTES, ENDS
from kokofast.kinds import KINDS
from kokofast.kinds.kind import IPV6_MIN_MTU
from kokofast.topology.model import AF_INET6
from kokofast.topology.problems import Problem
from kokofast.wire.message import KernelError, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.ops.executor import OperationError
    from kokofast.topology.model import End, Link

# Attribute -> field of an endpoint.
FIELDS = {
    "ifname": "ifname",
    "address": "mac",
    "mtu": "mtu",
    "txqlen": "txqlen",
    "num_tx_queues": "queues",
    "num_rx_queues": "queues",
    **{attribute: name for name, attribute in ATTRIBUTES.items()},
}


def path_of(refusal: OperationError) -> tuple[str, ...]:
    """Return the names of the attributes that the kernel refused, the outermost first."""
    return refusal.path if isinstance(refusal, KernelError) else ()


def problem_of_end(link: Link, end: End, place: str, refusal: OperationError) -> Problem:
    """Return why an end could not be set."""
    return Problem(place, f"{end.node}:{end.ifname}: {words_of(refusal)}{_hint(link, end, refusal)}")


def _hint(link: Link, end: End, refusal: OperationError) -> str:
    request = refusal.request if isinstance(refusal, KernelError) else None
    if request is None:
        return ""
    cures = (ENDS[name].cure(request, refusal.errno or 0) for name in end.properties)
    if cure := next(filter(None, cures), ""):
        return f"; {cure}"
    if "af_spec" in request.attributes and refusal.errno == errno.EAFNOSUPPORT:
        return f"; dad: false needs IPv6, which is off there, and an mtu of at least {IPV6_MIN_MTU}"
    if request.header.get("flags", 0) and (limit := KINDS[link.kind].limit(link, refusal.errno or 0)):  # set up
        return f"; {limit}"
    if request.header.get("family") != AF_INET6 or refusal.errno != errno.EINVAL:
        return ""
    if end.mtu is None:
        return f"; IPv6 needs an mtu of at least {IPV6_MIN_MTU}, and the file does not give this end an mtu"
    return f"; IPv6 needs an mtu of at least {IPV6_MIN_MTU}, this end has {end.mtu}" if end.mtu < IPV6_MIN_MTU else ""
