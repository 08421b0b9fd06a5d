"""Check and parse single values: names, addresses, MACs, pids, paths.

Each function takes a text and returns the value, or raises ValueError with one sentence. No slow imports: koko's
command line uses them, too.
"""

from __future__ import annotations

from kokofast.topology.model import AF_INET, AF_INET6, Address

IFNAME_BYTES = 15  # IFNAMSIZ - 1, include/uapi/linux/if.h
NETNS_NAME_BYTES = 255  # NAME_MAX: ip-netns keeps the name as a file of /run/netns
NODE_NAME_BYTES = 255  # as NETNS_NAME_BYTES: an undeclared node is the namespace of that name
PATH_BYTES = 4095  # PATH_MAX - 1
HOST_NAME_BYTES = 100
LAB_NAME_BYTES = 64  # leaves room for a link's title in IFLA_IFALIAS (255 bytes)
PREFIX_BYTES = 200  # leaves room for the rest of a node's name in NODE_NAME_BYTES
CONTAINER_BYTES = 255
TEXT_BYTES = 255  # of texts without another limit
PID_MAX = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h
REMOTES_MAX = 1024
QUEUES_MAX = 4096  # rtnl_create_link() refuses more
U32_MAX = (1 << 32) - 1
MAC_BYTES = 6
QUOTED_CHARACTERS = 60  # of a value in a message

# Directories beside those of interfaces in the sysctl tree: net/ipv4/devinet.c devinet_sysctl_register().
SYSCTL_NAMES = ("all", "default")
# The kernel's isspace() reads Latin-1, where 0xA0 is the no-break space (lib/ctype.c). So dev_valid_name() refuses 0xA0
# even inside a UTF-8 sequence.
KERNEL_SPACES = frozenset(b"\t\n\v\f\r \xa0")

# A cache of valid names, which recur at each link. Bounded, for files with a million names.
KNOWN_IFNAMES_MAX = 4096
_known_ifnames: set[str] = set()


def quote(value: object) -> str:
    """Return a value of the user for a message: control characters escaped, cut if long."""
    if isinstance(value, str) and len(value) > QUOTED_CHARACTERS:
        return repr(value[:QUOTED_CHARACTERS]) + "..."
    return repr(value)


def printable(text: str) -> str:
    """Return a text of somebody else with its control characters, and what is not UTF-8, escaped."""
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def check_ifname(name: str) -> str:
    """Return the interface name if the kernel accepts it; net/core/dev.c dev_valid_name()."""
    if name in _known_ifnames:
        return name
    raw = _encode(name, "interface name")
    if not raw:
        raise ValueError("the interface name is empty")
    if len(raw) > IFNAME_BYTES:
        raise ValueError(f"the interface name {quote(name)} has {len(raw)} bytes, the limit is {IFNAME_BYTES}")
    if name in (".", ".."):
        raise ValueError(f"an interface cannot be called {quote(name)}")
    if name in SYSCTL_NAMES:
        raise ValueError(f"an interface cannot be called {quote(name)}: the kernel keeps this name for its sysctls")
    if "/" in name or ":" in name:
        raise ValueError(f"the interface name {quote(name)} has a slash or a colon in it")
    if not KERNEL_SPACES.isdisjoint(raw) or any(c.isspace() for c in name):
        raise ValueError(f"the interface name {quote(name)} has white space in it")
    if not name.isprintable():
        raise ValueError(f"the interface name {quote(name)} has a control character in it")
    if "%" in name:
        # dev_alloc_name() would make the first free one of eth0, eth1, ... of eth%d.
        raise ValueError(f"the interface name {quote(name)} has a '%' in it, which the kernel takes as a template")
    if len(_known_ifnames) < KNOWN_IFNAMES_MAX:
        _known_ifnames.add(name)
    return name


def check_netns_name(name: str) -> str:
    """Return the name if ``ip netns add`` accepts it."""
    raw = _encode(name, "namespace name")
    if not raw:
        raise ValueError("the namespace name is empty")
    if len(raw) > NETNS_NAME_BYTES:
        raise ValueError(f"the namespace name {quote(name)} has {len(raw)} bytes, the limit is {NETNS_NAME_BYTES}")
    if name in (".", "..") or "/" in name:
        raise ValueError(f"the namespace name {quote(name)} is not a file name: no '/', not '.' or '..'")
    if not name.isprintable():
        raise ValueError(f"the namespace name {quote(name)} has a control character in it")
    return name


