"""The interface of a link kind to the other packages."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from kokofast.kinds.fields import Field
    from kokofast.topology.model import Link

    Meeting = tuple[tuple[object, ...], str | None]  # where, and who: see Kind
    # (the link, the attributes common to every kind for each of its ends, the ifindex of its parent, a typed
    # reference, or None) -> the attributes of one RTM_NEWLINK
    CreateFunction = Callable[[Link, tuple[dict[str, object], ...], object], Mapping[str, object]]


def no_overhead(link: Link) -> int:
    """Return 0: its packets are as large as its parent's."""
    return 0


def always(options: Mapping[str, object]) -> bool:
    """Return True: all its interfaces have MAC addresses of their own."""
    return True


def no_contradiction(link: Link) -> tuple[str, str] | None:
    """Return None: its fields never contradict each other."""
    return None


# ETH_MIN_MTU and ETH_MAX_MTU in include/uapi/linux/if_ether.h: the limits that most drivers set, in bytes.
ETHERNET_MTU = (68, 65535)
DEFAULT_MTU = 1500  # ETH_DATA_LEN, what ether_setup() gives
IPV6_MIN_MTU = 1280  # include/uapi/linux/ipv6.h: an interface with less has no IPv6

# Scopes of a Rivalry: links of one parent, or links whose parents are in one namespace.
PARENT, NAMESPACE = "parent", "namespace"


class Rivalry:
    """Links of a file that exclude each other in the kernel.

    Args:
        field: The field to name in the error of the second link.
        rule: A sentence for that error.
        of: Returns (PARENT or NAMESPACE, key, sort) of a link. All links that share that parent or namespace and have
            the same key must have the same sort, and a sort of None tolerates no other.
    """

    __slots__ = ("field", "of", "rule")

    def __init__(self, field: str, rule: str, of: Callable[[Link], tuple[str, Hashable, Hashable | None]]) -> None:
        self.field = field
        self.rule = rule
        self.of = of


class Between:
    """How links of a kind connect two hosts: one on each, on the interfaces between them.

    Args:
        number: The field that tells such links apart, the same on both hosts; "" for none.
        lowest: The first number that is chosen by itself.
        remote: The field for the other host's address; "" for none.
        local: The field for the own host's address; "" for none.
        own: Further fields that the file may give.
        choices: Of fields that may not have all their values there.
        neutral: The values of fields that have no default, for files whose defaults have others.
    """

    __slots__ = ("choices", "local", "lowest", "neutral", "number", "own", "remote")

    def __init__(
        self,
        *,
        number: str = "",
        lowest: int = 0,
        remote: str = "",
        local: str = "",
        own: tuple[str, ...] = (),
        choices: Mapping[str, tuple[str, ...]] | None = None,
        neutral: Mapping[str, object] | None = None,
    ) -> None:
        self.number = number
        self.lowest = lowest
        self.remote = remote
        self.local = local
        self.own = own
        self.choices: Mapping[str, tuple[str, ...]] = choices if choices is not None else {}
        self.neutral: Mapping[str, object] = neutral if neutral is not None else {}


def no_limit(link: Link, code: int) -> str:
    """Return "": none of its errnos means a limit."""
    return ""


def never(data: Mapping[str, object]) -> bool:
    """Return False: its interfaces on one parent do not reach each other."""
    return False


def nowhere(fields: Mapping[str, object]) -> Meeting | None:
    """Return None: nothing tells which other interfaces of the machine it reaches."""
    return None


def no_cause(link: Link, code: int) -> str:
    """Return "": the kernel's errors need no explanation."""
    return ""


class Kind:
    """A link kind: its name, its ends, its fields, its limits, its request.

    ``options`` below are the values of its fields, ``data`` is IFLA_INFO_DATA as the kernel shows it.

    Args:
        name: The type in the file, and IFLA_INFO_KIND.
        ends: How many: 1, or 2.
        fields: Its own fields, beside those of every end.
        mtu: (minimum, maximum) in bytes: the driver's dev->min_mtu and dev->max_mtu.
        create: Returns the attributes of its RTM_NEWLINK.
        overhead: By how many bytes its MTU must be smaller than its parent's.
        limit: (link, errno) -> a sentence on the limit that was reached when an interface was set up; "" for none.
        contradiction: (link) -> (field, sentence) when two of its fields contradict each other; None otherwise.
        rivalry: Which other links exclude it.
        own_mac: (options) -> whether an interface has a MAC address of its own.
        random_mac: Whether the kernel chooses that address at random.
        follows_ports: Whether the MTU at creation is replaced by that of its ports, so that it has to be set again.
        shares_parent: Whether an interface made on another one of this kind gets that one's parent.
        tag: The attributes of data that tell its packets on the parent from others; empty when they are the parent's
            own packets.
        reaches_siblings: (data) -> whether its packets reach other interfaces on its parent.
        meeting: (fields of an interface) -> where it meets others of the machine that it reaches, and who it is there:
            None for one of many, else another one with the same text would be in its place. None where it meets nobody.
        alone: (data) -> whether it tolerates no other interface on its parent.
        cause: (link, errno) -> why the kernel may have refused to create it; "" where the kernel says so itself.
        module: The kernel module of the driver; its name by default.
        names: Attribute -> field, where the names differ.
        several: Fields that may be a list, which is then set and compared as the property of its end with that name.
        numbers: Field -> word -> the kernel's number, of each field that is a choice.
        between: How it connects two hosts; None if it does not.
    """

    __slots__ = (
        "alone",
        "between",
        "cause",
        "contradiction",
        "create",
        "ends",
        "fields",
        "follows_ports",
        "limit",
        "meeting",
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
        "several",
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
        follows_ports: bool = False,
        shares_parent: bool = False,
        tag: tuple[str, ...] = (),
        reaches_siblings: Callable[[Mapping[str, object]], bool] = never,
        meeting: Callable[[Mapping[str, object]], Meeting | None] = nowhere,
        alone: Callable[[Mapping[str, object]], bool] = never,
        cause: Callable[[Link, int], str] = no_cause,
        module: str = "",
        names: Mapping[str, str] | None = None,
        several: tuple[str, ...] = (),
        numbers: Mapping[str, Mapping[str, int]] | None = None,
        between: Between | None = None,
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
        self.follows_ports = follows_ports
        self.shares_parent = shares_parent
        self.tag = tag
        self.reaches_siblings = reaches_siblings
        self.meeting = meeting
        self.alone = alone
        self.cause = cause
        self.module = module or name
        self.several = several
        self.between = between
        self.numbers: Mapping[str, Mapping[str, int]] = numbers if numbers is not None else {}
        self.names: Mapping[str, str] = names if names is not None else {}

    @property
    def article(self) -> str:
        """The word for messages: "a" or "an"."""
        return "an" if self.name[0] in "aeiou" else "a"

    def field_of(self, attribute: str) -> str:
        """Return the name of the field that became an attribute of data; most have the same name."""
        return self.names.get(attribute, "parent" if attribute == "link" else attribute)

    def fields_of(self, data: Mapping[str, object]) -> dict[str, object]:
        """Return the fields that data shows, as a file has them, without the parent."""
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
                from ipaddress import ip_address  # slow to import, rarely needed

                found[field.name] = str(ip_address(value))
        return {field.name: found[field.name] for field in self.fields if field.name in found}
