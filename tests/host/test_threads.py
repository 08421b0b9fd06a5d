"""A thread whose death nobody tells of is noticed all the same."""

from __future__ import annotations

import _thread
import errno
from collections.abc import Callable

import pytest

from kokofast.host.threads import BackgroundThread, in_own_thread


def test_an_exception_of_the_job_is_that_of_the_wait() -> None:
    def job() -> None:
        raise MemoryError("in the job")

    for wait in (BackgroundThread(job).wait, lambda: in_own_thread(job)):
        with pytest.raises(MemoryError, match="in the job"):
            wait()


def test_what_comes_behind_the_job_may_fail() -> None:
    def fail() -> None:
        raise MemoryError

    running = BackgroundThread(lambda: None, fail)
    running.wait()
    assert running.has_ended()


def test_a_thread_that_died_before_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    start = _thread.start_new_thread

    def start_to_die(job: Callable[[], object], _: tuple[()]) -> int:
        keeps = [job]
        return start(keeps.clear, ())

    monkeypatch.setattr(_thread, "start_new_thread", start_to_die)
    running = BackgroundThread(lambda: None)
    with pytest.raises(OSError, match="no memory") as caught:
        running.wait()
    assert caught.value.errno == errno.ENOMEM
    assert running.has_ended()


def test_a_thread_that_died_in_its_job() -> None:
    class Dying(BackgroundThread):
        def _body(self) -> None:  # as far as it comes when not even its "finally" can be carried out
            self.has_begun = True

    running = Dying(lambda: None)
    with pytest.raises(MemoryError, match="died"):
        running.wait()
