"""altnames: more names by which the end can be found (Linux 5.5). Source: rtnl_linkprop() in net/core/rtnetlink.c."""

from __future__ import annotations

from kokofast.ends.property import Property
from kokofast.kinds.fields import Field
from kokofast.wire.link import RTM_DELLINKPROP, RTM_NEWLINKPROP
from kokofast.wire.message import NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kokofast.ends.property import View
    from kokofast.topology.model import End, Link

    Names = tuple[str, ...]

NAME_BYTES = 127  # ALTIFNAMSIZ in include/uapi/linux/if.h, without its NUL
NAMES = 32  # every dump of the namespace has all of them


def check(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (path below the field, sentence) for each bad name."""
    if len(names) > NAMES:
        yield "", f"{len(names):,} alternative names, the limit is {NAMES}"
        return
    for number, name in enumerate(names):
        size = len(name.encode(errors="replace"))
        if not name:
            yield f"[{number}]", "the alternative name is empty"
        elif size > NAME_BYTES:
            yield f"[{number}]", f"the alternative name has {size:,} bytes, the limit is {NAME_BYTES}"
        elif name in (".", "..") or not name.isprintable() or any(one in "/:%" or one.isspace() for one in name):
            yield f"[{number}]", f"{name!r} is no name: it has '/', ':', '%' or white space in it, or is '.' or '..'"
        elif name in names[:number]:
            yield f"[{number}]", f"the alternative name {name!r} is given twice"


class Altnames(Property):
    """A setting has all alternative names of the end, sorted."""

    field = Field("altnames", "texts", "alternative names of the end, all of them", check=check)
    nothing = ()

    def names(self, value: Sequence[str]) -> Names:
        """Return them."""
        return tuple(value)

    def problems(self, link: Link, end: End, value: Sequence[str], view: View) -> Iterator[tuple[str, str]]:
        """Report names that another interface has: a namespace has each name once."""
        for number, name in enumerate(value):
            owner = view.owner_of(name)
            if name == end.ifname:
                yield f"altnames[{number}]", f"{name} is its own name; leave it out"
            elif owner == name:
                yield f"altnames[{number}]", f"there is an interface {name} in {end.node}; choose another name"
            elif owner is not None:
                cure = f"choose another one, or remove it there (ip link property del dev {owner} altname {name})"
                yield f"altnames[{number}]", f"{name} is an alternative name of {owner}; {cure}"

    def present(self, shown: Mapping[str, Sequence[str]] | None) -> Names:
        """Return the names."""
        return tuple(sorted((shown or {}).get("alt_ifname", ())))

    def wanted(self, value: Sequence[str], view: View) -> Names:
        """Return the names."""
        return tuple(sorted(value))

    def requests(self, index: object, new: Names, before: Names) -> list[Request]:
        """Return one message for each name: the kernel keeps what it did before a refused one."""
        flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND
        removed = [(RTM_DELLINKPROP, name, 0) for name in before if name not in new]
        added = [(RTM_NEWLINKPROP, name, flags) for name in new if name not in before]
        return [
            Request(type, {"index": index}, {"prop_list": {"alt_ifname": [name]}}, flags)
            for type, name, flags in (*removed, *added)
        ]

    def shown(self, setting: Names, name_of: Callable[[object], str]) -> list[str]:
        """Return the names."""
        return list(setting)


PROPERTY = Altnames()
