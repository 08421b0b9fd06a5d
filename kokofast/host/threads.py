"""A thread of one's own, for work that leaves the thread in another network namespace.

Pools (trio's too) reuse threads, last in first out: a job that changed its namespace and could not change it back
would poison the next, unrelated job. A thread that ends after the job cannot.

Here and in kernel.py: _thread and not threading, which costs koko's command line more than the thread itself does.
"""

from __future__ import annotations

import _thread
import errno
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


ATTEMPTS = 20
PAUSE_SECONDS = 0.005


def no_thread(error: RuntimeError) -> OSError:
    """What pthread_create(3) means when Python says "can't start new thread"; raises what is another defect."""
    if "new thread" not in str(error):
        raise error
    return OSError(
        errno.EAGAIN,
        "no more threads may be started: the limit on processes (ulimit -u), that of the cgroup (pids.max) or of the "
        "machine (sysctl kernel.threads-max, kernel.pid_max) is reached; raise it, or use fewer --jobs",
    )


class Running:
    """A job in a thread of its own, which begins at once. Raises OSError EAGAIN when there can be no thread.

    ident is the thread's, as pthread_kill(3) takes it."""

    def __init__(self, job: Callable[[], object]) -> None:
        self._job = job
        self._failure: BaseException | None = None
        self._ended = _thread.allocate_lock()
        self._ended.acquire()
        try:
            self.ident = _thread.start_new_thread(self._body, ())
        except RuntimeError as error:
            raise no_thread(error) from error

    def _body(self) -> None:
        try:
            self._job()
        except BaseException as error:
            self._failure = error
        finally:
            self._ended.release()

    def has_ended(self) -> bool:
        """Whether wait() would return at once."""
        return not self._ended.locked()

    def wait(self) -> None:
        """Returns when the job has ended; raises the exception that it ended with."""
        with self._ended:
            if self._failure is not None:
                raise self._failure


def in_own_thread(job: Callable[[], T]) -> T:
    """Runs job in a new thread, waits for it, and returns its result or raises its exception.

    Raises OSError EAGAIN when there can be no thread.
    """
    result: list[T] = []
    for attempts_left in range(ATTEMPTS - 1, -1, -1):
        try:
            running = Running(lambda: result.append(job()))
        except OSError as error:
            # The one before has ended its job, and is not quite gone.
            if error.errno != errno.EAGAIN or not attempts_left:
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            break
    running.wait()
    return result[0]
