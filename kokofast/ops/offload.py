"""Read the features of interfaces. Imported for files with offload, and where links are replaced."""

from __future__ import annotations

import errno

from kokofast.ends.offload import ALL
from kokofast.wire.ethtool import ETHTOOL, ETHTOOL_MSG_FEATURES_GET
from kokofast.wire.message import KernelError, Request, at_second_attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from kokofast.host.kernel import Handle, Kernel

# An empty header asks for all interfaces.
WANTED = Request(
    ETHTOOL,
    {"cmd": ETHTOOL_MSG_FEATURES_GET, "version": 1},
    {"header": {}},
    only=frozenset(("header", "wanted")),
    accept=at_second_attempt,
)


def settings_of(kernel: Kernel, handle: Handle, interfaces: Collection[int]) -> dict[int, frozenset[str]]:
    """Return the wanted features of each of these interfaces, by ifindex; none where the kernel does not show them.

    Raises KernelError, OSError.
    """
    try:
        messages = kernel.dump_generic(handle, WANTED)
    except KernelError as error:
        if error.errno == errno.EOPNOTSUPP:  # setting them reports this
            return {}
        raise
    found: dict[int, frozenset[str]] = {}
    for message in messages:
        index = message.attributes.get("header", {}).get("dev_index")
        if index in interfaces:
            bits = message.attributes.get("wanted", {}).get("bits", {}).get("bit", ())
            found[index] = frozenset(bit["name"] for bit in bits if "name" in bit).intersection(ALL)
    return found
