"""Fabrics of data centres: leaf-spine and fat-tree. Numbers in names begin with 1."""

from __future__ import annotations

from collections.abc import Iterator

from kokofast.generators.shape import Edge, Shape, Size


def _leaf_spine(leaves: int, spines: int, hosts: int) -> Iterator[Edge]:
    """Yield the links of each leaf: first those to the spines, then those to its hosts."""
    for leaf in range(1, leaves + 1):
        for spine in range(1, spines + 1):
            yield f"spine{spine}", f"leaf{leaf}"
        for host in range(1, hosts + 1):
            yield f"leaf{leaf}", f"host{leaf}-{host}"


def _fat_tree(k: int, hosts: int | None = None) -> Iterator[Edge]:
    """Yield the links of a fat-tree of switches with k ports, pod by pod, from the core downwards.

    M. Al-Fares, A. Loukissas, A. Vahdat, "A scalable, commodity data center network architecture", SIGCOMM 2008.
    """
    half = k // 2
    for pod in range(1, k + 1):
        for agg in range(half):
            for core in range(half):
                yield f"core{agg * half + core + 1}", f"agg{pod}-{agg + 1}"
        for agg in range(1, half + 1):
            for edge in range(1, half + 1):
                yield f"agg{pod}-{agg}", f"edge{pod}-{edge}"
        for edge in range(1, half + 1):
            for host in range(1, _hosts(k, hosts) + 1):
                yield f"edge{pod}-{edge}", f"host{pod}-{edge}-{host}"


def _hosts(k: int, hosts: int | None) -> int:
    return k // 2 if hosts is None else hosts


def _count_fat_tree(k: int, hosts: int | None = None) -> int:
    if k % 2:
        raise ValueError(f"k must be even, not {k}: half of a switch's ports lead up, half of them down")
    return k**3 // 2 + k * k // 2 * _hosts(k, hosts)


LEAF_SPINE = Shape(
    "leaf switches, each linked to all spine switches and to its hosts",
    (
        Size("leaves", "how many leaf switches"),
        Size("spines", "how many spine switches"),
        Size("hosts", "hosts of each leaf", 0, 0),
    ),
    lambda leaves, spines, hosts: leaves * (spines + hosts),
    _leaf_spine,
)
FAT_TREE = Shape(
    "the k-ary fat-tree: core switches, k pods of aggregation and edge switches, and hosts",
    (
        Size("k", "ports of each switch, an even number", 2),
        Size("hosts", "hosts of each edge switch (k/2)", 0, None),
    ),
    _count_fat_tree,
    _fat_tree,
)
