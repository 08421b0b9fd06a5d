"""How the functions of kokofast.sync block."""

from __future__ import annotations

import functools
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import trio

from kokofast import api
from kokofast.api.calls import check_applied, check_block_options, check_destroyed, note_left

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from kokofast.engine.result import Result
    from kokofast.topology import model

P = ParamSpec("P")
T = TypeVar("T")

session = api.session  # a plain ``with`` blocks


def _refuse_loop(name: str) -> None:
    """Raise RuntimeError in a thread that runs an event loop, which would stand still."""
    running = sys.modules.get("asyncio.events")
    if trio.lowlevel.in_trio_run():
        cure = f"await kokofast.{name}()"
    elif running is not None and running._get_running_loop() is not None:
        cure = f"await asyncio.to_thread(kokofast.sync.{name}, ...)"
    else:
        return
    raise RuntimeError(f"kokofast.sync.{name}() would block the event loop of this thread: {cure}")


def _blocking(function: Callable[P, Awaitable[T]]) -> Callable[P, T]:
    name = function.__name__

    @functools.wraps(function)
    def called(*arguments: P.args, **options: P.kwargs) -> T:
        _refuse_loop(name)
        return trio.run(functools.partial(function, *arguments, **options))

    called.__module__ = "kokofast.sync"
    return called


apply = _blocking(api.apply)
confirm = _blocking(api.confirm)
destroy = _blocking(api.destroy)
draw = _blocking(api.draw)
inspect = _blocking(api.inspect)
verify = _blocking(api.verify)
watch = _blocking(api.watch)


@contextmanager
def deployed(topology: model.Topology, **options: Any) -> Iterator[Result]:
    """Apply the topology, run the block with the result, and destroy the lab: see kokofast.deployed()."""
    check_block_options(options)
    result = apply(topology, **options)
    check_applied(result, keep_going=options.get("keep_going", False))
    try:
        yield result
    except BaseException as error:
        note_left(destroy(topology), error)
        raise
    check_destroyed(destroy(topology))
