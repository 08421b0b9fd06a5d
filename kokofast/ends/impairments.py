"""Impairments: how an end delays, loses or slows down what it sends, by a qdisc at the root of its interface.

Source: tc_modify_qdisc(), qdisc_change() and tc_get_qdisc() in net/sched/sch_api.c.
"""

from __future__ import annotations

from kokofast.ends.property import Property
from kokofast.ends.shaping import CORRELATED, IMPAIRMENTS, U32_MAX, contradiction, shaper_for
from kokofast.kinds.fields import Field
from kokofast.wire.message import NLM_F_CREATE, NLM_F_EXCL, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kokofast.ends.property import View
    from kokofast.ends.shaping import Shaper
    from kokofast.topology.model import End, Link

    Value = Mapping[str, int]

_DOCS = {
    "loss": "share of packets that are lost",
    "duplicate": "share of packets that are sent twice",
    "corrupt": "share of packets in which a bit is flipped",
    "reorder": "share of packets that are sent at once, before those that are delayed",
}


class RootQdisc:
    """The qdisc at the root of an interface, unless it is the kernel's own; shaper is that of netem or tbf."""

    __slots__ = ("handle", "kind", "shaper")

    def __init__(self, kind: str, handle: int, shaper: Shaper | None) -> None:
        self.kind = kind
        self.handle = handle
        self.shaper = shaper

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RootQdisc) or (self.kind, self.handle) != (other.kind, other.handle):
            return False
        return self.shaper is other.shaper or bool(self.shaper and other.shaper and self.shaper.is_like(other.shaper))

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"{self.kind} {self.handle >> 16:x}:"


class Impairments(Property):
    """A setting is a RootQdisc, None for the kernel's own."""

    fields = (
        Field("delay", "time", "how much later packets are sent"),
        Field("jitter", "time", "by how much the delay varies, up and down"),
        *(Field(name, "share", doc) for name, doc in _DOCS.items()),
        *(
            Field(f"{name}_correlation", "share", f"how much {name} depends on the packet before")
            for name in CORRELATED
        ),
        Field("rate", "rate", "bits a second that are sent"),
        Field("limit", "int", "packets that may wait for their delay or rate", minimum=1, maximum=U32_MAX),
    )
    leaves = True
    has_columns = True

    def contradiction(self, end: End, value: Value) -> tuple[str, str] | None:
        """Report an impairment that has no effect without another one."""
        return contradiction(value)

    def problems(self, link: Link, end: End, value: Value, view: View) -> Iterator[tuple[str, str]]:
        """Report a root qdisc of somebody else."""
        root = view.present("impairments")
        if root is not None and root.handle != view.root_handle() and any(value.values()):
            cure = f"remove it first ({view.command('tc')} qdisc del dev {end.ifname} root)"
            yield next(iter(value)), f"it has a root qdisc ({root}) that kokofast has not made; {cure}"

    def present(self, shown: object) -> RootQdisc | None:
        """Return the root qdisc; None if ops.dumps has not read one."""
        return shown if isinstance(shown, RootQdisc) else None

    def wanted(self, value: Value, view: View) -> RootQdisc | None:
        """Return the qdisc that the impairments need. Without any, a stranger's qdisc stays."""
        shaper = shaper_for(value, view.mtu())
        if shaper is not None:
            return RootQdisc(shaper.kind, view.root_handle(), shaper)
        root: RootQdisc | None = view.present("impairments")
        return root if root is not None and root.handle != view.root_handle() else None

    def is_set(self, present: RootQdisc | None, setting: RootQdisc | None, other: RootQdisc | None) -> bool:
        """Return whether a setting is in place. A qdisc with another handle than ours does not count."""
        ours = setting or other
        there = present if present is not None and ours is not None and present.handle == ours.handle else None
        return there == setting

    def is_guarded(self, new: RootQdisc | None, before: RootQdisc | None) -> bool:
        """Return whether the lab's qdisc is changed or deleted: these requests name its handle."""
        return before is not None and (new is None or new.kind == before.kind)

    def requests(self, index: object, new: RootQdisc | None, before: RootQdisc | None) -> list[Request]:
        """Return the requests that change the root qdisc. The kernel refuses them if the qdisc has another handle.

        A qdisc of the same kind is changed in place. NLM_F_REPLACE would do that, too, but replaces a stranger's as
        well.
        """
        from kokofast.wire import tc  # most files have no impairments

        requests: list[Request] = []
        is_there = before is not None
        if before is not None and (new is None or new.kind != before.kind):
            header = {"index": index, "handle": before.handle, "parent": tc.TC_H_ROOT}
            requests.append(Request(tc.RTM_DELQDISC, header, {"kind": before.kind}))
            is_there = False
        if new is not None and new.shaper is not None:
            header = {"index": index, "handle": new.handle, "parent": tc.TC_H_ROOT}
            flags = 0 if is_there else NLM_F_CREATE | NLM_F_EXCL
            requests.append(Request(tc.RTM_NEWQDISC, header, new.shaper.attributes(), flags))
        return requests

    def blamed(self, request: Request, value: Value) -> str:
        """Return the impairment that needs the refused qdisc."""
        if "parent" not in request.header:
            return ""
        is_netem = request.attributes["kind"] == "netem"
        return next((name for name, number in value.items() if number and not (is_netem and name == "rate")), "")

    def cure(self, request: Request, code: int) -> str:
        """Name the module that is missing."""
        from kokofast.wire import tc

        if "parent" not in request.header or code not in tc.UNKNOWN_KIND or not request.flags & NLM_F_CREATE:
            return ""
        return "the kernel module sch_{0} is missing (modprobe sch_{0})".format(request.attributes["kind"])

    def shown(self, setting: RootQdisc | None, name_of: Callable[[object], str]) -> dict[str, object]:
        """Return the impairments, as numbers."""
        if setting is None or setting.shaper is None:
            return {}
        numbers = setting.shaper.numbers
        # The limit of tbf is not in packets.
        names = ("rate",) if setting.kind == "tbf" else IMPAIRMENTS
        return {name: numbers[name] for name in names if numbers[name]}


PROPERTY = Impairments()
