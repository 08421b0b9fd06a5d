"""batch --prune: find links and namespaces of a lab that left its file, and remove them."""

from __future__ import annotations

from kokofast.ends import ENDS
from kokofast.engine.bystanders import find_bystanders
from kokofast.engine.destroy import remove_scene
from kokofast.engine.result import APPLIED, PARTIAL, PLANNED, UNCHANGED, Result
from kokofast.engine.scene import pair, scan
from kokofast.plan.left_over import places_in_file
from kokofast.plan.ownership import ALIAS_PREFIX, cookie_of
from kokofast.plan.step import Step
from kokofast.topology.node_kinds import NODES
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.drivers import Driver
    from kokofast.engine.result import Failure
    from kokofast.engine.result_types import Progress
    from kokofast.engine.scene import OwnedInterface, Scene
    from kokofast.engine.snapshot import Survey
    from kokofast.host.kernel import Kernel
    from kokofast.plan.replacement import Replacement
    from kokofast.topology.model import Topology


class LeftOver:
    """Links and namespaces of a lab that left its file.

    Attributes:
        scene: These links and namespaces, and nothing else.
        problems: Why they cannot be removed: then nothing may be touched.
    """

    def __init__(self, scene: Scene, lab: str) -> None:
        self.scene = scene
        self.lab = lab
        self.problems: list[Problem] = []

    def __bool__(self) -> bool:
        scene = self.scene
        return bool(scene.interfaces or scene.claims or scene.nodes or self._namespaces())

    def tell(self, result: Result) -> None:
        """Add what would be removed to the result of a dry run."""
        links: dict[int, list[OwnedInterface]] = {}
        for owned, end in zip(self.scene.interfaces, self.scene.ends(), strict=True):
            links.setdefault(end.link, []).append(owned)
        namespaces = [*self._namespaces(), *self.scene.claims]
        result.planned += [Step("delete", "link", name=self._title(ends)) for ends in links.values()]
        result.planned += [Step("delete", "namespace", name=name) for name in sorted(namespaces)]
        staying = [number for number in self.scene.nodes if number not in self.scene.namespaces]
        result.planned += [Step("delete", "node", name=self.scene.titles[number]) for number in staying]
        result.links["removed"] = len(links)
        result.namespaces["removed"] = len(namespaces)
        if self and result.status == UNCHANGED:
            result.status = PLANNED

    async def remove(self, kernel: Kernel, driver: Driver, result: Result, progress: Progress | None) -> None:
        """Remove them, and add to the result what was done."""
        cookies = {cookie_of(self.lab, owned.interface.alias)[:-1] for owned in self.scene.interfaces}
        done = Result(self.lab, UNCHANGED)
        await remove_scene(self.scene, kernel, done, driver, lambda cookie: cookie[:-1] in cookies, progress=progress)
        result.links["removed"], result.namespaces["removed"] = done.links["removed"], done.namespaces["removed"]
        result.notes += done.notes
        result.errors += done.errors
        if done.errors:
            result.status = PARTIAL
        elif self and result.status == UNCHANGED:
            result.status = APPLIED

    async def newcomers(
        self, topology: Topology, kernel: Kernel, driver: Driver, progress: Progress | None
    ) -> list[Failure]:
        """Look again, after a wait, for links of other labs that would go with these; return an error for each lab."""
        scene = await scan(kernel, driver, lab=self.lab, topology=topology, to_remove=True, progress=progress)
        before, now = (
            [handle.identity if handle is not None else None for handle in one.survey.handles]
            for one in (self.scene, scene)
        )
        links = {(before[owned.ns], owned.interface.ifindex) for owned in self.scene.interfaces}
        namespaces = {before[number] for number in self.scene.namespaces}
        scene.interfaces = [owned for owned in scene.interfaces if (now[owned.ns], owned.interface.ifindex) in links]
        scene.namespaces = {number: lab for number, lab in scene.namespaces.items() if now[number] in namespaces}
        try:
            return await _find_bystanders(scene, kernel, self.lab, driver)
        finally:
            _forget(scene, kernel)

    def forget(self, kernel: Kernel) -> None:
        """Close the namespaces that were opened for the search."""
        _forget(self.scene, kernel)

    def _namespaces(self) -> list[str]:
        names = self.scene.names
        return [names[number] for number in self.scene.namespaces if number in names]

    def _title(self, ends: list[OwnedInterface]) -> str:
        title = ends[0].interface.alias.removeprefix(f"{ALIAS_PREFIX}{self.lab}:")
        if title and not title.startswith("#"):
            return title
        return "--".join(f"{self.scene.titles[owned.ns]}:{owned.interface.ifname}" for owned in ends)


