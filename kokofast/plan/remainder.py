"""What namespaces have without the links that are replaced, and what they lose with these."""

from __future__ import annotations

from copy import copy

from kokofast.ends import ATTRIBUTES
from kokofast.plan.node_change import Router, device_in
from kokofast.plan.observed import Namespace, lower_of
from kokofast.plan.plan import Situation
from kokofast.topology.model import AF_INET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.plan.observed import Interface
    from kokofast.plan.replacement import Replacement
    from kokofast.plan.shortest_paths import Goal, Hop, Routes

# The attributes that a port loses with its bridge.
OF_PORTS = ("master", ATTRIBUTES["lacp"])


def without(found: Replacement) -> Situation:
    """Return what is in the namespaces without the replaced links."""
    before = found.situation
    observed = [_namespace_without(found, ns, item) for ns, item in enumerate(before.observed)]
    after = Situation(before.places, observed, before.boot, before.nsids)
    after.elsewhere = {
        ns: [
            pair for pair in pairs if id(pair[1]) not in found.seen and lower_of(pair[1]) not in found.gone.get(ns, ())
        ]
        for ns, pairs in before.elsewhere.items()
    }
    after.leaving = [one for one in before.leaving if one.ifindex not in found.gone.get(one.ns, ())]
    after.going = before.going
    after.routers = {ns: _router_without(found, ns, router) for ns, router in before.routers.items()}
    return after


def _namespace_without(found: Replacement, ns: int, namespace: Namespace | None) -> Namespace | None:
    indexes = found.gone.get(ns)
    if namespace is None or not indexes:
        return namespace
    there: dict[str, Interface] = {}
    for name, interface in namespace.interfaces.items():
        if interface.ifindex in indexes:
            continue
        if interface.master in indexes:
            interface = copy(interface)
            interface.more = {key: value for key, value in interface.more.items() if key not in OF_PORTS}
        there[name] = interface
    mirrors = tuple(
        one for one in namespace.mirrors if one.target not in indexes and not found.is_replaced(ns, one.ifname)
    )
    return Namespace(namespace.identity, there, namespace.loopback_alias, mirrors)


def _router_without(found: Replacement, ns: int, router: Router) -> Router:
    """Return the routes and sysctls of a namespace without the replaced interfaces."""
    names = set(found.gone.get(ns, {}).values())
    if not names:
        return router
    routes = {goal: hops for goal, old in router.routes.items() if (hops := _hops_left(goal, old, names))}
    sysctls = {path: value for path, value in router.sysctls.items() if names.isdisjoint(path.split("/"))}

    def read_strangers() -> Mapping[Goal, str]:
        # The kernel's own, and those of daemons: others are in the way.
        return {goal: words for goal, words in router.strangers.items() if device_in(words) not in names}

    left = Router(router.addresses, routes, read_strangers, sysctls)
    left.ipv6 = [name for name in router.ipv6 if name not in names]
    return left


def lost_routes(found: Replacement, ns: int) -> tuple[Routes, Routes]:
    """Return the routes of a namespace that are deleted or changed, and what is left of the changed ones."""
    router = found.routers.get(ns) or found.situation.routers.get(ns) or Router()
    left = _router_without(found, ns, router).routes
    lost = {goal: hops for goal, hops in router.routes.items() if left.get(goal) != hops}
    return lost, {goal: left[goal] for goal in lost if goal in left}


def lost_sysctls(found: Replacement, ns: int) -> Mapping[str, str]:
    """Return the sysctls of replaced interfaces in a namespace, as far as the file has them."""
    router = found.situation.routers.get(ns) or Router()
    left = _router_without(found, ns, router).sysctls
    return {path: value for path, value in router.sysctls.items() if path not in left}


def _hops_left(goal: Goal, hops: tuple[Hop, ...], names: set[str]) -> tuple[Hop, ...]:
    left = tuple(hop for hop in hops if hop[0] not in names)
    # With one of its interfaces the kernel deletes all of an IPv4 route (fib_sync_down_dev()), of IPv6 that hop only.
    return left if left == hops or goal[0] != AF_INET else ()
