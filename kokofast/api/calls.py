"""How the functions of the library run under trio, and what they raise."""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import trio

from kokofast.drivers.warmup import leaves
from kokofast.engine.confirmation import Confirmation
from kokofast.engine.result import APPLIED, PARTIAL, UNCHANGED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from kokofast.engine.result import Result

P = ParamSpec("P")
T = TypeVar("T")


class _RunError(Exception):
    def __init__(self, result: Result) -> None:
        super().__init__("\n".join(map(str, result.errors)) or result.status)
        self.result = result


class ApplyError(_RunError):
    """A topology could not be applied. All was taken back but for what result.left lists.

    Attributes:
        result (Result): Its errors say why.
    """


class DestroyError(_RunError):
    """A lab could not be destroyed completely.

    Attributes:
        result (Result): Its errors say what is left, and why.
    """


def check_block_options(options: Mapping[str, object]) -> None:
    """Raise TypeError for an option of apply() that deployed() cannot take."""
    if "dry_run" in options:
        raise TypeError("kokofast.deployed() takes no dry_run: it makes the lab")


def check_applied(result: Result, *, keep_going: bool) -> None:
    """Raise ApplyError unless the lab works; with keep_going a part of it is enough."""
    if result.status not in (APPLIED, UNCHANGED) and not (result.status == PARTIAL and keep_going):
        raise ApplyError(result)


def check_destroyed(result: Result) -> None:
    """Raise DestroyError if something of the lab is left."""
    if result.errors:
        raise DestroyError(result)


def note_left(result: Result, error: BaseException) -> None:
    """Add what is left of the lab to the exception of the block that used it."""
    if result.errors:
        error.add_note(f"the lab {result.lab} is not destroyed: {DestroyError(result)}")


@contextmanager
def answering(
    lab: str, seconds: float | None, waiting: Callable[[float], object] | None, result: Result
) -> Iterator[Confirmation | None]:
    """Yield the wait of a run, None without seconds. At the end of the block those who have asked get the result."""
    if seconds is None:
        yield None
        return
    confirmation = Confirmation(lab, seconds, waiting if waiting is not None else lambda _: None)
    try:
        yield confirmation
    except BaseException as error:
        confirmation.answer(result, f"ended by {type(error).__name__}")
        raise
    confirmation.answer(result)


def public(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Raise plain exceptions in place of trio's groups of one, and a clear RuntimeError outside of trio.

    A KeyboardInterrupt cancels the run. It is raised when the rollback has ended, however often Ctrl-C comes.
    """

    @functools.wraps(function)
    async def called(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            trio.lowlevel.current_trio_token()
        except RuntimeError:
            name = f"kokofast.{function.__name__}"
            raise RuntimeError(
                f"{name}() needs trio: trio.run({name}, ...), or from asyncio "
                f"await asyncio.to_thread(trio.run, {name}, ...)"
            ) from None
        answers: list[T] = []

        @trio.lowlevel.enable_ki_protection
        async def run() -> None:
            answers.append(await function(*arguments, **options))

        try:
            # trio delivers Ctrl-C to the main task, also in a shielded scope: so the run is a task of its own.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
        except BaseExceptionGroup as group:
            found = list(leaves(group))
            interrupts = [error for error in found if isinstance(error, KeyboardInterrupt)]
            if interrupts or len(found) == 1:
                raise (interrupts or found)[0] from None
            raise
        return answers[0]

    return called
