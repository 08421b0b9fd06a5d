"""The marks of our interfaces, filters and namespaces. The kernel is the only state store.

An interface of a lab has, from its creation on, the lab's group number (IFLA_GROUP) and a mark computed from random
bits, the place of the interface and the lab's name. The mark is its MAC address where the kernel would choose a random
one, otherwise its link-layer broadcast address. The next message sets the alias ``kokofast:LAB:r1:eth1--r2:eth1``,
which the kernel does not accept at creation, and the usual broadcast address. So an interface is ours when its group is
the lab's AND (its alias names the lab, OR it has no alias yet and the mark that we compute). A group number alone
proves nothing: anyone may use it. A namespace of ours has the alias ``kokofast:LAB:namespace`` on its loopback, set
before it has a name.
"""

from __future__ import annotations

import zlib

try:  # hashlib would load OpenSSL, which takes longer than a link
    from _blake2 import blake2s
except ImportError:  # an interpreter built without it
    from hashlib import blake2s

from kokofast.topology.model import AF_INET6, Address
from kokofast.topology.values import check_lab_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.plan.observed import Interface, Namespace
    from kokofast.topology.model import Link

    # Where an interface is made: the boot (/proc/sys/kernel/random/boot_id), the namespace, the group, the ifindex.
    Place = tuple[str, tuple[int, int], int, int]

ALIAS_PREFIX = "kokofast:"
NAMESPACE_SUFFIX = "namespace"
MAX_ALIAS = 254  # ifla_policy takes 255 bytes (IFALIASZ - 1), and the NUL that we write counts

# The upper byte of our group numbers: those of users are small.
GROUP_PREFIX = 0x4B  # "K"
# Added to the group of interfaces while they are being deleted, where others of their lab stay.
APART = 1 << 31

BROADCAST = b"\xff" * 6  # Ethernet's own

NUMBER_SIZE = 2
_MARK_SIZE = 3


def group_of(lab: str) -> int:
    """Return the lab's IFLA_GROUP, 31 bits with GROUP_PREFIX. Labs may share one: the alias tells them apart."""
    return GROUP_PREFIX << 24 | zlib.crc32(lab.encode()) & 0xFFFFFF


def is_our_group(group: int) -> bool:
    """Whether a group number has GROUP_PREFIX."""
    return (group & ~APART) >> 24 == GROUP_PREFIX


