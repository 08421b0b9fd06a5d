"""Namespaces that were looked into. Blocking and without an event loop: koko's command line uses it too."""

from __future__ import annotations

from kokofast.engine.observe import observe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Namespace
    from kokofast.topology.problems import Problem

    Sight = tuple[Handle, Namespace] | OSError

LOOK_CHUNK = 512  # namespaces that are opened together


class Survey:
    """Namespaces by number, each once, whatever names lead to it. None stands for one that is to be made."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.handles: list[Handle | None] = []
        self.observed: list[Namespace | None] = []
        self.problems: list[Problem] = []
        self._numbers: dict[tuple[int, int], int] = {}

    def add(self, handle: Handle, namespace: Namespace) -> int:
        """The number of a namespace that was looked into."""
        number = self._numbers.setdefault(handle.identity, len(self.handles))
        if number == len(self.handles):
            self.handles.append(handle)
            self.observed.append(namespace)
        return number

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


def look_into_all(kernel: Kernel, paths: Sequence[str], see: Callable[[Kernel, Handle], Namespace]) -> list[Sight]:
    """Opens the namespaces at these paths, no more than the kernel's capacity, and looks into each."""
    return [look_into(kernel, item, see) for item in kernel.open_all(paths)]
