"""How the commands that only look at the kernel run: without an event loop, until a signal comes."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from kokofast.cli.command import FAILED, CommandError
from kokofast.cli.output import print_error, sentence_of
from kokofast.cli.signals import HeldSignals, end_at_next_signal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from typing import Any

    from kokofast.drivers.inline import InlineDriver
    from kokofast.host.kernel import Kernel

    T = TypeVar("T")


def look(job: Callable[[InlineDriver, Kernel], Coroutine[Any, Any, T]]) -> T:
    """Return what a job finds. Raises CommandError."""
    from kokofast.drivers import Stopped
    from kokofast.drivers.inline import InlineDriver, drive
    from kokofast.host.kernel import kernel_for
    from kokofast.host.namespaces import count_named
    from kokofast.topology.collector import collector_paused

    try:
        with (
            closing(kernel_for(count_named())) as kernel,
            HeldSignals() as signals,
            collector_paused(),  # it would look at each interface again and again
        ):
            found = drive(job(InlineDriver(signals), kernel))
    except Stopped:
        raise CommandError(FAILED, f"interrupted by {signals.name}") from None
    except OSError as error:
        raise CommandError(FAILED, sentence_of(error)) from error
    end_at_next_signal()
    if signals.caught:
        raise CommandError(FAILED, f"interrupted by {signals.name}")
    return found


def print_unseen(notes: Iterable[str], unseen: Mapping[str, OSError]) -> None:
    """Print notes, and which namespaces could not be looked into."""
    for note in notes:
        print_error(f"kokofast: {note}")
    for title, why in unseen.items():
        print_error(f"kokofast: {title}: the namespace cannot be looked into: {why.strerror or why}")