async def find_left_over(
    topology: Topology,
    survey: Survey,
    kernel: Kernel,
    driver: Driver,
    progress: Progress | None,
    replacement: Replacement | None = None,
) -> LeftOver:
    """Look into all namespaces, as destroy does, for links and namespaces of the lab that are not in the file.

    survey has the namespaces of all nodes of the file. Links in the replacement are deleted before, and left out here.
    """
    scene = await scan(kernel, driver, lab=topology.name, topology=topology, to_remove=True, progress=progress)
    known = {handle.identity: number for number, handle in enumerate(survey.handles) if handle is not None}
    numbers = [known.get(handle.identity) if handle is not None else None for handle in scene.survey.handles]
    for there, number in zip(scene.survey.observed, numbers, strict=True):
        namespace = survey.observed[number] if number is not None else None
        if there is not None and namespace is not None:
            there.mirrors = namespace.mirrors  # which scan() does not read where the lab made the namespace
    in_file = places_in_file(topology, survey.places)
    if replacement is not None:
        in_file |= replacement.places()
    all_ends = list(zip(scene.interfaces, pair(scene.interfaces), strict=True))
    stay = {end.link for owned, end in all_ends if (numbers[owned.ns], owned.interface.ifname) in in_file}
    scene.interfaces = [owned for owned, end in all_ends if end.link not in stay]
    scene.namespaces = {number: lab for number, lab in scene.namespaces.items() if numbers[number] is None}
    scene.nodes = {number: labs for number, labs in scene.nodes.items() if numbers[number] is None}
    names = {node.target for node in topology.nodes.values() if NODES[node.kind].is_named}
    scene.claims = {name: lab for name, lab in scene.claims.items() if name not in names}
    left_over = LeftOver(scene, topology.name)
    gone = {(numbers[owned.ns], owned.interface.ifname) for owned in scene.interfaces}
    left_over.problems = _needed(topology, survey, gone) if gone else []
    if left_over:
        found = await _find_bystanders(scene, kernel, topology.name, driver)
        left_over.problems += [Problem(failure.source, failure.message) for failure in found]
    return left_over


async def _find_bystanders(scene: Scene, kernel: Kernel, lab: str, driver: Driver) -> list[Failure]:
    if not scene.others:
        return []
    return await find_bystanders(scene, pair(scene.others), kernel, lab, driver, cure="batch without --prune")


def _forget(scene: Scene, kernel: Kernel) -> None:
    for handle in scene.survey.handles:
        if handle is not None:
            kernel.forget(handle)


def _needed(topology: Topology, survey: Survey, gone: set[tuple[int | None, str]]) -> list[Problem]:
    """Return a problem for each link of the file that needs an interface of a link that left it."""
    problems: list[Problem] = []

    def check(node: str, ifname: str, place: str, what: str) -> None:
        if (survey.places[node], ifname) in gone:
            title = f"{node}:{ifname}" if node else ifname
            message = f"{title} is of a link that is not in the file any more, which --prune would remove"
            problems.append(Problem(place, f"{message}; put that link back, or take another {what}"))

    for link in topology.links:
        if link.parent is not None:
            check(*link.parent, link.where("parent"), "parent")
        for end in link.ends:
            if end.mirror is not None:
                check(end.node, end.mirror.source, end.where("mirror"), "interface to mirror")
            for name, value in end.properties.items():
                for ifname in ENDS[name].needs(value):
                    check(end.node, ifname, end.where(name), name)
    return problems
