"""A thread whose death nobody tells of is noticed all the same."""

from __future__ import annotations

import _thread
import errno
import threading
from collections.abc import Callable

import pytest

from kokofast.host.threads import BackgroundThread, in_own_thread, in_threads


def test_an_exception_of_the_job_is_that_of_the_wait() -> None:
    def job() -> None:
        raise MemoryError("in the job")

    for wait in (BackgroundThread(job).wait, lambda: in_own_thread(job)):
        with pytest.raises(MemoryError, match="in the job"):
            wait()


@pytest.mark.parametrize(
    ("words", "told"), [("error return without exception set", MemoryError), ("bad argument", SystemError)]
)
def test_an_exception_that_the_interpreter_has_lost(words: str, told: type[Exception]) -> None:
    """It does without memory."""

    def job() -> None:
        raise SystemError(words)

    with pytest.raises(told):
        in_own_thread(job)


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


def test_jobs_that_wait_do_so_together() -> None:
    together = threading.Barrier(4)

    def job(number: int) -> int:
        together.wait(timeout=20)
        return number * 10

    assert in_threads(job, range(8), threads=4) == [0, 10, 20, 30, 40, 50, 60, 70]
    assert in_threads(job, [], threads=4) == []


def test_the_calling_thread_does_what_others_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    start = _thread.start_new_thread
    refuse = RuntimeError("can't start new thread")

    def start_no_more(_: Callable[[], object], __: tuple[()]) -> int:
        raise refuse

    def start_to_die(job: Callable[[], object], _: tuple[()]) -> int:
        keeps = [job]
        return start(keeps.clear, ())

    for begin in (start_no_more, start_to_die):
        monkeypatch.setattr(_thread, "start_new_thread", begin)
        assert in_threads(str, range(5), threads=3) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_exception_of_one_of_many_jobs(threads: int) -> None:
    done: list[int] = []

    def job(number: int) -> None:
        if number == 2:
            raise MemoryError("in the job")
        done.append(number)

    with pytest.raises(MemoryError, match="in the job"):
        in_threads(job, range(6), threads)
    assert set(done) >= {0, 1}
