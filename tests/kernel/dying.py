"""kokofast's command line that ends by SIGKILL at its n-th change: ``python -m tests.kernel.dying N ARGUMENTS``.

For a kill that the clock rarely hits: with one processor a batch may be over before anyone can look.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kokofast.__main__ import main
from kokofast.host import namespaces, pool
from kokofast.host.netlink import Socket
from kokofast.wire.debug import TYPES

if TYPE_CHECKING:
    from kokofast.wire.attributes import Resolve
    from kokofast.wire.message import KernelError, Request


def is_change(request: Request) -> bool:
    return not TYPES.get(request.type, "").startswith("RTM_GET")


class DyingSocket(Socket):
    __slots__ = ()
    left = 0  # changes that all sockets together may send

    def send(
        self, requests: Sequence[Request], resolve: Resolve | None = None, *, whole: bool = False
    ) -> list[KernelError | None]:
        changes = sum(map(is_change, requests))
        if changes < DyingSocket.left:
            DyingSocket.left -= changes
            return super().send(requests, resolve, whole=whole)
        if not whole:  # what goes by one send(2) is carried out wholly or not at all
            super().send(requests[: DyingSocket.left], resolve)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("nothing comes after SIGKILL")


if __name__ == "__main__":
    DyingSocket.left = int(sys.argv.pop(1))
    for module in (namespaces, pool):
        module.Socket = DyingSocket  # type: ignore[attr-defined]
    main()
