"""Runs that set end properties, failed at each of their requests: all is as before."""

from __future__ import annotations

import errno

import pytest

from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import Links, lab
from tests.runs import apply


def ports(bridge: str, ends: int) -> Links:
    return [{"endpoints": [{"node": "a", "interface": f"e{i}", "master": bridge}, f"b:e{i}"]} for i in range(ends)]


async def machine(make_kernel: KernelFactory) -> FakeKernel:
    """Two ends that are ports of br0, beside br1."""
    kernel = make_kernel("a", "b")
    for name in ("br0", "br1"):
        kernel["a"].add(name, kind="bridge")
    assert (await apply(lab(ports("br0", 2)), kernel=kernel, jobs=1)).status == "applied"
    kernel.count_from_here()
    return kernel


def masters(kernel: FakeKernel) -> list[str]:
    found = kernel["a"].links
    return [found[link.master].name for link in found.values() if link.master]


async def test_ends_are_given_another_master(make_kernel: KernelFactory) -> None:
    kernel = await machine(make_kernel)
    assert masters(kernel) == ["br0", "br0"]
    assert (await apply(lab(ports("br1", 3)), kernel=kernel)).status == "applied"
    assert masters(kernel) == ["br1", "br1", "br1"]
    kernel.count_from_here()
    assert (await apply(lab(ports("br1", 3)), kernel=kernel)).status == "unchanged"
    assert kernel.requests == []


@pytest.mark.parametrize("is_lost", [False, True])
async def test_each_failure_is_taken_back(make_kernel: KernelFactory, is_lost: bool) -> None:
    kernel = await machine(make_kernel)
    await apply(lab(ports("br1", 3)), kernel=kernel, jobs=1)
    total = len(kernel.requests)
    assert total > 5
    for number in range(1, total + 1):
        kernel = await machine(make_kernel)
        before = kernel.state()
        if is_lost:
            kernel.lose[number] = True
        else:
            kernel.refuse[number] = errno.EPERM
        result = await apply(lab(ports("br1", 3)), kernel=kernel, jobs=1)
        assert (result.status, result.left) == ("rolled_back", []), number
        assert kernel.state() == before, number


def named(*names: str) -> Links:
    end = {"node": "a", "interface": "e0", "altnames": list(names)}
    return [{"endpoints": [end, "b:e0"]}, {"endpoints": ["a:e1", "b:e1"]}]


@pytest.mark.parametrize("is_lost", [False, True])
async def test_each_failure_gives_the_names_back(make_kernel: KernelFactory, is_lost: bool) -> None:
    total, number = 1, 0
    while number < total:
        kernel = make_kernel("a", "b")
        await apply(lab(named("x", "y")[:1]), kernel=kernel, jobs=1)
        kernel.count_from_here()
        before = kernel.state()
        if number and is_lost:
            kernel.lose[number] = True
        elif number:
            kernel.refuse[number] = errno.EPERM
        result = await apply(lab(named("x", "z")), kernel=kernel, jobs=1)
        if number:
            assert (result.status, result.left, kernel.state()) == ("rolled_back", [], before), number
        else:
            assert result.status == "applied"
            total = len(kernel.requests)
            assert total > 5
        number += 1
