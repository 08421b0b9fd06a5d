"""Find links of other labs that a destroy would delete, too: in namespaces that it removes, or on its interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.drivers import run_all
from kokofast.engine.result import Failure
from kokofast.ops.dumps import LINKS, Patience, observe
from kokofast.ops.journal import ENDED
from kokofast.wire.message import KernelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.drivers import Driver
    from kokofast.engine.scene import OwnedInterface, Scene
    from kokofast.host.kernel import Kernel
    from kokofast.plan.observed import Interface
    from kokofast.plan.teardown import OwnedEnd

SHOWN = 3  # interfaces of another lab in a message
CHUNK = 64


async def find_bystanders(
    scene: Scene, ends: Sequence[OwnedEnd], kernel: Kernel, lab: str, driver: Driver, *, cure: str = "give --force"
) -> list[Failure]:
    """Return an error for each other lab that would lose links.

    ends are those of scene.others; cure is what the user can do instead of removing those first.
    """
    parents = _Parents(scene, kernel)
    lost: dict[str, dict[int, OwnedInterface]] = {}
    members: dict[int, int] = {}
    for end in ends:
        members[end.link] = members.get(end.link, 0) + 1
    maybe: dict[int, list[int]] = {}
    for number, (owned, end) in enumerate(zip(scene.others, ends, strict=True)):
        if owned.ns in parents.going:
            lost.setdefault(owned.lab, {}).setdefault(end.link, owned)
        elif members[end.link] == 1:  # a link with two known ends is a veth, without a parent
            maybe.setdefault(owned.ns, []).append(number)

    def report(_: int, found: list[int]) -> None:
        for number in found:
            owned = scene.others[number]
            lost.setdefault(owned.lab, {}).setdefault(ends[number].link, owned)

    await run_all(
        driver,
        list(maybe),
        lambda namespaces: [parents.losers(here, maybe[here]) for here in namespaces],
        workers=1,
        chunk=CHUNK,
        report=report,
    )
    return [
        Failure("", _sentence(scene, lab, other, list(links.values()), cure)) for other, links in sorted(lost.items())
    ]


class _Parents:
    """The parent interfaces that would be deleted: those in a removed namespace, and the lab's own."""

    def __init__(self, scene: Scene, kernel: Kernel) -> None:
        self.scene = scene
        self.kernel = kernel
        self.patience = Patience(LINKS)
        self.going = {number for number in scene.namespaces if number in scene.names}
        self.deleted = {(owned.ns, owned.interface.ifindex) for owned in scene.interfaces}
        self.by_index: dict[int, list[int]] = {}  # ifindex -> namespaces in which that interface would be deleted
        for ns, index in self.deleted:
            if ns not in self.going:
                self.by_index.setdefault(index, []).append(ns)
        for ns in self.going:
            namespace = scene.survey.observed[ns]
            for interface in namespace.interfaces.values() if namespace is not None else ():
                self.by_index.setdefault(interface.ifindex, []).append(ns)
        self.nsids: dict[tuple[int, int], int | None] = {}

    def losers(self, here: int, numbers: Sequence[int]) -> list[int]:
        """Return which of these interfaces of other labs, all in one namespace, would lose their parent."""
        handle = self.scene.survey.handles[here]
        assert handle is not None
        try:
            with self.kernel.using([handle]):
                now = observe(self.kernel, handle, patience=self.patience)
        except OSError as error:
            # One that cannot be read may have such interfaces, so --force is needed; one that has ended has none.
            return [] if error.errno in ENDED else list(numbers)
        by_index = {interface.ifindex: interface for interface in now.interfaces.values()}
        found = ((number, by_index.get(self.scene.others[number].interface.ifindex)) for number in numbers)
        return [number for number, interface in found if interface is not None and self._goes(here, interface)]

    def _goes(self, here: int, interface: Interface) -> bool:
        # Tunnels have their parent in IFLA_INFO_DATA.
        index = interface.data.get("link", interface.peer)
        assert isinstance(index, int)
        if interface.peer_nsid is None:
            return (here, index) in self.deleted
        return any(self._nsid(here, there) == interface.peer_nsid for there in self.by_index.get(index, ()))

    def _nsid(self, here: int, there: int) -> int | None:
        if (here, there) not in self.nsids:
            try:
                self.nsids[here, there] = self.scene.survey.nsid(self.kernel, here, there)
            except (KernelError, OSError):
                self.nsids[here, there] = None
        return self.nsids[here, there]


def _sentence(scene: Scene, lab: str, other: str, lost: Sequence[OwnedInterface], cure: str) -> str:
    named = [f"{scene.titles[owned.ns]}:{owned.interface.ifname}" for owned in lost[:SHOWN]]
    named += [f"{len(lost) - SHOWN:,} more"] if len(lost) > SHOWN else []
    links = f"{len(lost):,} link{'' if len(lost) == 1 else 's'}"
    whose = f"the lab {other}" if other else "a lab that is being made, or was killed (its name is not known yet)"
    first = f"'kokofast destroy --name {other}'" if other else "its batch"
    return (
        f"{links} of {whose} would be removed too ({', '.join(named)}), "
        f"in namespaces that {lab} made or on links of it; run {first} first, or {cure}"
    )
