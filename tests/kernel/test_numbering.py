"""Links whose file gives neither names nor addresses, with ``ip`` and ``ping`` as witnesses."""

from __future__ import annotations

import pytest

from tests.conftest import addresses, links
from tests.kernel.conftest import Lab, ping

pytestmark = pytest.mark.usefixtures("requires_root")

DEFAULTS = {"create": True, "subnet": "10.77.0.0/16", "subnet6": "2001:db8:77::/48"}


def facts(node: str) -> dict[str, object]:
    """The interfaces of a namespace with their numbers and addresses."""
    return {name: (link["ifindex"], link["address"], addresses(node, name)) for name, link in links(node).items()}


def test_a_chain_of_nodes_alone(lab: Lab) -> None:
    a, b, c, d = (lab.new(name) for name in "abcd")
    lab.write([[a, b], [b, c]], defaults=DEFAULTS)
    planned = lab.kokofast("batch", lab.file, "--dry-run").stdout
    assert f"+ veth {a}:eth0:10.77.0.0/31,2001:db8:77::/127--{b}:eth0:10.77.0.1/31,2001:db8:77::1/127\n" in planned
    assert lab.batch()["links"]["created"] == 2
    for node, other in ((a, "1"), (b, "0"), (b, "3"), (c, "2")):
        ping(node, f"10.77.0.{other}")
        ping(node, f"2001:db8:77::{other}")
    assert [[(end["interface"], end["addresses"]) for end in link["endpoints"]] for link in lab.inspect()] == [
        [("eth0", ["10.77.0.0/31", "2001:db8:77::/127"]), ("eth0", ["10.77.0.1/31", "2001:db8:77::1/127"])],
        [("eth1", ["10.77.0.2/31", "2001:db8:77::2/127"]), ("eth0", ["10.77.0.3/31", "2001:db8:77::3/127"])],
    ]
    assert lab.batch()["status"] == "unchanged"
    before = facts(a), facts(b)

    lab.write([[a, b], [b, c], [c, d]], defaults=DEFAULTS)
    assert lab.batch()["links"] == {"total": 3, "created": 1, "updated": 0, "unchanged": 2, "failed": 0}
    assert (facts(a), facts(b)) == before
    assert addresses(c, "eth1") == ["10.77.0.4/31", "2001:db8:77::4/127"]
    ping(c, "10.77.0.5")
    ping(d, "2001:db8:77::4")


def test_a_link_to_the_caller_gets_the_labs_name(lab: Lab) -> None:
    a = lab.new("a")
    lab.write([["me", a], [a, "me"]], nodes={"me": {"host": True}}, defaults=DEFAULTS)
    lab.batch()
    found = {tuple(end["interface"] for end in link["endpoints"]) for link in lab.inspect()}
    (stem,) = {name.removesuffix("-0") for name, _ in found if name.endswith("-0")}
    assert stem.startswith(lab.name[:3])
    assert found == {(f"{stem}-0", "eth0"), ("eth1", f"{stem}-1")}
    ping(a, "10.77.0.0")
    assert lab.batch()["status"] == "unchanged"
