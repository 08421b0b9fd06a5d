"""Counts what the interpreter does, so that growth is tested without a clock."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any


class Steps:
    """Counts the instructions of the interpreter in a block. What is written in C counts as one."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Steps:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.count += event == "opcode"
        return self._trace
