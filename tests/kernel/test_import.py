"""Files of other programs, on the real kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ip
from tests.kernel.conftest import Lab, ping

pytestmark = pytest.mark.usefixtures("requires_root")


def test_a_lab_of_containerlab(lab: Lab) -> None:
    a, b, lan = (lab.new(name) for name in ("a", "b", "lan"))
    lab.file = str(Path(lab.file).with_name("x.clab.yml"))
    text = f"""\
name: {lab.name}
topology:
  nodes: {{{a}: {{kind: linux}}, {b}: {{kind: linux}}, {lan}: {{kind: bridge}}}}
  links:
    - endpoints: ["{a}:GigabitEthernet0/0/1", "{b}:ethernet-1/1"]
      ipv4: [192.0.2.0/31, 192.0.2.1/31]
    - {{type: veth, endpoints: [{{node: {a}, interface: eth1, ipv4: 198.51.100.1/24}}, {{node: {lan}, interface: p1}}]}}
    - {{type: veth, endpoints: [{{node: {b}, interface: eth1, ipv4: 198.51.100.2/24}}, {{node: {lan}, interface: p2}}]}}
"""
    Path(lab.file).write_text(text)
    result = lab.batch()
    assert (result["links"]["created"], result["namespaces"]["created"]) == (4, 3)
    ping(a, "192.0.2.1")
    ping(a, "198.51.100.2")
    assert "mtu 9500" in ip(a, "link", "show", "GigabitEthernet0-0-1")
    assert lab.batch()["status"] == "unchanged"
    Path(lab.file).write_text(text.replace("192.0.2.1/31]", "192.0.2.1/31]\n      mtu: 70000"))
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 2
    assert "x.clab.yml:7:7 $.topology.links[0].mtu: " in done.stderr
    assert lab.destroy()["namespaces"]["removed"] == 3


def test_a_name_that_is_taken_in_the_kernel_names_the_users_line(lab: Lab) -> None:
    a, b = lab.node("a"), lab.new("b")
    ip(a, "link", "add", "eth0", "type", "veth", "peer", "name", "other")
    lab.file = str(Path(lab.file).with_name("lab.conf"))
    Path(lab.file).write_text(f"# nothing\nLAB_NAME={lab.name}\n{b}[0]=X\n{a}[0]=X\n")
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 2
    assert f"{lab.file}:4: " in done.stderr
