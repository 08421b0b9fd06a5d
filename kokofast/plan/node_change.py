"""What a lab sets in the namespace of a node apart from links: addresses of the loopback, routes, sysctls."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from kokofast.plan.shortest_paths import Goal, Routes
    from kokofast.topology.model import Address


class Router:
    """What was read of these.

    Args:
        addresses: The addresses of the loopback, and whether the lab has set them.
        routes: The routes of the lab.
        read_strangers: Returns the other routes of the main table, each as text.
        sysctls: The values of those that exist, by the path below /proc/sys/net.

    ``ipv6`` has the interfaces with global IPv6 addresses, where the plan may switch IPv6 off.
    """

    __slots__ = ("_strangers", "addresses", "ipv6", "read_strangers", "routes", "sysctls")

    def __init__(
        self,
        addresses: Mapping[Address, bool] | None = None,
        routes: Routes | None = None,
        read_strangers: Callable[[], Mapping[Goal, str]] = dict,
        sysctls: Mapping[str, str] | None = None,
    ) -> None:
        self.addresses: Mapping[Address, bool] = addresses if addresses is not None else {}
        self.routes: Routes = routes if routes is not None else {}
        self.read_strangers = read_strangers
        self._strangers: Mapping[Goal, str] | None = None
        self.sysctls: Mapping[str, str] = sysctls if sysctls is not None else {}
        self.ipv6: Collection[str] = ()

    @property
    def strangers(self) -> Mapping[Goal, str]:
        """The other routes. They are read at the first use: there may be many, and a second run needs none."""
        if self._strangers is None:
            self._strangers = self.read_strangers()
        return self._strangers


def device_in(words: str) -> str:
    """Return the interface in the text of a route in a Router."""
    parts = words.split()
    return parts[parts.index("dev") + 1] if "dev" in parts[:-1] else ""


class NodeChange:
    """Addresses of the loopback and routes to add and remove, and whether the mark comes or goes (None: neither).

    up: set the loopback up or down, None to leave it. behind: those of add_routes that come behind a route of the
    kernel's own, which goes later: the network is on an interface that is deleted, or whose address is removed.
    """

    __slots__ = ("add", "add_routes", "behind", "mark", "remove", "remove_routes", "up")

    def __init__(
        self,
        *,
        mark: bool | None = None,
        up: bool | None = None,
        add: Collection[Address] = (),
        remove: Collection[Address] = (),
        add_routes: Routes | None = None,
        remove_routes: Routes | None = None,
        behind: Collection[Goal] = (),
    ) -> None:
        self.behind = behind
        self.mark = mark
        self.up = up
        self.add = add
        self.remove = remove
        self.add_routes: Routes = add_routes if add_routes is not None else {}
        self.remove_routes: Routes = remove_routes if remove_routes is not None else {}

    def __bool__(self) -> bool:
        parts = (self.add, self.remove, self.add_routes, self.remove_routes)
        return self.mark is not None or self.up is not None or any(parts)

    def reversed(self) -> NodeChange:
        """Return the change that undoes this one."""
        return NodeChange(
            mark=None if self.mark is None else not self.mark,
            up=None if self.up is None else not self.up,
            add=self.remove,
            remove=self.add,
            add_routes=self.remove_routes,
            remove_routes=self.add_routes,
            behind=self.remove_routes.keys(),
        )
