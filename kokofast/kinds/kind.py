"""What the other rooms may ask of a link kind."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kokofast.kinds.fields import Field
    from kokofast.topology.model import Link

    # (the link, the attributes common to every kind for each of its ends) -> the attributes of one RTM_NEWLINK
    CreateFunction = Callable[[Link, tuple[dict[str, object], ...]], Mapping[str, object]]


class Kind:
    """A link kind: its name (also IFLA_INFO_KIND), how many ends it has, its own fields, its limits, its request.

    mtu is (minimum, maximum) in bytes, as the kernel's driver sets dev->min_mtu and dev->max_mtu.
    """

    __slots__ = ("create", "ends", "fields", "mtu", "name")

    def __init__(
        self, name: str, *, ends: int, fields: tuple[Field, ...], mtu: tuple[int, int], create: CreateFunction
    ) -> None:
        self.name = name
        self.ends = ends
        self.fields = fields
        self.mtu = mtu
        self.create = create
