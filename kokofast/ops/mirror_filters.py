"""Mirroring by qdiscs and filters on the interface whose traffic is copied. Blocking.

The qdisc clsact holds filters for both directions and has no queue (Linux 4.5). If the kernel lacks it, use ingress
and, for egress, prio. The classifier is matchall, otherwise u32. The action is "continue", so that the traffic passes
on to other filters. Every filter has the link's cookie, by which it is found again.
"""

from __future__ import annotations

import errno

from kokofast.ops.traffic_control import (
    FIRST_PRIORITY,
    PARENTS,
    Qdisc,
    TrafficControl,
    all_qdiscs,
    filters,
    is_in,
    mirrors_in,
    qdisc_request,
    shapes,
)
from kokofast.plan.ownership import MADE_QDISC
from kokofast.wire import tc
from kokofast.wire.link import RTM_SETLINK
from kokofast.wire.message import KernelError, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import MirrorFilter

_PRIO_HANDLE = 0x4B0000  # major number "K"

# A qdisc is gone or replaced, or a priority is taken: look again.
_OUTDATED = (errno.EINVAL, errno.ENOENT, errno.EEXIST)


class BareQdisc(Exception):
    """A qdisc may exist without the filter that would mark it as ours; refusal is why.

    If is_ours is False the answer was lost: an existing qdisc may also be someone else's.
    """

    def __init__(self, refusal: KernelError | OSError, qdisc: Qdisc, *, is_ours: bool) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.qdisc = qdisc
        self.is_ours = is_ours


def remove_bare(control: TrafficControl, bare: BareQdisc) -> tuple[bool, KernelError | None]:
    """Remove a qdisc without a filter, if it is certainly ours.

    Returns:
        Whether nothing is left to do, and why the qdisc could not be removed. (False, None): filters of ours use it,
        try again when they are gone.
    """
    control.look()
    for qdisc in control.qdiscs:
        if qdisc.kind != bare.qdisc.kind:
            continue
        ours = [item for item in control.ours() if is_in(item, qdisc)]
        if control.is_made_by_us(qdisc) or not control.holds_only(qdisc, ours):
            return True, None  # it is marked as ours, or someone else uses it
        if ours:
            return False, None
        if bare.is_ours:
            refusal = control.delete_qdisc(qdisc)
            return refusal is None, refusal
        text = f"an empty {qdisc.kind} qdisc is there, which may be ours: the kernel's answer was lost"
        return False, KernelError(bare.refusal.errno or errno.EIO, text)
    return True, None


def list_mirrors(
    kernel: Kernel, handle: Handle, names: Mapping[int, str], *, strangers: bool = False
) -> tuple[MirrorFilter, ...]:
    """Return all mirror filters of ours in a namespace; names maps ifindex to interface name.

    With strangers also those of others, with an empty cookie.
    """
    found: list[MirrorFilter] = []
    for index, qdisc in all_qdiscs(kernel, handle):
        if index in names:
            for direction, hook in PARENTS[qdisc.kind].items():
                mirrors = mirrors_in(names[index], direction, filters(kernel, handle, index, qdisc.handle | hook))
                found += mirrors if strangers else [item for item in mirrors if item.cookie]
    return tuple(found)


def add_mirror(control: TrafficControl, target: int, directions: Iterable[str], cookie: bytes) -> None:
    """Copy the traffic of an interface to target, an ifindex. Existing filters stay.

    Raises KernelError, OSError, BareQdisc; the caller then calls remove_mirrors() and remove_bare().
    """
    for direction in sorted(directions):
        control.begin()
        try:
            _add_in(control, target, direction, cookie)
        except KernelError as error:
            if control.is_fresh or error.errno not in _OUTDATED:
                raise
            control.look()
            _add_in(control, target, direction, cookie)


def _add_in(control: TrafficControl, target: int, direction: str, cookie: bytes) -> None:
    qdisc = control.qdisc_for(direction)
    if qdisc is None:
        qdisc = _make_with_filter(control, target, direction, cookie)
    if qdisc is None:
        return
    present = [item for item in control.ours(cookie) if item.direction == direction]
    if present and not control.is_fresh:
        control.look()
        present = [item for item in control.ours(cookie) if item.direction == direction]
    if any(item.target == target for item in present):
        return
    for item in present:
        if not item.target:  # the target was deleted and made again, with another ifindex
            control.delete(item)
    # Only this qdisc counts: the other direction's may be a stranger's.
    is_made = control.is_made_by_us(qdisc)
    control.add(qdisc, direction, target, _with_qdisc(cookie) if is_made else cookie)


def remove_everywhere(
    kernel: Kernel, handle: Handle, chosen: Callable[[MirrorFilter], bool], cookie: bytes | None = None
) -> KernelError | None:
    """Call remove_mirrors() for all interfaces of a namespace."""
    refusals = [
        remove_mirrors(TrafficControl(kernel, handle, index), chosen, cookie)
        for index in dict.fromkeys(index for index, _ in all_qdiscs(kernel, handle))
    ]
    return next((refusal for refusal in refusals if refusal is not None), None)


def remove_mirrors(
    control: TrafficControl, chosen: Callable[[MirrorFilter], bool], cookie: bytes | None = None
) -> KernelError | None:
    """Remove the chosen filters of ours, of one link or of all, from an interface.

    Also remove a qdisc of ours that is empty then. Return the first refusal; a filter that is gone counts as removed.
    Raises KernelError, OSError.
    """
    control.begin()
    refusal: KernelError | None = None
    for kind in [qdisc.kind for qdisc in control.qdiscs]:
        answer = _remove_from(control, kind, chosen, cookie)
        refusal = refusal or answer
    return refusal


