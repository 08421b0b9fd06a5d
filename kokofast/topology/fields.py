"""The fields of a topology as types, for topologies written in Python: type checkers and editors know their names.

What a field means and may be is in shapes.py, which alone checks them; tests/topology/test_code.py compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, Required, TypedDict

Mirror = TypedDict("Mirror", {"from": Required[str], "direction": Literal["both", "ingress", "egress"]}, total=False)


class Offload(TypedDict, total=False):
    """What an end leaves to its device."""

    tx: bool
    tso: bool
    gso: bool
    gro: bool


class Route(TypedDict):
    """A route of a node."""

    to: str
    via: NotRequired[str | Sequence[str]]
    dev: NotRequired[str]
    metric: NotRequired[int]


class Routing(TypedDict):
    """Routes for all nodes."""

    mode: Literal["shortest-path"]
    multipath: NotRequired[bool]


class EndFields(TypedDict, total=False):
    """The fields of an end. A link gives them to its ends, defaults to all links."""

    addresses: Sequence[str]
    mac: str
    mtu: int
    txqlen: int
    queues: int | Literal["auto"]
    up: bool
    dad: bool
    mirror: Mirror
    cost: int
    master: str
    altnames: Sequence[str]
    delay: str
    jitter: str
    loss: str
    duplicate: str
    corrupt: str
    reorder: str
    delay_correlation: str
    loss_correlation: str
    duplicate_correlation: str
    corrupt_correlation: str
    reorder_correlation: str
    rate: str
    limit: int
    link_local: bool
    offload: bool | Offload
    lacp: bool


class _Options(TypedDict, total=False):
    # Of the link kinds.
    type: str
    subnet: str
    subnet6: str
    parent: str
    remote: str | Sequence[str]
    vni: int
    port: int
    local: str
    ttl: int
    learning: bool
    id: int
    protocol: str
    mode: str
    stp: bool
    group_fwd_mask: int


class BetweenFields(TypedDict, total=False):
    """How links between hosts are made."""

    type: str
    vni: int | str
    port: int
    ttl: int
    learning: bool
    id: int | str
    protocol: str
    mode: str


class LinkFields(EndFields, _Options, total=False):
    """The fields of a link beside its endpoints."""

    bridge: str
    between: str | BetweenFields


class DefaultFields(EndFields, _Options, total=False):
    """The fields of defaults."""

    create: bool


class NodeFields(TypedDict, total=False):
    """The fields of a node: exactly one of netns, path, pid, host, docker, podman and cri, and others."""

    netns: str
    path: str
    pid: int
    host: Literal[True] | str
    docker: str
    podman: str
    cri: str
    socket: str
    create: bool
    addresses: Sequence[str]
    routes: Sequence[Route]
    sysctls: Mapping[str, int | str]
    ipv6: bool
    tags: Mapping[str, str]


class HostFields(TypedDict):
    """A machine of a lab that is on many."""

    address: str
    parent: str
    mtu: NotRequired[int]
    vars: NotRequired[Mapping[str, object]]
