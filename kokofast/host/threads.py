"""A thread of one's own, for work that leaves the thread in another network namespace.

Pools (trio's too) reuse threads, last in first out: a job that changed its namespace and could not change it back
would poison the next, unrelated job. A thread that ends after the job cannot.

Here and in kernel.py: _thread and not threading, which costs koko's command line more than the thread itself does.
"""

from __future__ import annotations

import _thread
import errno
import time
from _weakref import ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


ATTEMPTS = 20
PAUSE_SECONDS = 0.005

# How long until somebody who waits for a thread notices that it died without a word.
LOST_SECONDS = 1.0

# pthread_create(3) has no memory for a stack, or the kernel has no more threads.
NO_THREAD = (errno.EAGAIN, errno.ENOMEM)


def no_thread(error: RuntimeError | MemoryError) -> OSError:
    """What pthread_create(3) means when Python says "can't start new thread"; raises what is another defect."""
    from kokofast.host.limits import no_room

    if isinstance(error, RuntimeError) and "new thread" not in str(error):
        raise error
    shortage = no_room(_thread.stack_size())
    if shortage is not None or isinstance(error, MemoryError):
        return OSError(errno.ENOMEM, f"there is no memory for one more thread{shortage or ''}, or use fewer --jobs")
    return OSError(
        errno.EAGAIN,
        "no more threads may be started: the limit on processes (ulimit -u), that of the cgroup (pids.max) or of the "
        "machine (sysctl kernel.threads-max, kernel.pid_max) is reached; raise it, or use fewer --jobs",
    )


class Running:
    """A job in a thread of its own, which begins at once. Raises OSError EAGAIN or ENOMEM when there can be no thread.

    ident is the thread's, as pthread_kill(3) takes it. then() is called in the thread when the job has ended; it may
    fail, and is not called when the thread dies."""

    def __init__(self, job: Callable[[], object], then: Callable[[], object] | None = None) -> None:
        self.has_begun = False
        self._job = job
        self._then = then
        self._failure: BaseException | None = None
        self._ended = _thread.allocate_lock()
        self._ended.acquire()
        body = self._body
        # Without memory a thread dies before it has run a line of Python, or in any line after it. The interpreter
        # holds this very object as long as the thread lives.
        self._thread = ref(body)
        try:
            self.ident = _thread.start_new_thread(body, ())
        except (RuntimeError, MemoryError) as error:
            raise no_thread(error) from error

    def _body(self) -> None:
        try:
            self.has_begun = True
            self._job()
        except BaseException as error:
            self._failure = error
        finally:
            self._ended.release()
        if self._then is not None:
            try:  # noqa: SIM105 - see above: no contextlib
                self._then()
            except BaseException:  # who waits looks for himself once in a while
                pass

    def has_ended(self) -> bool:
        """Whether wait() would return at once."""
        return not self._ended.locked() or self._thread() is None

    def wait(self) -> None:
        """Returns when the job has ended; raises the exception that it ended with. Of a thread that died: OSError
        ENOMEM when the job has not begun, MemoryError when what it has done is not known."""
        while not self._ended.acquire(timeout=LOST_SECONDS):
            if self._thread() is None and not self._ended.acquire(blocking=False):
                if not self.has_begun:
                    raise OSError(errno.ENOMEM, "there is no memory for one more thread")
                raise MemoryError("a thread died")
        self._ended.release()
        if self._failure is not None:
            raise self._failure


def in_own_thread(job: Callable[[], T]) -> T:
    """Runs job in a new thread, waits for it, and returns its result or raises its exception.

    Raises OSError EAGAIN or ENOMEM when there can be no thread.
    """
    result: list[T] = []
    for attempts_left in range(ATTEMPTS - 1, -1, -1):
        try:
            running = Running(lambda: result.append(job()))
        except OSError as error:
            # The one before has ended its job, and is not quite gone.
            if error.errno not in NO_THREAD or not attempts_left:
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            break
    running.wait()
    return result[0]
