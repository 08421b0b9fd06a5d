"""The counts of the fault suite, and the line that tells of them. Loaded by tests/conftest.py as a part of pytest."""

from __future__ import annotations

from collections import Counter

import pytest

COUNTS: Counter[str] = Counter()
LEFT_OVER = "left over"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="the fault suite's long form: minutes instead of seconds")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if COUNTS:
        done = [f"{count:,} {name}" for name, count in sorted(COUNTS.items()) if name != LEFT_OVER]
        terminalreporter.write_line(f"faults: {', '.join(done)}; {COUNTS[LEFT_OVER]} {LEFT_OVER}")