def _remove_from(
    control: TrafficControl, kind: str, chosen: Callable[[MirrorFilter], bool], cookie: bytes | None
) -> KernelError | None:
    def choose() -> tuple[Qdisc | None, list[MirrorFilter], MirrorFilter | None]:
        """Return the qdisc, the filters to remove, and the one to remove last, which marks the qdisc as ours."""
        qdisc = next((one for one in control.qdiscs if one.kind == kind), None)
        gone = [] if qdisc is None else [one for one in control.ours(cookie) if is_in(one, qdisc) and chosen(one)]
        last = next((item for item in gone if item.cookie[-1] & MADE_QDISC), None)
        is_last = qdisc is not None and last is not None and not control.is_made_by_us(qdisc, besides=gone)
        return qdisc, gone, last if is_last else None

    if control.is_outdated:
        control.look()
    qdisc, gone, last = choose()
    if last is not None and not control.is_fresh:
        control.look()
        qdisc, gone, last = choose()
    if qdisc is None or last is None or not control.holds_only(qdisc, gone):
        return _delete(control, gone)
    if len(gone) > 1:
        # Deleting the qdisc deletes all its filters, also those that others added since the look, which takes long with
        # many filters. With one filter left the next look is short.
        refusal = _delete(control, [item for item in gone if item is not last])
        if refusal is not None:
            return refusal
        control.look()
        qdisc, gone, last = choose()
        if qdisc is None or last is None or not control.holds_only(qdisc, gone):
            return _delete(control, gone)
    # With its last filter, in one step: a kill in between would leave a qdisc without our mark.
    return control.delete_qdisc(qdisc)


def _delete(control: TrafficControl, items: Iterable[MirrorFilter]) -> KernelError | None:
    refusal: KernelError | None = None
    for item in items:
        answer = control.delete(item)
        refusal = refusal or answer
    return refusal


def set_mtu(kernel: Kernel, handle: Handle, index: int, mtu: int) -> None:
    """Set an interface's MTU. Raises KernelError."""
    (refusal,) = kernel.send(handle, [Request(RTM_SETLINK, {"index": index}, {"mtu": mtu})])
    if refusal is not None:
        raise refusal


def _make_with_filter(control: TrafficControl, target: int, direction: str, cookie: bytes) -> Qdisc | None:
    """Make a qdisc and its first filter.

    If someone else has made the qdisc meanwhile, return that, without the filter. Raises KernelError.
    """
    fallback = (
        Qdisc("ingress", tc.CLSACT_HANDLE, tc.TC_H_CLSACT)
        if direction == "ingress"
        else Qdisc("prio", _PRIO_HANDLE, tc.TC_H_ROOT)
    )
    candidates = [Qdisc("clsact", tc.CLSACT_HANDLE, tc.TC_H_CLSACT), fallback]
    if any(qdisc.kind == "ingress" for qdisc in control.qdiscs):
        del candidates[0]  # ingress excludes clsact
    for qdisc in candidates:
        parent = qdisc.handle | PARENTS[qdisc.kind][direction]
        filter_requests = shapes(control.index, parent, FIRST_PRIORITY[direction], target, _with_qdisc(cookie))
        # In one send, which a kill does not interrupt, as the filter marks the qdisc as ours. The filters have the same
        # priority: the kernel accepts the first one whose classifier it has.
        requests = [qdisc_request(tc.RTM_NEWQDISC, control.index, qdisc), *filter_requests]
        try:
            refusal, *refusals = control.kernel.send(control.handle, requests)
        except OSError as error:
            raise BareQdisc(error, qdisc, is_ours=False) from error
        if refusal is None:
            control.forget()
            if None in refusals:
                return None
            bare = BareQdisc(_reason(refusals), qdisc, is_ours=True)
            try:
                is_gone, _ = remove_bare(control, bare)
            except (KernelError, OSError) as error:
                raise bare from error
            raise bare.refusal if is_gone else bare
        if refusal.errno == errno.EEXIST:
            return _other_qdisc(control, direction, cookie, refusal)
        if refusal.errno not in tc.UNKNOWN_KIND:
            raise refusal
        if qdisc is candidates[-1]:
            raise _without(refusal, direction, beside_ingress=len(candidates) == 1)
    return None


def _without(refusal: KernelError, direction: str, *, beside_ingress: bool) -> KernelError:
    """Return the refusal for a direction without a qdisc."""
    if direction == "ingress":
        return refusal
    why = "it has an ingress qdisc in place of clsact" if beside_ingress else "this kernel has no clsact"
    cure = "replace it by clsact (tc qdisc), " if beside_ingress else ""
    text = f"egress cannot be mirrored: {why}, and this kernel has no prio; {cure}"
    return KernelError(refusal.errno, f"{text}mirror ingress only, or load sch_prio")


def _reason(refusals: Iterable[KernelError | None]) -> KernelError:
    # A classifier that the kernel lacks is not the reason if it refused the other one.
    given = [refusal for refusal in refusals if refusal is not None]
    return next((refusal for refusal in given if refusal.errno not in tc.UNKNOWN_KIND), given[0])


def _other_qdisc(control: TrafficControl, direction: str, cookie: bytes, refusal: KernelError) -> Qdisc:
    # Another worker or program was faster. Our filter, which marks the qdisc as ours, may be in it.
    control.look()
    qdisc = control.qdisc_for(direction)
    if qdisc is None:
        text = "egress cannot be mirrored: without clsact it needs a prio qdisc, and another root qdisc is there"
        raise KernelError(refusal.errno, text) if direction == "egress" else refusal
    for item in control.ours(cookie):
        if item.direction == direction and item.cookie == _with_qdisc(cookie):
            control.delete(item)
    return qdisc


def _with_qdisc(cookie: bytes) -> bytes:
    return cookie[:-1] + bytes((cookie[-1] | MADE_QDISC,))