def alias_of(lab: str, link: Link) -> str:
    """Return the alias of both ends of a link, readable in ``ip link``; with a digest if it would be too long."""
    alias = f"{ALIAS_PREFIX}{lab}:{link.title()}"
    if len(alias.encode("utf-8", "surrogateescape")) <= MAX_ALIAS and alias.isprintable():
        return alias
    digest = blake2s(alias.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return f"{ALIAS_PREFIX}{lab}:#{digest}"


def namespace_alias(lab: str) -> str:
    """Return the alias of the loopback in a namespace that the lab made; also the claim in its file."""
    return f"{ALIAS_PREFIX}{lab}:{NAMESPACE_SUFFIX}"


def lab_of_alias(alias: str) -> str | None:
    """Return the lab that an alias names; None for an alias that is not ours."""
    if not alias.startswith(ALIAS_PREFIX):
        return None
    lab, colon, _ = alias[len(ALIAS_PREFIX) :].partition(":")
    return lab if colon and (lab in _known_labs or _is_lab_name(lab)) else None


_known_labs: set[str] = set()  # valid names in the aliases so far, mostly one
KNOWN_LABS_MAX = 1000


def _is_lab_name(lab: str) -> bool:
    # Anybody with CAP_NET_ADMIN in a namespace can set an alias, and its lab is printed, also in commands to run.
    try:
        check_lab_name(lab)
    except ValueError:
        return False
    if len(_known_labs) < KNOWN_LABS_MAX:
        _known_labs.add(lab)
    return True


def ends_of_alias(alias: str, ends: int) -> list[tuple[tuple[str, str], ...]]:
    """Return all readings of an alias as the ends of a link, (node, interface) each; none if it has a digest.

    There may be several: names of nodes may contain the separators.
    """
    title = alias[len(ALIAS_PREFIX) :].partition(":")[2]
    parts = title.split("--")
    ways = [("--".join(parts[:n]), "--".join(parts[n:])) for n in range(1, len(parts))] if ends == 2 else [(title,)]
    sides = (tuple((side.rpartition(":")[0], side.rpartition(":")[2]) for side in way) for way in ways)
    return [way for way in sides if all(node and ifname for node, ifname in way)]


def number_of(lab: str) -> int:
    """Return a second hash of the lab's name, of NUMBER_SIZE bytes, for marks without room for an alias."""
    return int.from_bytes(blake2s(lab.encode(), digest_size=NUMBER_SIZE, person=b"kokofast").digest(), "big")


def first_address(place: Place, salt: int, number: int) -> bytes:
    """Return the link-layer address that marks a new interface of the lab with this number_of().

    It is the MAC address (IFLA_ADDRESS) where the kernel would choose a random one, otherwise the broadcast address
    (IFLA_BROADCAST): every link kind accepts that at creation, it is unused while the interface is down, and the
    message that sets the alias can set it back. A MAC address stays.

    The address is unicast and locally administered. It has 6 random bits (of salt, any byte), 24 bits of a digest of
    those and the place, so that it can be computed again, and the lab's number, encrypted with 16 more bits of the
    digest. It is unique, as the ifindex is random, too.
    """
    first = salt & 0xFC | 0x02
    digest = _digest(place, first)
    lab = int.from_bytes(digest[_MARK_SIZE:], "big") ^ number
    return bytes((first,)) + digest[:_MARK_SIZE] + lab.to_bytes(NUMBER_SIZE, "big")


def _number_in(address: bytes, place: Place) -> int | None:
    """Return the lab's number in a first_address(); None for any other address."""
    if len(address) != 1 + _MARK_SIZE + NUMBER_SIZE or address[0] & 0x03 != 0x02:
        return None
    digest = _digest(place, address[0])
    if address[1 : 1 + _MARK_SIZE] != digest[:_MARK_SIZE]:
        return None
    return int.from_bytes(address[1 + _MARK_SIZE :], "big") ^ int.from_bytes(digest[_MARK_SIZE:], "big")


def _digest(place: Place, first: int) -> bytes:
    boot, namespace, group, ifindex = place
    text = f"{boot}:{namespace[0]}:{namespace[1]}:{group}:{ifindex}:{first}"
    return blake2s(text.encode(), digest_size=_MARK_SIZE + NUMBER_SIZE, person=b"kokofast").digest()


def _is_mark_of_before(interface: Interface, place: Place) -> bool:
    """Whether an interface has the mark of earlier versions: a digest of its place, without a lab."""
    boot, namespace, group, ifindex = place
    text = f"{boot}:{namespace[0]}:{namespace[1]}:{group}:{ifindex}"
    mark = blake2s(text.encode(), digest_size=6, person=b"kokofast").digest()
    return mark == interface.broadcast or bytes((mark[0] & 0xFC | 0x02,)) + mark[1:] == interface.mac


def own_link_local(boot: str, alias: str, end: str) -> Address:
    """Return the link-local IPv6 address of an end with dad: false, in place of the kernel's.

    It is a hash of the boot id, the link's alias and the end's name in it, so no other end has it on any machine.
    """
    digest = blake2s(f"{boot}:{alias}:{end}".encode("utf-8", "surrogateescape"), digest_size=8, person=b"kokofast")
    number = digest.hexdigest()
    text = ":".join(number[at : at + 4] for at in range(0, 16, 4))
    return Address(AF_INET6, b"\xfe\x80" + bytes(6) + digest.digest(), 64, f"fe80::{text}/64")


LOOPBACK = "lo"


def node_mark(lab: str) -> str:
    """Return the altname of the loopback where a lab has addresses on it, or routes."""
    return f"{ALIAS_PREFIX}{lab}:node"


def marks_of_nodes(namespace: Namespace | None) -> list[str]:
    """Return the labs that have left node_mark() in a namespace."""
    loopback = namespace.interfaces.get(LOOPBACK) if namespace is not None else None
    if loopback is None or not loopback.altnames:
        return []
    labs = [lab_of_alias(name) for name in loopback.altnames]
    return [lab for lab in labs if lab is not None and node_mark(lab) in loopback.altnames]


def is_marked(namespace: Namespace | None, lab: str) -> bool:
    """Whether the lab has left node_mark() in a namespace."""
    return lab in marks_of_nodes(namespace)


def address_mark(lab: str) -> int:
    """Return the metric of the loopback's addresses of a lab (IFA_RT_PRIORITY): "K" and 24 bits of a digest.

    The digest has nothing in common with group_of(), so that labs whose groups are the same are told apart.
    """
    digest = blake2s(lab.encode(), digest_size=3, person=b"kokonode").digest()
    return GROUP_PREFIX << 24 | int.from_bytes(digest)


COOKIE_SIZE = 16  # TC_COOKIE_MAX_SIZE
COOKIE_PREFIX = b"kokofast"[:4]


OWNER_SIZE = 4 + NUMBER_SIZE


def cookie_of(lab: str, alias: str) -> bytes:
    """Return the mark of a link's mirror filters (TCA_ACT_COOKIE).

    That is "koko", the lab's group and number, a digest of the link's alias, and a byte of flags: MADE_QDISC there says
    that the filter's qdisc is ours, too.
    """
    size = COOKIE_SIZE - len(COOKIE_PREFIX) - OWNER_SIZE - 1
    digest = blake2s(alias.encode("utf-8", "surrogateescape"), digest_size=size, person=b"kokofast").digest()
    return COOKIE_PREFIX + cookie_owner(lab) + digest + b"\0"


def cookie_owner(lab: str) -> bytes:
    """Return the part of a cookie that identifies the lab, also among labs of the same group."""
    return group_of(lab).to_bytes(4, "big") + number_of(lab).to_bytes(NUMBER_SIZE, "big")


ROOT_HANDLES = 0x4000  # majors from here to 0x7FFF: users type small ones, the kernel chooses from 0x8000 on


def root_handle(lab: str) -> int:
    """Return the handle of the qdiscs that the lab puts at the root of its own interfaces."""
    return (ROOT_HANDLES | number_of(lab) & ROOT_HANDLES - 1) << 16


MADE_QDISC = 1


def owner_in(cookie: bytes) -> bytes | None:
    """Return the cookie_owner() in a filter's cookie; None for a stranger's."""
    if len(cookie) != COOKIE_SIZE or not cookie.startswith(COOKIE_PREFIX):
        return None
    owner = cookie[len(COOKIE_PREFIX) :][:OWNER_SIZE]
    return owner if is_our_group(int.from_bytes(owner[:4], "big")) else None


def lab_of(interface: Interface, namespace: Namespace, boot: str, lab: str | None = None) -> str | None:
    """Return the lab that an interface belongs to, None for a stranger's.

    An interface without an alias yet has only hashes of its lab's name: return ``lab`` if that is given and they match,
    otherwise "" (ours, of an unknown lab).
    """
    if not is_our_group(interface.group):
        return None
    group = interface.group & ~APART
    if interface.alias:
        named = lab_of_alias(interface.alias)
        return named if named is not None and group_of(named) == group else None
    place = boot, namespace.identity, group, interface.ifindex
    numbers = [_number_in(address, place) for address in (interface.mac, interface.broadcast)]
    is_of_before = numbers == [None, None]
    if is_of_before and not _is_mark_of_before(interface, place):
        return None
    is_of_lab = lab is not None and group_of(lab) == group and (is_of_before or number_of(lab) in numbers)
    return lab if is_of_lab else ""


def lab_of_namespace(namespace: Namespace) -> str | None:
    """Return the lab that made a namespace, None for a stranger's."""
    lab = lab_of_alias(namespace.loopback_alias)
    return lab if lab is not None and namespace.loopback_alias == namespace_alias(lab) else None
