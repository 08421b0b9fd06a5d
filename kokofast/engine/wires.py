"""The links that verify checks, of a lab as the kernel shows it, or of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.ends import present
from kokofast.ends.shaping import NS, U32_MAX
from kokofast.engine.inspect import add_fields, links_of
from kokofast.engine.scene import hindered_notes, scan
from kokofast.verification.ports import NONE, CheckedLink, Finding, Impairment, Port

if TYPE_CHECKING:
    from kokofast.drivers import Driver
    from kokofast.engine.result import Failure
    from kokofast.engine.result_types import Progress
    from kokofast.engine.snapshot import Survey
    from kokofast.host.kernel import Kernel
    from kokofast.ops.journal import Applied
    from kokofast.plan.observed import Interface
    from kokofast.plan.plan import Plan
    from kokofast.topology.model import End, Link, Topology


class Wires:
    """The links to check.

    Attributes:
        survey: Their namespaces.
        titles: How messages call each of them.
        errors: What is wrong with nodes, so that their links cannot be checked.
        notes: Lines for the user.
        unseen: The namespaces that could not be read, by title, and the reason.
    """

    def __init__(self, survey: Survey, titles: dict[int, str]) -> None:
        self.survey = survey
        self.titles = titles
        self.wires: list[CheckedLink] = []
        self.errors: list[Failure] = []
        self.notes: list[str] = []
        self.unseen: dict[str, OSError] = {}

    def title_of(self, ns: int, ifname: str) -> str:
        """Return how messages call an interface."""
        return f"{self.titles.get(ns, 'a namespace without a name')}:{ifname}"


async def wires_of_labs(lab: str | None, driver: Driver, kernel: Kernel, progress: Progress | None) -> Wires:
    """Find the links of a lab, or of all labs."""
    scene = await scan(kernel, driver, lab=lab, progress=progress)
    found = Wires(scene.survey, scene.titles)
    found.unseen = scene.unseen
    found.notes = hindered_notes(scene, f"the lab {lab}" if lab is not None else "any lab")
    links = links_of(scene)
    if any(len(link.ends) == 1 for link in links):  # most labs have none, and it takes a look at all namespaces
        add_fields(links, scene, kernel)
    for link in links:
        ports = [_port(end.ns, str(end), end.interface, end.mirrors) for end in link.ends]
        title = " -- ".join(map(str, link.ends))
        wire = CheckedLink(link.lab, link.kind, title, ports)
        if len(ports) == 1:
            ports[0].place(link.kind, link.fields)
        if len(ports) == 1 and link.kind == "veth":
            wire.problems.append(Finding("missing", f"the other end of {title} was not found"))
        found.wires.append(wire)
    return found


class _Seen:
    """What the survey and the plan of a run are."""

    survey: Survey
    plan: Plan

    def begin(self) -> None:
        pass

    def see(self, survey: Survey, plan: Plan, applied: Applied | None) -> None:
        self.survey = survey
        self.plan = plan


async def wires_of_file(
    topology: Topology, driver: Driver, kernel: Kernel, progress: Progress | None, *, runtime_timeout: float, cure: str
) -> Wires:
    """Find the links of a file, and compare them with it, as a dry run of batch does. cure is for what differs."""
    from kokofast.engine.apply import apply  # labs need nothing of these
    from kokofast.engine.result import UNCHANGED, Result
    from kokofast.topology.order import ancestors

    seen = _Seen()
    result = Result(topology.name, UNCHANGED)
    await apply(
        topology,
        driver,
        kernel,
        dry_run=True,
        runtime_timeout=runtime_timeout,
        progress=progress,
        result=result,
        observer=seen,
    )
    titles = {number: name for name, number in reversed([*seen.survey.places.items()])}
    found = Wires(seen.survey, titles)
    by_place: dict[str, CheckedLink] = {}
    by_link: dict[int, CheckedLink] = {}
    for link in topology.links:
        wire = _wire(topology, link, seen.survey, cure)
        found.wires.append(wire)
        by_link[id(link)] = wire
        by_place.update({link.place: wire, **{end.place: wire for end in link.ends}})
    for step in result.planned:
        # Ends that are missing, or down, show by themselves.
        if step.link is not None and step.kind != "link" and step.changes[0][::2] != ("up", True):
            text = f"it is not as the file has it ({step}): {cure}"
            by_link[id(step.link)].problems.append(Finding("different", text))
    of_nodes = {(problem.place, problem.message) for problem in seen.survey.problems}
    for error in result.errors:
        at = next((by_place[place] for place in ancestors(error.source) if place in by_place), None)
        if at is None or (error.source, error.message) in of_nodes:
            found.errors.append(error)
        else:
            at.problems.append(Finding("different", error.message))
    return found


def _wire(topology: Topology, link: Link, survey: Survey, cure: str) -> CheckedLink:
    ports: list[Port] = []
    missing: list[str] = []
    for end in link.ends:
        number = survey.places.get(end.node)
        observed = survey.observed[number] if number is not None else None
        interface = observed.interfaces.get(end.ifname) if observed is not None else None
        if number is None or interface is None:
            missing.append(f"{end.node}:{end.ifname}")
            continue
        ports.append(_port(number, f"{end.node}:{end.ifname}", interface, _mirrors(end), is_to_be_up=end.up))
    wire = CheckedLink(topology.name, link.kind, " -- ".join(f"{end.node}:{end.ifname}" for end in link.ends), ports)
    if len(link.ends) == 1 and ports:
        ports[0].place(link.kind, link.options)
    if missing:
        text = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not there: {cure}"
        wire.problems.append(Finding("missing", text))
    return wire


def _mirrors(end: End) -> list[tuple[str, str]]:
    return [] if end.mirror is None else [(end.mirror.source, end.mirror.direction)]


def _port(
    ns: int, title: str, interface: Interface, mirrors: list[tuple[str, str]], *, is_to_be_up: bool = True
) -> Port:
    return Port(
        ns,
        interface.ifname,
        title,
        ifindex=interface.ifindex,
        mac=interface.mac,
        mtu=interface.mtu,
        up=interface.up,
        lower_up=interface.lower_up,
        is_to_be_up=is_to_be_up,
        settling=interface.settling,
        master=interface.master,
        mirrors=mirrors,
        addresses=[(one.family, one.packed, one.prefixlen) for one, ours in interface.addresses.items() if ours],
        impairment=_impairment(interface),
    )


def _impairment(interface: Interface) -> Impairment:
    root = present("impairments", interface.more) if interface.more else None
    if root is None or root.shaper is None:
        return NONE
    numbers = root.shaper.numbers
    delay = (numbers.get("delay", 0) + numbers.get("jitter", 0)) / NS
    # A frame in which a bit is flipped is not ours any more.
    lost = 1 - (1 - numbers.get("loss", 0) / U32_MAX) * (1 - numbers.get("corrupt", 0) / U32_MAX)
    return Impairment(delay, lost, numbers.get("rate", 0))
