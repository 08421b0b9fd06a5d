"""Which limit an errno stands for, when an interface is set up."""

from __future__ import annotations

import errno

import pytest

from kokofast.kinds import KINDS
from kokofast.topology.model import Link
from kokofast.topology.values import parse_ip
from tests.plan.builders import end

IGMP, OPTMEM = "net.ipv4.igmp_max_memberships", "net.core.optmem_max"


@pytest.mark.parametrize(
    ("remote", "code", "name"),
    [
        ("224.0.0.1", errno.ENOBUFS, IGMP),
        ("239.255.255.255", errno.ENOBUFS, IGMP),
        ("224.0.0.1", errno.ENOBUFS, OPTMEM),
        ("239.1.1.1", errno.ENOMEM, ""),
        ("ff05::1", errno.ENOBUFS, ""),
        ("ff05::1", errno.ENOMEM, OPTMEM),
        ("239.1.1.1", errno.ENODEV, ""),
        ("223.255.255.255", errno.ENOBUFS, ""),
        ("240.0.0.1", errno.ENOBUFS, ""),
        ("2001:db8::ff", errno.ENOMEM, ""),
    ],
)
def test_of_a_vxlan_that_of_multicast_groups(remote: str, code: int, name: str) -> None:
    link = Link("vxlan", (end("a:e0"),), options={"remote": parse_ip(remote)})
    found = KINDS["vxlan"].limit(link, code)
    assert name in found if name else found == ""


KNOWN = {"macvlan": errno.EADDRINUSE, "vlan": errno.ENETDOWN}


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"vxlan"}))
def test_of_the_others_one_at_most(kind: str) -> None:
    link = Link(kind, (end("a:e0"),))
    found = [code for code in errno.errorcode if KINDS[kind].limit(link, code)]
    assert found == ([KNOWN[kind]] if kind in KNOWN else [])


def test_a_port_that_somebody_else_has() -> None:
    link = Link("vxlan", (end("a:e0"),), options={"remote": parse_ip("192.0.2.1"), "port": 5555})
    assert "UDP port 5555" in KINDS["vxlan"].limit(link, errno.EADDRINUSE)
