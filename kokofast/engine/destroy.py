"""destroy: find what carries our mark, wherever it is, and remove it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.drivers import LabLocked, run_all
from kokofast.engine.result import DESTROYED, INVALID, PARTIAL, UNCHANGED, Failure, Result
from kokofast.engine.scene import hindered_notes, pair, scan
from kokofast.engine.tear_down import HELD, tear_down
from kokofast.host import namespaces as host
from kokofast.host.limits import missing_capabilities
from kokofast.host.lock import dismiss_keepers
from kokofast.ops.executor import Executor
from kokofast.plan.ownership import cookie_owner, owner_in
from kokofast.wire.message import words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kokofast.drivers import Driver
    from kokofast.engine.result_types import Progress
    from kokofast.engine.scene import Scene
    from kokofast.engine.tear_down import TornDown
    from kokofast.host.kernel import Kernel
    from kokofast.ops.executor import OperationError
    from kokofast.topology.model import Topology

MIRROR_WORKERS = 2
MIRROR_CHUNK = 16


async def destroy(
    lab: str | None,
    driver: Driver,
    kernel: Kernel,
    *,
    topology: Topology | None = None,
    force: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
    result: Result | None = None,
    waits: Callable[[], object] | None = None,
) -> Result:
    """Remove exactly what carries the mark of a lab, or of any lab (None).

    Without force a lab stays if links of another lab would be deleted with it: those in a namespace that it made, or on
    one of its links. The status is then INVALID, and the errors name the other lab. result is filled in: its links have
    the count "total" meanwhile. waits is called once, when another run has held the lock for half a second.
    """
    result = result if result is not None else Result(lab or "", UNCHANGED)
    async with LabLocked(driver, lab, waits=waits) as unlocked:
        with result.stage("survey"):
            scene = await scan(kernel, driver, lab=lab, topology=topology, to_remove=True, progress=progress)
            refusals: list[Failure] = []
            if scene.others and not force:
                from kokofast.engine.bystanders import find_bystanders

                refusals = await find_bystanders(scene, pair(scene.others), kernel, result.lab, driver)
        if refusals:
            result.status, result.errors = INVALID, refusals
            result.links = {"removed": 0, "failed": 0}
            result.namespaces = dict(result.links)
            return result
        dismiss_keepers(lab)
        # A namespace with a process in it outlives its name: look again.
        scene.inhabited.update(dict(host.list_processes()).values())
        with result.stage("delete"):
            owner = cookie_owner(lab) if lab else None
            await remove_scene(
                scene, kernel, result, driver, lambda cookie: _is_of(cookie, owner), jobs=jobs, progress=progress
            )
        result.notes += unlocked
        if missing_capabilities(("CAP_SYS_PTRACE",)):
            result.notes.append(
                "without CAP_SYS_PTRACE, namespaces that only other users' processes hold were not seen"
            )
    return result


def _empty(scene: Scene) -> dict[int, str]:
    """Return our namespaces without processes, by number: they and their links end when their names are removed."""
    named = {number: scene.names[number] for number in scene.namespaces if number in scene.names}
    return {number: name for number, name in named.items() if not _is_inhabited(scene, number)}


def _is_of(cookie: bytes, owner: bytes | None) -> bool:
    found = owner_in(cookie)
    return found is not None and owner in (None, found)


def _mirrored(scene: Scene, is_chosen: Callable[[bytes], bool], empty: Mapping[int, str]) -> list[int]:
    """Return the namespaces that stay and have mirror filters with these cookies."""
    return [
        number
        for number, namespace in enumerate(scene.survey.observed)
        if namespace is not None
        and number not in empty
        and any(is_chosen(mirror.cookie) for mirror in namespace.mirrors)
    ]


async def remove_scene(
    scene: Scene,
    kernel: Kernel,
    result: Result,
    driver: Driver,
    is_chosen: Callable[[bytes], bool],
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Remove the interfaces and namespaces of a scene, and the mirrors whose cookies are chosen; fill the result in."""
    executor = Executor(kernel, scene.survey.handles, scene.survey.observed)
    ends = scene.ends()
    result.links = {"total": len({end.link for end in ends})}
    empty = _empty(scene)
    inhabited = {
        number: scene.names[number] for number in scene.namespaces if number in scene.names and number not in empty
    }
    failed_namespaces = _remove_other_names(scene, kernel)
    mirrored, mirror_errors = await _remove_mirrors(scene, executor, is_chosen, driver, empty)
    marked, node_errors = _remove_nodes(scene, executor, empty)
    done = await tear_down(executor, ends, empty, driver, workers=jobs, progress=progress)
    again = await tear_down(executor, (), inhabited, driver, workers=jobs, progress=progress, watch=False)
    failed_namespaces |= {**done.failed_namespaces, **again.failed_namespaces}
    for name in scene.claims:
        try:
            kernel.remove(name, None)
        except OSError as error:
            failed_namespaces[name] = error
    removed = len(done.namespaces) + len(again.namespaces) + len(scene.claims.keys() - failed_namespaces.keys())
    result.links = {"removed": len(done.links), "failed": len(done.failed_links)}
    result.namespaces = {"removed": removed, "failed": len(failed_namespaces)}
    result.notes = [
        f"namespace {name} has lost its name, but lives on until the processes in it end" for name in inhabited.values()
    ]
    what = f"the lab {result.lab}" if result.lab else "any lab"
    result.notes += hindered_notes(scene, what)
    result.notes += [f"namespace {name} has lost its name and its links, but {HELD}" for name in sorted(done.held)]
    result.errors = [*_refusals(scene, done, failed_namespaces), *mirror_errors, *node_errors]
    if result.errors:
        result.status = PARTIAL
    elif removed or done.links or mirrored or marked:
        result.status = DESTROYED
    else:
        result.notes.append(f"nothing of {what} was found")


