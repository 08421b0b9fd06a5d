"""Whose interface is it? The kernel is the state store: these marks are all that kokofast remembers.

Every interface of a lab carries, from the instant of its creation, the lab's group number (IFLA_GROUP) and a mark
computed from random bits, the place of the interface and the lab's name: its MAC address, where the kernel would choose
one by chance; else its link-layer broadcast address. The next message brings the alias
``kokofast:LAB:r1:eth1--r2:eth1``, which the kernel does not take at creation, and the usual broadcast address. So an
interface is ours when its group is the lab's AND (its alias names the lab, OR it has no alias yet and carries the mark
that we compute). A group number alone proves nothing: anyone may use it.
A namespace of ours carries the alias ``kokofast:LAB:namespace`` on its loopback, set before it has a name.
"""

from __future__ import annotations

import zlib

try:  # hashlib would load OpenSSL for it, which takes longer than a link
    from _blake2 import blake2s
except ImportError:  # an interpreter built without its own
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

# Group numbers in use are small (ip-link's group file starts at 0); ours have a byte of their own in front.
GROUP_PREFIX = 0x4B  # "K"

BROADCAST = b"\xff" * 6  # Ethernet's own

NUMBER_SIZE = 2
_MARK_SIZE = 3


def group_of(lab: str) -> int:
    """The lab's IFLA_GROUP: 31 bits, the upper byte tells that it is one of ours. Two labs may share one; the alias
    then keeps them apart."""
    return GROUP_PREFIX << 24 | zlib.crc32(lab.encode()) & 0xFFFFFF


def is_our_group(group: int) -> bool:
    """Whether the number is one that group_of() gives."""
    return group >> 24 == GROUP_PREFIX


