"""Namespaces that were looked into. Blocking; look() goes by its run. koko's command line uses it too."""

from __future__ import annotations

from kokofast.engine.observe import observe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kokofast.engine.at_once import RunAll
    from kokofast.engine.result import Progress
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Namespace
    from kokofast.topology.problems import Problem

    Sight = tuple[Handle, Namespace] | OSError

LOOK_CHUNK = 512  # namespaces that are opened together
# Looking is a dozen short system calls a namespace: two threads hand the interpreter's lock to and fro, and take
# twice as long as one.
LOOK_WORKERS = 1


class Survey:
    """Namespaces by number, each once, whatever names lead to it. None stands for one that is to be made."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.handles: list[Handle | None] = []
        self.observed: list[Namespace | None] = []
        self.problems: list[Problem] = []
        self.unresolved: list[str] = []  # the nodes that those are about
        self._numbers: dict[tuple[int, int], int] = {}

    def add(self, handle: Handle, namespace: Namespace) -> int:
        """The number of a namespace that was looked into."""
        number = self._numbers.setdefault(handle.identity, len(self.handles))
        if number == len(self.handles):
            self.handles.append(handle)
            self.observed.append(namespace)
        return number

    def nsid(self, kernel: Kernel, here: int, there: int) -> int | None:
        """The number by which one namespace calls another; None when it has none. Raises KernelError, OSError."""
        handle, other = self.handles[here], self.handles[there]
        if handle is None or other is None:
            return None
        with kernel.using([handle, other]):
            return kernel.nsid(handle, other)

    def add_missing(self) -> int:
        """The number of a namespace that does not exist yet."""
        self.handles.append(None)
        self.observed.append(None)
        return len(self.handles) - 1


def look_into(kernel: Kernel, item: Handle | OSError, see: Callable[[Kernel, Handle], Namespace] = observe) -> Sight:
    """Looks, in the way of ``see``, into what Kernel.open_all() opened; an OSError when that cannot be."""
    if isinstance(item, OSError):
        return item
    try:
        with kernel.using([item]):
            return item, see(kernel, item)
    except OSError as error:
        return error


async def look(
    kernel: Kernel,
    paths: Sequence[str],
    run: RunAll,
    *,
    see: Callable[[Kernel, Handle], Namespace] = observe,
    progress: Progress | None = None,
) -> list[Sight]:
    """Opens the namespace at each path and looks into it in the way of ``see``; an OSError for those that cannot be."""
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
    await run(paths, execute, workers=LOOK_WORKERS, chunk=chunk, report=report)
    return sights
