"""The sysctls of a namespace of the fake kernel, those below /proc/sys/net that the tests use.

Sources: net/ipv4/devinet.c inet_forward_change(), net/ipv6/addrconf.c addrconf_fixup_forwarding(),
addrconf_disable_ipv6(), addrconf_init_net().
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from kokofast.wire.addr import AF_INET6

if TYPE_CHECKING:
    from tests.engine.fake_links import FakeLink, FakeNamespace

# Of interfaces, and of all and default; all of them 0 at first.
OF_INTERFACES = {
    "ipv4": ("forwarding", "promote_secondaries", "rp_filter"),
    "ipv6": ("disable_ipv6", "forwarding", "keep_addr_on_down"),
}
REDIRECTS = "ipv4/conf/all/accept_redirects"
OTHERS = {"ipv4/ip_default_ttl": "64", REDIRECTS: "1"}
# Those of which a value for all becomes that of the default and of each interface.
SPREAD = {("ipv4", "forwarding"), ("ipv6", "forwarding"), ("ipv6", "disable_ipv6")}
SAME = {"ipv4/ip_forward": "ipv4/conf/all/forwarding"}


class FakeSysctls:
    def __init__(self, namespace: FakeNamespace) -> None:
        self._namespace = namespace
        self._others = dict(OTHERS)
        self._values = {
            (family, which, key): "0"
            for family, keys in OF_INTERFACES.items()
            for key in keys
            for which in ("all", "default")
        }

    def state(self) -> list[tuple[str, str]]:
        of_interfaces = [("/".join(key), value) for key, value in self._values.items()]
        return sorted([*self._others.items(), *of_interfaces])

    def begin(self, link: FakeLink, *families: str) -> None:
        """An interface is new for IPv4 or IPv6: it has the default values."""
        for family in families:
            for key in OF_INTERFACES[family]:
                _set(link, family, key, self._values[family, "default", key])

    def switch_ipv6_off(self) -> None:
        """As Docker does in its containers."""
        self.write("ipv6/conf/all/disable_ipv6", "1")

    def read(self, path: str) -> str:
        path = SAME.get(path, path)
        if path in self._others:
            return self._others[path]
        family, which, key = self._parts(path)
        if isinstance(which, str):
            return self._values[family, which, key]
        return which.sysctls.get((family, key), "0")

    def write(self, path: str, value: str) -> None:
        path = SAME.get(path, path)
        if path in self._others:
            self._others[path] = value
            return
        family, which, key = self._parts(path)
        if not isinstance(which, str):
            self._write_one(which, family, key, value)
            return
        is_spread = which == "all" and (family, key) in SPREAD
        self._values[family, which, key] = value
        if is_spread:
            self._values[family, "default", key] = value
            if (family, key) == ("ipv4", "forwarding"):
                self._others[REDIRECTS] = "10"[int(value)]
            for link in self._namespace.links.values():
                if link.has_ipv6 if family == "ipv6" else link.has_ipv4:
                    self._write_one(link, family, key, value)

    def _write_one(self, link: FakeLink, family: str, key: str, value: str) -> None:
        was_on = self._namespace.is_ipv6_on(link)
        _set(link, family, key, value)
        if was_on and not self._namespace.is_ipv6_on(link):
            self._namespace.lose(link, "ipv6", is_gone=False)
            link.addresses.flush(AF_INET6)

    def _parts(self, path: str) -> tuple[str, str | FakeLink, str]:
        family, conf, name, key = path.split("/") if path.count("/") == 3 else ("", "", "", "")
        link = self._namespace.by_name(name)
        if conf == "conf" and key in OF_INTERFACES.get(family, ()):
            if name in ("all", "default"):
                return family, name, key
            if link is not None and (link.has_ipv6 if family == "ipv6" else link.has_ipv4):
                return family, link, key
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)


def _set(link: FakeLink, family: str, key: str, value: str) -> None:
    link.sysctls.pop((family, key), None)
    if value != "0":
        link.sysctls[family, key] = value
