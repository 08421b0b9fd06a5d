"""apply(), destroy() and inspect() of the engine, with what a test need not choose: trio's driver, and a kernel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

from kokofast.drivers import Stop
from kokofast.drivers.trio_driver import TrioDriver
from kokofast.engine import apply as _apply
from kokofast.engine import destroy as _destroy
from kokofast.engine import inspect as _inspect
from kokofast.engine.inspect import SeenLink
from kokofast.engine.result import Result
from kokofast.host.kernel import LinuxKernel
from kokofast.topology.model import Topology

if TYPE_CHECKING:
    from kokofast.drivers import Driver
    from kokofast.host.kernel import Kernel


class StopWhen(Stop):
    """A signal that comes when a condition holds."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        super().__init__()
        self.condition = condition

    def came(self) -> bool:
        return bool(self.caught) or self.condition()


async def apply(
    topology: Topology, *, kernel: Kernel | None = None, driver: Driver | None = None, **options: Any
) -> Result:
    with nullcontext(kernel) if kernel is not None else closing(LinuxKernel()) as used:
        return await _apply.apply(topology, driver or TrioDriver(), used, **options)


async def destroy(
    lab: str | None, *, kernel: Kernel | None = None, driver: Driver | None = None, **options: Any
) -> Result:
    with nullcontext(kernel) if kernel is not None else closing(LinuxKernel()) as used:
        return await _destroy.destroy(lab, driver or TrioDriver(), used, **options)


async def inspect(
    lab: str | None = None, *, kernel: Kernel | None = None, driver: Driver | None = None, **options: Any
) -> list[SeenLink]:
    with nullcontext(kernel) if kernel is not None else closing(LinuxKernel()) as used:
        return await _inspect.inspect(lab, driver or TrioDriver(), used, **options)
