"""Names of interfaces that the kernel takes, for those of network systems: GigabitEthernet0/0/1 becomes Gi0-0-1."""

from __future__ import annotations

import re
import zlib

from kokofast.topology.values import IFNAME_BYTES, check_ifname

ALTNAME_BYTES = 127  # ALTIFNAMSIZ in include/uapi/linux/if.h, without its NUL
_UNWANTED = re.compile(r"[\s/:%\xa0]+")
_WORD = re.compile(r"([A-Za-z]{2})[A-Za-z-]*[-_ ]?(?=[0-9])")


class InterfaceNames:
    """The names that are taken in each node."""

    def __init__(self) -> None:
        self._taken: dict[str, dict[str, str]] = {}  # node -> name -> what it is the name of

    def take(self, node: str, name: str) -> None:
        """Take a name that the kernel takes as it is. All of these come before the others."""
        self._taken.setdefault(node, {})[name] = name

    def name(self, node: str, wanted: str, suggested: str | None = None) -> tuple[str, list[str]]:
        """Return the name of an interface of a node, and its alternative names.

        It is the same in each run, and whatever is the name of another interface is not taken.
        """
        if is_name(wanted):
            return wanted, []
        plain = "".join(char for char in _UNWANTED.sub("-", wanted) if char.isprintable())
        taken = self._taken.setdefault(node, {})
        checksum = f"{zlib.crc32(wanted.encode(errors='replace')):08x}"
        candidates = [
            suggested or plain,
            _WORD.sub(r"\1", plain[:ALTNAME_BYTES], count=1),
            f"{plain[:6]}-{checksum}",
            f"if-{checksum}",
        ]
        for name in candidates:
            if is_name(name) and taken.setdefault(name, wanted) == wanted:
                has_alternative = 0 < len(plain.encode()) <= ALTNAME_BYTES and plain not in (name, ".", "..")
                return name, [plain] if has_alternative and taken.setdefault(plain, wanted) == wanted else []
        return wanted, []  # the ordinary checks refuse it


def is_name(name: str) -> bool:
    """Whether the kernel takes the name."""
    if len(name) > IFNAME_BYTES:
        return False
    try:
        return bool(check_ifname(name))
    except ValueError:
        return False
