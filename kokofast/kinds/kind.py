"""What the other rooms may ask of a link kind."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from kokofast.kinds.fields import Field
    from kokofast.topology.model import Link

    # (the link, the attributes common to every kind for each of its ends, the ifindex of its parent, a typed
    # reference, or None) -> the attributes of one RTM_NEWLINK
    CreateFunction = Callable[[Link, tuple[dict[str, object], ...], object], Mapping[str, object]]


def no_overhead(link: Link) -> int:
    """A link whose packets are as large as its parent's."""
    return 0


def always(options: Mapping[str, object]) -> bool:
    """A kind whose interfaces all have MAC addresses of their own."""
    return True


def no_contradiction(link: Link) -> tuple[str, str] | None:
    """A link whose own fields all go together."""
    return None


# ETH_MIN_MTU and ETH_MAX_MTU in include/uapi/linux/if_ether.h: the limits that most drivers set, in bytes.
ETHERNET_MTU = (68, 65535)

# What links may have in common that keeps them apart: their parent, or the namespace of their parents.
PARENT, NAMESPACE = "parent", "namespace"


class Rivalry:
    """Which links of a file the kernel does not take beside each other. of(link) is (PARENT or NAMESPACE, key, sort):
    of links that have the first two in common all must be of one sort, and that not None. field is the one to name in
    the second link, rule a sentence."""

    __slots__ = ("field", "of", "rule")

    def __init__(self, field: str, rule: str, of: Callable[[Link], tuple[str, Hashable, Hashable | None]]) -> None:
        self.field = field
        self.rule = rule
        self.of = of


def no_limit(link: Link, code: int) -> str:
    """A kind whose errnos, as an interface of it is set up, stand for no limit."""
    return ""


def never(data: Mapping[str, object]) -> bool:
    """A kind whose interfaces on one parent do not reach each other."""
    return False


def no_cause(link: Link, code: int) -> str:
    """A kind whose refused creations need no explanation."""
    return ""


class Kind:
    """A link kind: its name (also IFLA_INFO_KIND), how many ends it has, its own fields, its limits, its request.

    mtu is (minimum, maximum) in bytes, as the kernel's driver sets dev->min_mtu and dev->max_mtu. overhead(link) says
    how much smaller than its parent's the MTU of a link must be. own_mac(options) tells whether an interface has a MAC
    address of its own, random_mac whether the kernel would choose one by chance; shares_parent whether one that is made
    on another of its kind gets that one's parent. tag has the attributes of the kind's data that tell its packets on
    the parent from those of others, empty for one whose packets are the parent's own; reaches_siblings(data) tells
    whether what an interface sends comes to others on its parent. limit(link, errno) is a sentence on the limit that
    setting it up has met, empty where it is none. module is the kernel's name of the driver; field_of(attribute) the
    name of the field that became an attribute, fields_of(data) the fields that the kernel shows. numbers has the
    kernel's number of each word of a choice. alone(data) tells whether an interface takes its parent for itself,
    cause(link, errno) is a sentence on why the kernel may have refused to make one, empty where it says so itself.
    contradiction(link) is (field, sentence) where two of its fields do not go together, rivalry tells which other links
    it does not go together with. article is what English puts before the name.
    """

    __slots__ = (
        "alone",
        "cause",
        "contradiction",
        "create",
        "ends",
        "fields",
        "limit",
        "module",
        "mtu",
        "name",
        "names",
        "numbers",
        "overhead",
        "own_mac",
        "random_mac",
        "reaches_siblings",
        "rivalry",
        "shares_parent",
        "tag",
    )

    def __init__(
        self,
        name: str,
        *,
        ends: int,
        fields: tuple[Field, ...],
        mtu: tuple[int, int],
        create: CreateFunction,
        overhead: Callable[[Link], int] = no_overhead,
        limit: Callable[[Link, int], str] = no_limit,
        contradiction: Callable[[Link], tuple[str, str] | None] = no_contradiction,
        rivalry: Rivalry | None = None,
        own_mac: Callable[[Mapping[str, object]], bool] = always,
        random_mac: bool = False,
        shares_parent: bool = False,
        tag: tuple[str, ...] = (),
        reaches_siblings: Callable[[Mapping[str, object]], bool] = never,
        alone: Callable[[Mapping[str, object]], bool] = never,
        cause: Callable[[Link, int], str] = no_cause,
        module: str = "",
        names: Mapping[str, str] | None = None,
        numbers: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self.name = name
        self.ends = ends
        self.fields = fields
        self.mtu = mtu
        self.create = create
        self.overhead = overhead
        self.limit = limit
        self.contradiction = contradiction
        self.rivalry = rivalry
        self.own_mac = own_mac
        self.random_mac = random_mac
        self.shares_parent = shares_parent
        self.tag = tag
        self.reaches_siblings = reaches_siblings
        self.alone = alone
        self.cause = cause
        self.module = module or name
        self.numbers: Mapping[str, Mapping[str, int]] = numbers if numbers is not None else {}
        self.names: Mapping[str, str] = names if names is not None else {}

    @property
    def article(self) -> str:
        """a or an."""
        return "an" if self.name[0] in "aeiou" else "a"

    def field_of(self, attribute: str) -> str:
        """The field whose value an attribute of the link's own data holds; most bear its name."""
        return self.names.get(attribute, "parent" if attribute == "link" else attribute)

    def fields_of(self, data: Mapping[str, object]) -> dict[str, object]:
        """The fields that the kernel shows of a link (IFLA_INFO_DATA), as a file has them; not its parent."""
        found: dict[str, object] = {}
        for attribute, value in data.items():
            field = next((one for one in self.fields if one.name == self.field_of(attribute)), None)
            if field is None or field.name == "parent":
                continue
            if field.type == "choice":
                words = (word for word, number in self.numbers[field.name].items() if number == value)
                found[field.name] = next(words, value)
            elif field.type == "bool":
                found[field.name] = bool(value)
            elif not isinstance(value, bytes):
                found[field.name] = value
            elif any(value):
                from ipaddress import ip_address  # only who shows one pays for it

                found[field.name] = str(ip_address(value))
        return {field.name: found[field.name] for field in self.fields if field.name in found}
