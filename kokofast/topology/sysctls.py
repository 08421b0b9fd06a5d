"""Names and values of sysctls: those of the network, as paths below /proc/sys/net."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kokofast.topology.values import TEXT_BYTES, quote

ROOT = "net"
PIECES_MAX = 8  # net.ipv4.conf.eth0.forwarding has five
# "all" is for the interfaces that are there, "default" for those to come.
DISABLE_IPV6 = ("ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6")
FORWARDING = {2: "ipv4/ip_forward", 10: "ipv6/conf/all/forwarding"}  # by AF_INET, AF_INET6


def parse_sysctl(name: str) -> str:
    """Return the path below /proc/sys/net of a name as sysctl(8) takes it.

    The first of dot and slash separates the pieces, and the other one is part of them: ``net.ipv4.conf.eth0/1.mtu`` and
    ``net/ipv4/conf/eth0.1/mtu`` are of the interface eth0.1. Raises ValueError.
    """
    dotted = "/" not in name or -1 < name.find(".") < name.find("/")
    pieces = name.split(".") if dotted else name.split("/")
    if dotted:
        pieces = [piece.replace("/", ".") for piece in pieces]
    if pieces[0] != ROOT or not 3 <= len(pieces) <= PIECES_MAX:
        raise ValueError(f"{quote(name)} is no sysctl of a network namespace, such as net.ipv4.ip_forward")
    for piece in pieces:
        if piece in ("", ".", "..") or not piece.isprintable() or any(map(str.isspace, piece)):
            raise ValueError(f"{quote(name)} is no name of a sysctl: {quote(piece)} cannot be a part of it")
        if len(piece.encode(errors="replace")) > TEXT_BYTES:
            raise ValueError(f"{quote(name)} has a part that is longer than {TEXT_BYTES} bytes")
    return "/".join(pieces[1:])


def name_of(path: str) -> str:
    """Return the name of a sysctl as parse_sysctl() takes it."""
    return f"{ROOT}/{path}" if "." in path else f"{ROOT}.{path.replace('/', '.')}"


def parse_sysctls(given: Mapping[str, int | str], report: Callable[[str, str], None]) -> dict[str, str] | None:
    """Return path -> value; None after reporting a problem."""
    from kokofast.topology.problems import step

    found: dict[str, str] = {}
    names: dict[str, str] = {}
    is_valid = True
    for name, value in given.items():
        try:
            path = parse_sysctl(name)
            if path in names:
                raise ValueError(f"{quote(name)} is the sysctl {quote(names[path])} again")
            names[path], found[path] = name, _check_value(str(value))
        except ValueError as error:
            report(step(name), str(error))
            is_valid = False
    return found if is_valid else None


def _check_value(text: str) -> str:
    text = " ".join(text.split()) if text.isascii() else ""
    if not text or not text.isprintable() or len(text) > TEXT_BYTES:
        raise ValueError(f"the value must be a number, or text of 1 to {TEXT_BYTES} ASCII characters in one line")
    return text
