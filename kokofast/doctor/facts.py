"""What was found on the machine, and what was concluded from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

State = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Finding:
    """One line of the answer. cure is a command, or a sentence; "" for what is ok."""

    check: str
    state: State
    needed: bool
    fact: str
    cure: str = ""


@dataclass(frozen=True)
class Daemon:
    """A container daemon; problem is why its socket cannot be used, "" if it can, and cause the sort of that."""

    kind: str
    title: str
    problem: str
    needed: bool
    cause: Literal["absent", "denied", "network"] = "absent"


@dataclass(frozen=True)
class Facts:
    """What was found. A limit is None where it is not visible, and where there is none.

    Attributes:
        kernel: Facility -> why the kernel refused it, "" when it works.
        untested: Why the kernel could not be tried; "" when it was.
        capabilities: Those that the process has.
        sandbox: Why a sandbox cannot be made; "" when it was made.
        limits: Name -> value: sysctls by their names, and what engine/examine.py calls otherwise.
        used: Name of a limit -> how much of it is in use.
        to_make: How many the file needs in addition.
        copies: How many mounts the kernel makes for one name.
        private: Whether the names are not those of the machine.
        writable: Directory -> whether this user may write there.
        packages: Package -> (installed version or "", the oldest that works).
        python: The interpreter.
        versions: Of kernel and Python.
    """

    kernel: Mapping[str, str] = field(default_factory=dict)
    untested: str = ""
    capabilities: frozenset[str] = frozenset()
    is_root: bool = True
    sandbox: str = ""
    limits: Mapping[str, int | None] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    to_make: int = 0
    copies: int = 1
    private: bool = False
    writable: Mapping[str, bool] = field(default_factory=dict)
    daemons: tuple[Daemon, ...] = ()
    packages: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    python: str = "python3"
    versions: str = ""
