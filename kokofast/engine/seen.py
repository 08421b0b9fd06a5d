"""Namespaces that were looked into. Blocking and without an event loop: koko's command line uses it too."""

from __future__ import annotations

from kokofast.engine.observe import NO_MIRRORS, observe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Namespace
    from kokofast.topology.problems import Problem

    Sight = tuple[Handle, Namespace] | OSError


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


def look_into(kernel: Kernel, item: Handle | OSError, mirrors: int = NO_MIRRORS) -> Sight:
    """Observes what Kernel.open_all() opened; an OSError when that cannot be."""
    return look_with(kernel, item, lambda handle: observe(kernel, handle, mirrors=mirrors))


def look_with(kernel: Kernel, item: Handle | OSError, see: Callable[[Handle], Namespace]) -> Sight:
    """The same, with another look than observe()."""
    if isinstance(item, OSError):
        return item
    try:
        with kernel.using([item]):
            return item, see(item)
    except OSError as error:
        return error
