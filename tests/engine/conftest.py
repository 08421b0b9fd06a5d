"""The engine's tests run on a kernel in memory and a clock that stands still: nothing may depend on time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio.testing

from kokofast.engine import elsewhere
from kokofast.host import lock
from kokofast.host import namespaces as host
from kokofast.ops import ifindex
from kokofast.ops.dumps import LINKS, interface_of
from kokofast.plan.observed import Namespace
from kokofast.plan.ownership import lab_of
from tests.engine.fake import BOOT, FakeKernel, FakeLink, FakeNamespace, Identity
from tests.wire.decoded import row_of

KernelFactory = Callable[..., FakeKernel]


def check_mark(kernel: FakeKernel, namespace: FakeNamespace, link: FakeLink) -> None:
    """An interface bears our mark from the instant of its creation."""
    seen = interface_of(row_of(LINKS.rows, kernel.rtnl.show(namespace, link)))
    assert lab_of(seen, Namespace(namespace.identity), BOOT) == "", f"{link.name} does not bear our mark"


@pytest.fixture(autouse=True)
def _no_time_passes(mock_clock: trio.testing.MockClock) -> None:
    assert mock_clock.rate == 0


@pytest.fixture(autouse=True)
def _locks_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The labs are none, and must keep no real run waiting: other tests have some at the same time."""
    monkeypatch.setattr(lock, "LOCK_DIR", str(tmp_path / "locks"))


@pytest.fixture
def make_kernel(monkeypatch: pytest.MonkeyPatch) -> KernelFactory:
    """``make_kernel("a", "b")``: a machine with these named namespaces, and no other, nor any process."""

    def make(*names: str, **options: Any) -> FakeKernel:
        kernel = FakeKernel(*names, **options)
        kernel.rtnl.created = partial(check_mark, kernel)
        prefix = "/run/netns/"

        def list_named() -> dict[str, bool]:
            paths = [*kernel.namespaces, *kernel.claims]
            return dict.fromkeys(sorted(path.removeprefix(prefix) for path in paths if path.startswith(prefix)), False)

        def list_processes() -> list[tuple[int, Identity]]:
            homes = dict.fromkeys(item.identity for item in kernel.namespaces.values() if item.inhabited)
            return list(enumerate(homes, 100))

        def is_new(path: str, seen: set[Identity]) -> bool:
            found = kernel.namespaces.get(path)
            if found is None or found.identity in seen:
                return False
            seen.add(found.identity)
            return True

        monkeypatch.setattr(elsewhere, "_is_new", is_new)
        monkeypatch.setattr(host, "list_named", list_named)
        monkeypatch.setattr(host, "list_processes", list_processes)
        monkeypatch.setattr(host, "claimed", lambda path: kernel.claims.get(path))
        return kernel

    return make


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> range:
    """The indexes where runs begin to choose, one namespace after the other, which are random ones otherwise."""
    chosen = range(1000, 100_000, 1000)
    numbers = iter(chosen)
    monkeypatch.setattr(ifindex, "_random_index", lambda: next(numbers))
    return chosen
