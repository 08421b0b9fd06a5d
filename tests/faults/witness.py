"""All that the kernel tells of some namespaces, to be compared: read with a few lines of its own, not with kokofast's.

Of every link, address, route, qdisc and filter all attributes are kept, as bytes, but the counters and clocks.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator, Mapping

from kokofast.host.namespaces import open_namespace, open_sockets
from tests.conftest import FALLBACK_INTERFACES, NETNS_DIRECTORY, PREFIX

State = dict[tuple[str, ...], object]

_HEADER = struct.Struct("=IHHII")
_DONE, _ERROR = 3, 2
_SO_NETNS_COOKIE = 71
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_GETLINK, _GETADDR, _GETROUTE, _GETQDISC, _GETTFILTER = 18, 22, 26, 38, 46
_CLSACT_HOOKS = (0xFFFFFFF2, 0xFFFFFFF3)

# Attributes that differ though nothing was changed: IFLA_STATS, STATS64, CARRIER_CHANGES, CARRIER_UP_COUNT,
# CARRIER_DOWN_COUNT; IFA_CACHEINFO; RTA_CACHEINFO; TCA_STATS, XSTATS, STATS2.
_LINK_VOLATILE = {7, 23, 35, 47, 48}
_ADDRESS_VOLATILE = {6}
_ROUTE_VOLATILE = {12}
_TC_VOLATILE = {3, 4, 7}
_AF_SPEC = 26
_INET6_KEPT = {2, 7, 8}  # IFLA_INET6_CONF, TOKEN, ADDR_GEN_MODE; the others are counters, clocks and RA's progress
_IFNAME, _KIND, _OPTIONS = 3, 1, 2
_ACTIONS = {"matchall": 2, "u32": 7}  # TCA_MATCHALL_ACT, TCA_U32_ACT


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, type = struct.unpack_from("=HH", data, offset)
        assert length >= 4, f"an attribute of {length} bytes"
        yield type & 0x3FFF, data[offset + 4 : offset + length]
        offset += length + 3 & ~3


def _kept(data: bytes, volatile: set[int]) -> dict[int, object]:
    return {type: value for type, value in _attributes(data) if type not in volatile}


def _socket_in(name: str) -> socket.socket:
    fd = open_namespace(str(NETNS_DIRECTORY / name))
    try:
        (made,) = open_sockets([fd])
        try:
            return socket.socket(fileno=os.dup(made.fileno()))
        finally:
            made.close()
    finally:
        os.close(fd)


class Witness:
    """Looks into namespaces that stay, and into others while they are there. close() when done."""

    def __init__(self, stay: Mapping[str, str], come: Mapping[str, str]) -> None:
        """What a namespace is called in the states -> its name in /run/netns."""
        self._sockets = {title: _socket_in(name) for title, name in stay.items()}
        self._come = come
        self._seq = 0

    def close(self) -> None:
        for one in self._sockets.values():
            one.close()

    def cookies(self) -> dict[int, str]:
        """The cookie of each namespace that stays (SO_NETNS_COOKIE) -> what it is called in the states."""
        return {
            int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder): title
            for title, sock in self._sockets.items()
        }

    def state(self) -> State:
        """Everything in the namespaces, and what stands in /run/netns under names of this test run."""
        found: State = {}
        for title in self._sockets:
            found.update(self._look(title))
        for title, name in self._come.items():
            try:
                self._sockets[title] = _socket_in(name)
            except OSError:  # it is not there, or a name without a namespace, which shows below
                continue
            try:
                found.update(self._look(title))
            finally:
                self._sockets.pop(title).close()
        for entry in os.scandir(NETNS_DIRECTORY):
            if entry.name.startswith(PREFIX):
                status = os.stat(entry.path)
                found["name", entry.name] = status.st_dev, status.st_ino
        return found

    def _look(self, title: str) -> State:
        found: State = {}
        names: dict[int, str] = {}
        for message in self._dump(title, _GETLINK, bytes(16)):
            _, hardware, index, flags, _ = struct.unpack_from("=BxHiII", message)
            attributes = _kept(message[16:], _LINK_VOLATILE)
            name = _text(attributes[_IFNAME])
            if name in FALLBACK_INTERFACES:
                continue
            names[index] = name
            attributes[_AF_SPEC] = _af_spec(attributes.get(_AF_SPEC, b""))
            found[title, name, "link"] = (hardware, index, flags, attributes)
        for message in self._dump(title, _GETADDR, bytes(8)):
            index = struct.unpack_from("=I", message, 4)[0]
            if index in names:
                attributes = _kept(message[8:], _ADDRESS_VOLATILE)
                key = attributes.get(2, attributes.get(1))
                found[title, names[index], "address", f"{key!r}/{message[1]}"] = (message[:8], attributes)
        for message in self._dump(title, _GETROUTE, bytes(12)):
            attributes = _kept(message[12:], _ROUTE_VOLATILE)
            oif = attributes.get(4)
            name = names.get(int.from_bytes(oif, "little"), "") if isinstance(oif, bytes) else ""
            found[title, name, "route", repr((message[:12], sorted(attributes.items())))] = True
        for message in self._dump(title, _GETQDISC, bytes(20)):
            _, index, handle, parent, info = struct.unpack_from("=B3xiIII", message)
            if index in names:
                attributes = _kept(message[20:], _TC_VOLATILE)
                kind = _text(attributes[_KIND])
                found[title, names[index], "qdisc", f"{kind} {parent:x}"] = (handle, info, attributes)
                if kind == "clsact":
                    found.update(self._filters(title, index, names[index]))
        return found

    def _filters(self, title: str, index: int, name: str) -> State:
        found: State = {}
        for hook in _CLSACT_HOOKS:
            for message in self._dump(title, _GETTFILTER, struct.pack("=B3xiIII", 0, index, 0, hook, 0)):
                _, _, handle, _, info = struct.unpack_from("=B3xiIII", message)
                attributes = _kept(message[20:], _TC_VOLATILE)
                options = attributes.get(_OPTIONS)
                if isinstance(options, bytes):  # the first message of a priority has none
                    kind, key = _text(attributes[_KIND]), f"{hook:x} {info:x} {handle:x}"
                    found[title, name, "filter", key] = (kind, list(_actions(options, _ACTIONS[kind])))
        return found

    def _dump(self, title: str, type: int, body: bytes) -> list[bytes]:
        found: list[bytes] = []
        self._seq += 1
        sock = self._sockets[title]
        sock.send(_HEADER.pack(_HEADER.size + len(body), type, _DUMP, self._seq, 0) + body)
        while True:
            data = sock.recv(1 << 17)
            offset = 0
            while offset < len(data):
                length, answer, _, seq, _ = _HEADER.unpack_from(data, offset)
                if seq == self._seq:
                    assert answer != _ERROR, f"the kernel refused a dump of type {type} in {title}"
                    if answer == _DONE:
                        return found
                    found.append(data[offset + _HEADER.size : offset + length])
                offset += length + 3 & ~3


def _text(value: object) -> str:
    assert isinstance(value, bytes)
    return value.rstrip(b"\0").decode()


def _af_spec(value: object) -> dict[int, object]:
    assert isinstance(value, bytes)
    families: dict[int, object] = dict(_attributes(value))
    inet6 = families.get(socket.AF_INET6)
    if isinstance(inet6, bytes):
        families[socket.AF_INET6] = {type: data for type, data in _attributes(inet6) if type in _INET6_KEPT}
    return families


def _actions(options: bytes, attribute: int) -> Iterator[tuple[str, bytes, bytes]]:
    """(kind, cookie, what it does) of each action in a classifier's options."""
    for type, nested in _attributes(options):
        if type != attribute:
            continue
        for _, action in _attributes(nested):
            parts = dict(_attributes(action))
            inner = dict(_attributes(parts.get(2, b"")))
            yield _text(parts.get(1, b"")), parts.get(6, b""), _mirred(inner.get(2, b""))


def _mirred(parms: bytes) -> bytes:
    # struct tc_mirred: what is done and where to, without the action's own number and how often it is referred to.
    return parms[4:12] + parms[20:28]


def difference(before: State, after: State) -> dict[tuple[str, ...], tuple[object, object]]:
    """What is not the same: key -> (before, after), None for what is not there."""
    return {
        key: (before.get(key), after.get(key))
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key)
    }
