"""Link kinds: one module each declares the fields of a link, and turns them into netlink attributes. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.kinds.kind import Kind

    Base = dict[str, Kind]
else:
    Base = dict

# One word a kind: this is where a kind is registered. Its module has its name, and a KIND.
NAMES = ("veth", "vxlan", "vlan", "macvlan", "ipvlan", "dummy", "bridge")


class Kinds(Base):
    """The kinds by name. A kind's module is imported when the kind is asked for: a single link needs one of them."""

    def __getitem__(self, name: str) -> Kind:
        kind = dict.__getitem__(self, name)
        if kind is None:
            kind = self[name] = __import__(f"kokofast.kinds.{name}", fromlist=("KIND",)).KIND
        return kind

    def get(self, name: str, default: Kind | None = None) -> Kind | None:  # type: ignore[override]
        """Return the kind of a name, or the default."""
        return self[name] if name in self else default  # noqa: SIM401 - this is get

    def values(self) -> list[Kind]:  # type: ignore[override]
        """Return the kinds."""
        return [self[name] for name in self]


KINDS = Kinds(dict.fromkeys(NAMES))  # type: ignore[arg-type]
