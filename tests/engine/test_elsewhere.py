"""Interfaces whose parent is in another namespace: how many questions it takes to find them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from kokofast.engine import elsewhere
from kokofast.host.kernel import Handle
from kokofast.plan.observed import Interface, Namespace

HOME = 1000  # the number of the first parent's namespace


def handle(number: int) -> Handle:
    return Handle(f"/run/netns/n{number}", (4, number), None)


class Asked:
    """A kernel in which each namespace calls the one with the inode I by the number I."""

    def __init__(self) -> None:
        self.questions = 0

    @contextlib.contextmanager
    def using(self, handles: Sequence[Handle]) -> Iterator[None]:
        yield

    def nsid(self, handle: Handle, other: Handle) -> int:
        self.questions += 1
        return other.identity[1]


def others(count: int, kind: str = "macvlan") -> list[tuple[str, Handle, Namespace]]:
    """Namespaces with ten interfaces each that have their parents in the first home."""
    items = {f"m{n}": Interface(n + 2, f"m{n}", kind=kind, peer=7, peer_nsid=HOME) for n in range(10)}
    return [(f"n{number}", handle(number), Namespace((4, number), items)) for number in range(count)]


@pytest.mark.parametrize("homes", [1, 3])
def test_each_namespace_is_asked_once_for_each_parents(homes: int) -> None:
    kernel: Any = Asked()
    parents = {number: handle(HOME + number) for number in range(homes)}
    found = elsewhere.on_parents(kernel, parents, others(20))
    assert kernel.questions == 20 * homes
    assert {number: len(items) for number, items in found.items()} == {0: 200}
    assert found[0][0][0] == "m0 in n0"


def test_who_has_no_such_interface_is_not_asked() -> None:
    kernel: Any = Asked()
    assert elsewhere.on_parents(kernel, {0: handle(HOME)}, others(20, "veth")) == {}
    assert kernel.questions == 0


def test_the_questions_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "QUESTIONS_MAX", 100)
    kernel: Any = Asked()
    parents = {number: handle(HOME + number) for number in range(30)}
    assert len(elsewhere.on_parents(kernel, parents, others(1000))[0]) == 40
    assert kernel.questions == 120
