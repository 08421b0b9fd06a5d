"""Look into namespaces, by path."""

from __future__ import annotations

from kokofast.drivers import run_all
from kokofast.ops.dumps import ATTEMPTS, PAUSE_SECONDS, look_into, observe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kokofast.drivers import Driver
    from kokofast.engine.result_types import Progress
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.ops.dumps import Sight
    from kokofast.plan.observed import Namespace
    from kokofast.plan.replacement import Replacement
    from kokofast.topology.problems import Problem


LOOK_CHUNK = 512  # namespaces that are opened together
# A look takes a dozen short system calls. Two threads would only pass the GIL to and fro, and take twice as long.
LOOK_WORKERS = 1


class Survey:
    """The namespaces of nodes by number, each once. None stands for one that does not exist yet."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.paths: dict[str, str] = {}  # of the node itself: a handle has that of the first node in its namespace
        self.handles: list[Handle | None] = []
        self.observed: list[Namespace | None] = []
        self.problems: list[Problem] = []
        self.unresolved: list[str] = []  # the nodes of these problems
        self.replacement: Replacement | None = None  # what the plan replaces: not in observed any more
        self._numbers: dict[tuple[int, int], int] = {}

    def add(self, handle: Handle, namespace: Namespace) -> int:
        """Add a namespace, and return its number."""
        number = self._numbers.setdefault(handle.identity, len(self.handles))
        if number == len(self.handles):
            self.handles.append(handle)
            self.observed.append(namespace)
        return number

    def nsid(self, kernel: Kernel, here: int, there: int) -> int | None:
        """Return the nsid of a namespace in another one, None if it has none. Raises KernelError, OSError."""
        handle, other = self.handles[here], self.handles[there]
        if handle is None or other is None:
            return None
        with kernel.using([handle, other]):
            return kernel.nsid(handle, other)

    def add_missing(self) -> int:
        """Add a namespace that does not exist yet, and return its number."""
        self.handles.append(None)
        self.observed.append(None)
        return len(self.handles) - 1


async def look(
    kernel: Kernel,
    paths: Sequence[str],
    driver: Driver,
    *,
    see: Callable[[Kernel, Handle], Namespace] = observe,
    settle: Callable[[str, OSError], OSError | None] = lambda _, error: error,
    progress: Progress | None = None,
) -> list[Sight]:
    """Open the namespace at each path and read it by ``see``; return an OSError where that fails.

    settle(path, error) returns the final error, or None to look again, for half a second.
    """
    kernel.expect(len(paths))
    sights: list[Sight] = [OSError()] * len(paths)
    done = 0

    def execute(chosen: Sequence[str]) -> list[Sight]:
        return [look_into(kernel, item, see) for item in kernel.open_all(chosen)]

    def report(number: int, sight: Sight) -> None:
        nonlocal done
        sights[number] = sight
        done += 1
        if progress is not None:
            progress("survey", done, len(paths))

    chunk = max(min(LOOK_CHUNK, kernel.capacity // LOOK_WORKERS), 1)
    await run_all(driver, paths, execute, workers=LOOK_WORKERS, chunk=chunk, report=report)
    kernel.rewind()
    waiting = _settle(paths, sights, range(len(paths)), settle)
    for _ in range(ATTEMPTS):
        if not waiting:
            break
        again: dict[int, Sight] = {}
        chosen = [paths[number] for number in waiting]
        await driver.sleep(PAUSE_SECONDS)
        await run_all(driver, chosen, execute, workers=1, chunk=chunk, report=again.__setitem__)
        for place, number in enumerate(waiting):
            sights[number] = again[place]
        waiting = _settle(paths, sights, waiting, settle)
    return sights


def _settle(
    paths: Sequence[str],
    sights: list[Sight],
    numbers: Iterable[int],
    settle: Callable[[str, OSError], OSError | None],
) -> list[int]:
    """Settle the errors of these numbers; return those to look at again."""
    waiting: list[int] = []
    for number in numbers:
        sight = sights[number]
        if isinstance(sight, OSError):
            error = settle(paths[number], sight)
            if error is None:
                waiting.append(number)
            else:
                sights[number] = error
    return waiting
