"""Fixtures of pytest: networks for tests, each in a sandbox of its own, without root. docs/library.md has examples.

pytest imports this module in every run, so all else is imported at the first use of a fixture.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kokofast import Sandbox


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "lab(source, **options): bring a lab up in the sandbox of the fixture 'lab' before the test: a topology, a "
        "dict, a list, or the path of a file, relative to that of the test. Several markers are several labs.",
    )


@pytest.fixture
def make_lab() -> Iterator[Callable[[], Sandbox]]:
    """Give a function that returns a new sandbox. All of them end with the test. It raises as kokofast.sandbox()."""
    from kokofast import sandbox

    with ExitStack() as stack:
        yield lambda: stack.enter_context(sandbox())


@pytest.fixture
def lab(request: pytest.FixtureRequest, make_lab: Callable[[], Sandbox]) -> Sandbox:
    """Give a sandbox: ``lab.up({"links": [["a", "b"]]})``, ``lab.run("a", ["ip", "address"])``; see kokofast.Sandbox.

    It has the labs of the test's markers, and that of its parameter: ``parametrize("lab", [...], indirect=True)``.

    Raises SandboxError where the system does not let users make a sandbox, and what Sandbox.up() raises for a lab.
    """
    lab = make_lab()
    for marker in reversed(list(request.node.iter_markers("lab"))):
        if len(marker.args) != 1:
            raise TypeError(f"the marker lab takes one lab, not {len(marker.args)}: several labs are several markers")
        lab.up(_beside(request, marker.args[0]), **marker.kwargs)
    if hasattr(request, "param"):
        lab.up(_beside(request, request.param))
    return lab


def _beside(request: pytest.FixtureRequest, source: Any) -> Any:
    return request.path.parent / source if isinstance(source, (str, os.PathLike)) else source