def alias_of(lab: str, link: Link) -> str:
    """The alias of both ends of a link, readable in ``ip link``; where it would be too long a digest stands for it."""
    alias = f"{ALIAS_PREFIX}{lab}:{link.title()}"
    if len(alias.encode("utf-8", "surrogateescape")) <= MAX_ALIAS and alias.isprintable():
        return alias
    digest = blake2s(alias.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return f"{ALIAS_PREFIX}{lab}:#{digest}"


def namespace_alias(lab: str) -> str:
    """The alias of the loopback in a namespace that the lab made; also the claim in its file."""
    return f"{ALIAS_PREFIX}{lab}:{NAMESPACE_SUFFIX}"


def lab_of_alias(alias: str) -> str | None:
    """The lab that an alias names; None for an alias that is not ours."""
    if not alias.startswith(ALIAS_PREFIX):
        return None
    lab, colon, _ = alias[len(ALIAS_PREFIX) :].partition(":")
    return lab if colon and (lab in _known_labs or _is_lab_name(lab)) else None


_known_labs: set[str] = set()  # of the aliases so far: mostly one
KNOWN_LABS_MAX = 1000


def _is_lab_name(lab: str) -> bool:
    # Whoever has CAP_NET_ADMIN in a namespace can set an alias, and what it names is printed, in commands too.
    try:
        check_lab_name(lab)
    except ValueError:
        return False
    if len(_known_labs) < KNOWN_LABS_MAX:
        _known_labs.add(lab)
    return True


def ends_of_alias(alias: str, ends: int) -> list[tuple[tuple[str, str], ...]]:
    """The ends of a link, (node, interface) each, as the file had them, read from its alias: every way to read it, as a
    node's name may hold the signs between; none where a digest stands for it."""
    title = alias[len(ALIAS_PREFIX) :].partition(":")[2]
    parts = title.split("--")
    ways = [("--".join(parts[:n]), "--".join(parts[n:])) for n in range(1, len(parts))] if ends == 2 else [(title,)]
    sides = (tuple((side.rpartition(":")[0], side.rpartition(":")[2]) for side in way) for way in ways)
    return [way for way in sides if all(node and ifname for node, ifname in way)]


def number_of(lab: str) -> int:
    """A number for the lab's name besides its group, of NUMBER_SIZE bytes, for where there is no room for an alias."""
    return int.from_bytes(blake2s(lab.encode(), digest_size=NUMBER_SIZE, person=b"kokofast").digest(), "big")


def first_address(place: Place, salt: int, number: int) -> bytes:
    """The link-layer address that an interface of the lab with this number_of() is created with: as its MAC address
    (IFLA_ADDRESS) where the kernel would choose one by chance, else as its broadcast address (IFLA_BROADCAST).

    Six random bits (of salt, any byte), 24 of a digest of those and the place, computable again from what the kernel
    shows, and the lab's number under 16 more of the digest. Unicast and locally administered. No other interface gets
    it: the ifindex is a random one, too. A MAC address stays. The broadcast address is the one thing that every kind
    of link takes at creation, that means nothing while the interface is down, and that can be set back by the message
    that brings the alias and sets it up.
    """
    first = salt & 0xFC | 0x02
    digest = _digest(place, first)
    lab = int.from_bytes(digest[_MARK_SIZE:], "big") ^ number
    return bytes((first,)) + digest[:_MARK_SIZE] + lab.to_bytes(NUMBER_SIZE, "big")


def _number_in(address: bytes, place: Place) -> int | None:
    """The number of the lab that gave an interface its first address; None for any other address."""
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
    """Whether an interface has the mark that it got until there was a lab in it: a digest of its place alone."""
    boot, namespace, group, ifindex = place
    text = f"{boot}:{namespace[0]}:{namespace[1]}:{group}:{ifindex}"
    mark = blake2s(text.encode(), digest_size=6, person=b"kokofast").digest()
    return mark == interface.broadcast or bytes((mark[0] & 0xFC | 0x02,)) + mark[1:] == interface.mac


def own_link_local(boot: str, alias: str, end: str) -> Address:
    """The link-local IPv6 address that an end with dad: false gets in place of the kernel's, computable again; alias
    is its link's, end its name there. No other end has it, on this machine or another."""
    digest = blake2s(f"{boot}:{alias}:{end}".encode("utf-8", "surrogateescape"), digest_size=8, person=b"kokofast")
    number = digest.hexdigest()
    text = ":".join(number[at : at + 4] for at in range(0, 16, 4))
    return Address(AF_INET6, b"\xfe\x80" + bytes(6) + digest.digest(), 64, f"fe80::{text}/64")


COOKIE_SIZE = 16  # TC_COOKIE_MAX_SIZE
COOKIE_PREFIX = b"kokofast"[:4]


OWNER_SIZE = 4 + NUMBER_SIZE


def cookie_of(lab: str, alias: str) -> bytes:
    """The mark of a link's mirror filters (TCA_ACT_COOKIE): "koko", the lab's group and number, a digest of the link's
    alias.

    The last byte is 0; MADE_QDISC there says that the qdisc which holds the filter is ours as well.
    """
    size = COOKIE_SIZE - len(COOKIE_PREFIX) - OWNER_SIZE - 1
    digest = blake2s(alias.encode("utf-8", "surrogateescape"), digest_size=size, person=b"kokofast").digest()
    return COOKIE_PREFIX + cookie_owner(lab) + digest + b"\0"


def cookie_owner(lab: str) -> bytes:
    """What the cookies of all links of a lab have in common, and those of other labs whose group is the same have
    not."""
    return group_of(lab).to_bytes(4, "big") + number_of(lab).to_bytes(NUMBER_SIZE, "big")


MADE_QDISC = 1


def owner_in(cookie: bytes) -> bytes | None:
    """The cookie_owner() of the lab whose filter carries this cookie; None for a stranger's."""
    if len(cookie) != COOKIE_SIZE or not cookie.startswith(COOKIE_PREFIX):
        return None
    owner = cookie[len(COOKIE_PREFIX) :][:OWNER_SIZE]
    return owner if is_our_group(int.from_bytes(owner[:4], "big")) else None


def lab_of(interface: Interface, namespace: Namespace, boot: str, lab: str | None = None) -> str | None:
    """The lab that an interface belongs to, None for a stranger's.

    Just after its creation an interface does not name its lab: it is ``lab`` when that is given and its group and
    its number are in the mark, otherwise the empty string (one of ours, of a lab whose name is not known).
    """
    if not is_our_group(interface.group):
        return None
    if interface.alias:
        named = lab_of_alias(interface.alias)
        return named if named is not None and group_of(named) == interface.group else None
    place = boot, namespace.identity, interface.group, interface.ifindex
    numbers = [_number_in(address, place) for address in (interface.mac, interface.broadcast)]
    is_of_before = numbers == [None, None]
    if is_of_before and not _is_mark_of_before(interface, place):
        return None
    is_of_lab = lab is not None and group_of(lab) == interface.group and (is_of_before or number_of(lab) in numbers)
    return lab if is_of_lab else ""


def lab_of_namespace(namespace: Namespace) -> str | None:
    """The lab that made a namespace, None when it was not one of ours."""
    lab = lab_of_alias(namespace.loopback_alias)
    return lab if lab is not None and namespace.loopback_alias == namespace_alias(lab) else None