def check_node_name(name: str) -> str:
    """Return the node's name if it is printable and not too long."""
    raw = _encode(name, "node name")
    if not raw:
        raise ValueError("the node name is empty")
    if len(raw) > NODE_NAME_BYTES:
        raise ValueError(f"the node name {quote(name)} has {len(raw)} bytes, the limit is {NODE_NAME_BYTES}")
    if not name.isprintable():
        raise ValueError(f"the node name {quote(name)} has a control character in it")
    return name


def check_lab_name(name: str) -> str:
    """Return the lab's name if it is short and plain, as it is in the alias of each interface."""
    if not _is_plain(name, LAB_NAME_BYTES):
        raise ValueError(
            f"{quote(name)} cannot be the lab's name: 1 to {LAB_NAME_BYTES} letters, digits, '.', '_' or '-', "
            "a letter or digit first"
        )
    return name


def is_host_name(name: str) -> bool:
    """Return whether a host can have this name: short and plain, as its part is a file of that name."""
    return _is_plain(name, HOST_NAME_BYTES)


def check_host_name(name: str) -> str:
    """Return the name if a host can have it."""
    if not is_host_name(name):
        raise ValueError(
            f"{quote(name)} cannot be a host's name: 1 to {HOST_NAME_BYTES} letters, digits, '.', '_' or '-', "
            "a letter or digit first"
        )
    return name


def check_prefix(text: str) -> str:
    """Return what begins the names of generated nodes if it is empty, or plain in every file format."""
    if text and not _is_plain(text, PREFIX_BYTES):
        raise ValueError(
            f"{quote(text)} cannot begin the names of nodes: up to {PREFIX_BYTES} letters, digits, '.', '_' or '-', "
            "a letter or digit first"
        )
    return text


def check_container(name: str) -> str:
    """Return the name or id if docker, podman and CRI-O could have given it to a container."""
    if not _is_plain(name, CONTAINER_BYTES):
        raise ValueError(
            f"{quote(name)} is not a container's name or id: letters, digits, '.', '_' or '-', a letter or digit first"
            + (f", up to {CONTAINER_BYTES}" if len(name) > CONTAINER_BYTES else "")
        )
    return name


def check_cri_container(name: str) -> str:
    """Return the container if it is an id, the start of one, a name, or namespace/pod/name."""
    parts = name.split("/")
    if len(parts) not in (1, 3):
        raise ValueError(f"{quote(name)} is neither a container's id or name nor namespace/pod/name")
    for part in parts:
        check_container(part)
    return name


def check_path(path: str) -> str:
    """Return the path if it is absolute and printable."""
    raw = _encode(path, "path")
    if not path.startswith("/"):
        raise ValueError(f"the path {quote(path)} is not absolute")
    if not path.isprintable():
        raise ValueError(f"the path {quote(path)} has a control character in it")
    if len(raw) > PATH_BYTES:
        raise ValueError(f"the path {quote(path)} is longer than {PATH_BYTES} bytes")
    return path


def check_socket(path: str) -> str:
    """Return the path of a container engine's socket, also of ``unix:///run/x.sock``, as crictl writes it."""
    return check_path(path.removeprefix("unix://"))


def parse_pid(text: str) -> int:
    """Parse a process id in decimal digits."""
    pid = _decimal(text)
    if pid is None or not 1 <= pid <= PID_MAX:
        raise ValueError(f"{quote(text)} is not a process id (1 to {PID_MAX})")
    return pid


def parse_mac(text: str) -> bytes:
    """Parse an interface's Ethernet address: six hex pairs joined by ':' or '-', unicast, not all zero."""
    pairs = text.split("-" if "-" in text else ":")
    if len(pairs) != MAC_BYTES or not all(len(pair) == 2 and _is_hex(pair) for pair in pairs):
        raise ValueError(f"{quote(text)} is not a MAC address: six hex pairs such as 02:aa:c1:00:00:01")
    mac = bytes.fromhex("".join(pairs))
    if mac[0] & 1:
        raise ValueError(f"{quote(text)} is a multicast MAC address; an interface needs a unicast one")
    if not any(mac):
        raise ValueError(f"{quote(text)} is all zeros; an interface needs a unicast MAC address")
    return mac


