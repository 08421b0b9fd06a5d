"""Record a run for a trace viewer (chrome://tracing, ui.perfetto.dev).

The file is JSON in the Trace Event Format: an object whose traceEvents are complete events (ph X), with ts and dur in
microseconds from the start of the trace, and the pid and tid of process and threads.
"""

from __future__ import annotations

import _thread
import os
import time
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO, TypeVar

    from kokofast.plan.operations import Operation

    T = TypeVar("T")


class Trace:
    """The spans of a run. Thread-safe."""

    def __init__(self) -> None:
        self._start = time.perf_counter_ns()
        self._main = _thread.get_native_id()
        self._spans: list[tuple[str, str, int, int, int, dict[str, object]]] = []

    @contextmanager
    def span(self, name: str, category: str, **details: object) -> Iterator[None]:
        """Record a block under this name, with its thread."""
        start = time.perf_counter_ns()
        try:
            yield
        finally:
            end = time.perf_counter_ns()
            self._spans.append((name, category, _thread.get_native_id(), start, end, details))

    def of(self, job: Callable[[Sequence[Operation]], T]) -> Callable[[Sequence[Operation]], T]:
        """Return job with a span around each call, named after the job and its operations."""

        def traced(operations: Sequence[Operation]) -> T:
            with self.span(f"{job.__name__}: {operations[0].verb}", "worker", operations=len(operations)):
                return job(operations)

        return traced

    def around(self, name: str, job: Callable[[], T]) -> Callable[[], T]:
        """Return job with a span of this name and category around it."""

        def traced() -> T:
            with self.span(name, name):
                return job()

        return traced

    def as_dict(self) -> dict[str, object]:
        """Return the JSON object of the file."""
        pid = os.getpid()
        events: list[dict[str, object]] = [
            {
                "name": name,
                "cat": category,
                "ph": "X",
                "ts": (start - self._start) / 1000,
                "dur": (end - start) / 1000,
                "pid": pid,
                "tid": thread,
                "args": details,
            }
            for name, category, thread, start, end, details in sorted(self._spans, key=lambda span: span[3])
        ]
        threads = dict.fromkeys(span[2] for span in self._spans)
        for number, thread in enumerate(threads):
            title = "main" if thread == self._main else f"worker {number}"
            events.append({"name": "thread_name", "ph": "M", "pid": pid, "tid": thread, "args": {"name": title}})
        return {"traceEvents": events, "displayTimeUnit": "ms"}

    def write(self, file: IO[str]) -> None:
        """Write the trace as JSON. Raises OSError."""
        import json

        json.dump(self.as_dict(), file)
        file.write("\n")
        file.flush()
