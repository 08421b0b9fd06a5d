"""New threads for single jobs, which may leave the thread in another network namespace.

Thread pools (also trio's) reuse threads: after a job that cannot change its namespace back, the next job would run in
the wrong one.

It uses _thread, because importing threading would slow down koko's command line.
"""

from __future__ import annotations

import _thread
import errno
import time
from _weakref import ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    Item = TypeVar("Item")
    T = TypeVar("T")


ATTEMPTS = 20
PAUSE_SECONDS = 0.005

# How often a waiter checks that its thread is still alive.
LOST_SECONDS = 1.0

# What CPython says in a SystemError when it had no memory for the exception itself (ceval.c, call.c).
LOST_EXCEPTIONS = ("error return without exception set", "returned NULL without setting an exception")

# pthread_create(3): no memory for a stack, or a limit on threads is reached.
NO_THREAD = (errno.EAGAIN, errno.ENOMEM)


def no_thread(error: RuntimeError | MemoryError) -> OSError:
    """Return what pthread_create(3) meant when Python says "can't start new thread"; raise any other error."""
    from kokofast.host.limits import no_room

    if isinstance(error, RuntimeError) and "new thread" not in str(error):
        raise error
    shortage = no_room(_thread.stack_size())
    if shortage is not None or isinstance(error, MemoryError):
        return OSError(errno.ENOMEM, f"no memory for one more thread{shortage or ''}, or use fewer --jobs")
    return OSError(
        errno.EAGAIN,
        "no more threads may be started: the limit on processes (ulimit -u), that of the cgroup (pids.max) or of the "
        "machine (sysctl kernel.threads-max, kernel.pid_max) is reached; raise it, or use fewer --jobs",
    )


def is_lost_exception(error: BaseException | None) -> bool:
    """Return whether an error stands for another one that the interpreter has lost for want of memory."""
    return isinstance(error, SystemError) and any(words in str(error) for words in LOST_EXCEPTIONS)


class BackgroundThread:
    """A job in a new thread, started at once. Raises OSError EAGAIN or ENOMEM when no thread can be started.

    ident is the thread's, for pthread_kill(3). then() is called in the thread after the job, but not when the thread
    dies; its exceptions are ignored.
    """

    def __init__(self, job: Callable[[], object], then: Callable[[], object] | None = None) -> None:
        self.has_begun = False
        self._job = job
        self._then = then
        self._failure: BaseException | None = None
        self._ended = _thread.allocate_lock()
        self._ended.acquire()
        body = self._body
        # Without memory a thread can die anywhere, even before its first line of Python. The interpreter holds this
        # object as long as the thread lives.
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
            except BaseException:  # the waiter checks by itself every LOST_SECONDS
                pass

    def has_ended(self) -> bool:
        """Whether wait() would return at once."""
        return not self._ended.locked() or self._thread() is None

    def wait(self) -> None:
        """Wait for the end of the job, and raise its exception.

        If the thread has died, raise OSError ENOMEM when the job has not begun, MemoryError when it is not known what
        the job has done. An exception that the interpreter has lost is a MemoryError: see is_lost_exception().
        """
        while not self._ended.acquire(timeout=LOST_SECONDS):
            if self._thread() is None and not self._ended.acquire(blocking=False):
                if not self.has_begun:
                    raise OSError(errno.ENOMEM, "no memory for one more thread")
                raise MemoryError("a thread died")
        self._ended.release()
        if is_lost_exception(self._failure):
            raise MemoryError(str(self._failure)) from self._failure
        if self._failure is not None:
            raise self._failure


def in_own_thread(job: Callable[[], T]) -> T:
    """Run job in a new thread, wait for it, and return its result or raise its exception.

    Raises OSError EAGAIN or ENOMEM when no thread can be started.
    """
    result: list[T] = []
    for attempts_left in range(ATTEMPTS - 1, -1, -1):
        try:
            running = BackgroundThread(lambda: result.append(job()))
        except OSError as error:
            # The thread before has ended its job, but may still count as a thread.
            if error.errno not in NO_THREAD or not attempts_left:
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            break
    running.wait()
    return result[0]


def in_threads(job: Callable[[Item], T], items: Sequence[Item], threads: int) -> list[T]:
    """Return job(item) of each item, in order, by up to so many threads at a time, of which the caller is one.

    For jobs that wait. Where no thread can be started the others do the work. Raises what a job raises, once all
    threads have ended.
    """
    left = list(range(len(items) - 1, -1, -1))
    results: dict[int, T] = {}

    def work() -> None:
        while left:
            try:
                number = left.pop()
            except IndexError:  # another thread was faster
                return
            results[number] = job(items[number])

    helpers: list[BackgroundThread] = []
    try:
        while len(helpers) < min(threads, len(items)) - 1:
            helpers.append(BackgroundThread(work))
    except (OSError, MemoryError):  # no more threads
        pass
    failure: BaseException | None = None
    for wait in (work, *(helper.wait for helper in helpers)):
        try:
            wait()
        except BaseException as error:
            failure = failure or error
    # A thread that died before it began has taken nothing: then all is done in spite of it.
    if failure is not None and len(results) < len(items):
        raise failure
    return [results[number] for number in range(len(items))]