def _refusals(scene: Scene, done: TornDown, failed_namespaces: Mapping[str, OSError | OperationError]) -> list[Failure]:
    """Return an error for each link and namespace that is left, and for each namespace that could not be read."""
    titles = {end.link: scene.titles[end.ns] for end in scene.ends()}
    return [
        *(
            Failure(titles[link], f"a link cannot be deleted: {words_of(refusal)}", refusal.errno)
            for link, refusal in sorted(done.failed_links.items())
        ),
        *(
            Failure(name, f"the namespace cannot be removed: {words_of(refusal)}", refusal.errno)
            for name, refusal in sorted(failed_namespaces.items())
        ),
        *(
            Failure(title, f"the namespace cannot be looked into: {error.strerror or error}", error.errno)
            for title, error in scene.unseen.items()
        ),
    ]


def _remove_other_names(scene: Scene, kernel: Kernel) -> dict[str, OperationError]:
    """Remove further names of our namespaces; return those that could not be removed, and why.

    Nothing shows which of the names is ours. With any of them left the namespace and its links live on.
    """
    failed: dict[str, OperationError] = {}
    for name, number in scene.other_names.items():
        namespace = scene.survey.observed[number]
        if number in scene.namespaces and namespace is not None:
            try:
                kernel.remove(name, namespace.identity)
            except OSError as error:
                failed[name] = error
    return failed


def _remove_nodes(scene: Scene, executor: Executor, empty: Mapping[int, str]) -> tuple[int, list[Failure]]:
    """Remove addresses of loopbacks in namespaces that stay; return how many namespaces had some, and the failures."""
    marked = [(number, owner) for number, owners in scene.nodes.items() if number not in empty for owner in owners]
    failures: list[Failure] = []
    for number, owner in marked:
        from kokofast.ops.configure_node import remove_all

        refusal = remove_all(executor, number, owner)
        if refusal is not None:
            what = "the addresses of its loopback cannot be removed"
            failures.append(Failure(scene.titles[number], f"{what}: {words_of(refusal)}", refusal.errno))
    return len(marked), failures


async def _remove_mirrors(
    scene: Scene,
    executor: Executor,
    is_chosen: Callable[[bytes], bool],
    driver: Driver,
    empty: Mapping[int, str],
) -> tuple[int, list[Failure]]:
    """Remove the mirror filters with these cookies; return the number of namespaces with some, and the failures."""
    concerned = _mirrored(scene, is_chosen, empty)
    failures: list[Failure] = []

    def report(position: int, refusal: OperationError | None) -> None:
        if refusal is not None:
            title = scene.titles[concerned[position]]
            failures.append(Failure(title, f"a mirror cannot be removed: {words_of(refusal)}", refusal.errno))

    def remove(numbers: Sequence[int]) -> list[OperationError | None]:
        from kokofast.ops.mirror import remove_all

        return [remove_all(executor, number, lambda item: is_chosen(item.cookie)) for number in numbers]

    await run_all(
        driver,
        concerned,
        remove,
        workers=MIRROR_WORKERS,
        chunk=MIRROR_CHUNK,
        report=report,
        few=MIRROR_CHUNK,
    )
    return len(concerned), failures


def _is_inhabited(scene: Scene, number: int) -> bool:
    namespace = scene.survey.observed[number]
    return namespace is not None and namespace.identity in scene.inhabited