def parse_address(text: str) -> Address:
    """Parse an interface address: IPv4 or IPv6 with a prefix length, /32 or /128 if it has none."""
    address = parse_ip_or_network(text)
    if address.family == AF_INET6 or address.packed[0] in _SPECIAL_OCTETS:
        refuse_special(address.family, address.packed, text)
    return address


def parse_ip_or_network(text: str) -> Address:
    """Parse any address, or with a prefix length any network."""
    host, slash, length = text.partition("/")
    family, packed = _parse_ip(host, text)
    bits = 32 if family == AF_INET else 128
    prefixlen = _OCTETS.get(length) if slash else bits
    if prefixlen is None or prefixlen > bits:
        raise ValueError(f"the prefix length of {quote(text)} is not a number from 0 to {bits}")
    return Address(family, packed, prefixlen, text)


def refuse_special(family: int, packed: bytes, text: str) -> None:
    """Raise ValueError for an address that no interface can have; text is as the user wrote it."""
    # inet_insert_ifa() silently drops these, and ipv6_add_addr() refuses them on all interfaces but lo.
    if not any(packed):
        raise ValueError(f"{quote(text)} is the unspecified address; an interface cannot have it")
    if packed[0] == 0xFF if family == AF_INET6 else 224 <= packed[0] < 240:
        raise ValueError(f"{quote(text)} is a multicast address; a link's end cannot have it")
    if packed == _IPV6_LOOPBACK if family == AF_INET6 else packed[0] == 127:
        raise ValueError(f"{quote(text)} is a loopback address; a link's end cannot have it")
    if packed == _IPV4_BROADCAST:
        raise ValueError(f"{quote(text)} is the broadcast address; a link's end cannot have it")


def is_link_local(address: Address) -> bool:
    """Whether an address is of fe80::/10, which the kernel makes for itself."""
    return address.family == AF_INET6 and address.packed[0] == 0xFE and address.packed[1] & 0xC0 == 0x80


def parse_ip(text: str) -> Address:
    """Parse an IPv4 or IPv6 address without prefix length: a tunnel's other end, a host or a group."""
    if "/" in text:
        raise ValueError(f"{quote(text)} has a prefix length, which does not belong here")
    family, packed = _parse_ip(text, text)
    if not any(packed):
        raise ValueError(f"{quote(text)} is the unspecified address; a tunnel needs that of a host or a group")
    return Address(family, packed, 32 if family == AF_INET else 128, text)


# The only spelling of each octet: no sign, no leading zero, no digit of another script. This table is five times as
# fast as ipaddress, and as strict (a test compares them).
_OCTETS = {str(number): number for number in range(256)}
_SPECIAL_OCTETS = frozenset((0, 127, *range(224, 256)))  # first octets of addresses that an interface may not have
_IPV6_LOOPBACK = bytes(15) + b"\x01"
_IPV4_BROADCAST = b"\xff" * 4


def _parse_ip(host: str, text: str) -> tuple[int, bytes]:
    if "%" in host:
        raise ValueError(f"{quote(text)} has a zone, which an interface's own address cannot have")
    try:
        if ":" not in host:
            first, second, third, fourth = host.split(".")
            return AF_INET, bytes((_OCTETS[first], _OCTETS[second], _OCTETS[third], _OCTETS[fourth]))
        from ipaddress import IPv6Address  # slow to import, needed for IPv6 only

        return AF_INET6, IPv6Address(host).packed
    except (ValueError, KeyError):
        # ipaddress's message would hold the user's characters unescaped.
        raise ValueError(
            f"{quote(text)} is not an IPv4 or IPv6 address, such as 10.0.0.1/24 or 2001:db8::1/64"
        ) from None


def _is_plain(name: str, longest: int) -> bool:
    return (
        len(name) <= longest and name.isascii() and name[:1].isalnum() and all(c.isalnum() or c in "._-" for c in name)
    )


def _decimal(text: str) -> int | None:
    # int() also takes ' 1', '1_0' and the digits of other scripts.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _is_hex(text: str) -> bool:
    return all(c in "0123456789abcdefABCDEF" for c in text)


def _encode(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can spell as \ud800
        raise ValueError(f"the {what} {quote(text)} is not valid Unicode") from None
