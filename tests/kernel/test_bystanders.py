"""destroy of one lab while another one has links in its namespaces, or on its links."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kokofast.api import destroy
from tests.conftest import NamespaceFactory, RunKokofast, ip, links, run
from tests.kernel.conftest import Lab, present, until

pytestmark = pytest.mark.usefixtures("requires_root")


@pytest.fixture
def other(tmp_path: Path, netns: NamespaceFactory, kokofast: RunKokofast) -> Iterator[Lab]:
    """A second lab."""
    directory = tmp_path / "other"
    directory.mkdir()
    made = Lab(directory, netns, kokofast)
    try:
        yield made
    finally:
        kokofast("destroy", "--name", made.name, "--force")


def refused(lab: Lab, kokofast: RunKokofast) -> str:
    """destroy of the lab, which must touch nothing; returns its only error."""
    done = kokofast("destroy", "--name", lab.name, "--format", "json")
    assert done.returncode == 2, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["status"] == "invalid"
    assert (result["links"], result["namespaces"]) == ({"removed": 0, "failed": 0}, {"removed": 0, "failed": 0})
    (error,) = result["errors"]
    assert f"kokofast: {error['message']}" == done.stderr.strip()
    message: str = error["message"]
    return message


def test_links_of_another_lab_in_namespaces_of_this_one(lab: Lab, other: Lab, kokofast: RunKokofast) -> None:
    names = lab.chain(4)
    lab.batch("--create")
    other.write([{"endpoints": [f"{names[i]}:o1", f"{names[i + 1]}:o0"]} for i in range(4)])
    other.batch()
    message = refused(lab, kokofast)
    assert message.startswith(f"4 links of the lab {other.name} would be removed too ({names[0]}:o1, ")
    assert f"kokofast destroy --name {other.name}" in message
    assert "--force" in message
    assert (present(names), len(lab.inspect()), len(other.inspect())) == (5, 4, 4)
    assert other.destroy()["links"]["removed"] == 4
    assert lab.destroy()["namespaces"]["removed"] == 5


def test_force_takes_them_along(lab: Lab, other: Lab, kokofast: RunKokofast) -> None:
    names = lab.chain(2)
    lab.batch("--create")
    outside = other.node("outside")
    other.write([{"endpoints": [f"{names[0]}:o0", f"{outside}:o1"]}])
    other.batch()
    refused(lab, kokofast)
    done = kokofast("destroy", lab.file, "--force")
    assert done.returncode == 0, done.stderr
    assert present(names) == 0
    until(lambda: links(outside) == {}, "the kernel has ended the namespace")


def test_a_lab_in_namespaces_that_it_did_not_make_goes_alone(lab: Lab, other: Lab) -> None:
    a, b = lab.bundle(2)
    lab.batch()
    other.write([{"endpoints": [f"{a}:o0", f"{b}:o1"]}])
    other.batch()
    assert lab.destroy()["links"]["removed"] == 2
    assert len(other.inspect()) == 1


def test_a_namespace_that_a_process_lives_in_loses_its_name_too(
    lab: Lab, other: Lab, kokofast: RunKokofast, start: Callable[..., object]
) -> None:
    names = lab.chain(1)
    lab.batch("--create")
    start("ip", "netns", "exec", names[0], "sleep", "60")
    other.write([{"endpoints": [f"{names[0]}:o0", f"{names[0]}:o1"]}])
    other.batch()
    assert "1 link of the lab" in refused(lab, kokofast)
    other.destroy()


@pytest.mark.parametrize("moved", [False, True], ids=["in its parent's namespace", "in another one"])
def test_a_link_of_another_lab_on_a_link_of_this_one(lab: Lab, other: Lab, kokofast: RunKokofast, moved: bool) -> None:
    a, b = lab.bundle(2)
    lab.batch()
    at = other.node("c") if moved else a
    other.write([{"type": "macvlan", "endpoint": f"{at}:mv0", "parent": f"{a}:e1"}])
    other.batch()
    message = refused(lab, kokofast)
    assert message.startswith(f"1 link of the lab {other.name} would be removed too ({at}:mv0)")
    assert set(links(b)) == {"e0", "e1"}
    other.destroy()
    assert lab.destroy()["links"]["removed"] == 2


def test_a_tunnel_of_another_lab_whose_parent_is_in_a_namespace_that_goes(
    lab: Lab, other: Lab, kokofast: RunKokofast
) -> None:
    names = lab.chain(1)
    lab.batch("--create")
    ip(names[0], "link", "add", "below", "type", "bridge")  # somebody else's
    at = other.node("c")
    tunnel = {"type": "vxlan", "endpoint": f"{at}:vx0", "parent": f"{names[0]}:below", "remote": "192.0.2.1", "vni": 7}
    other.write([tunnel])
    other.batch()
    assert f"({at}:vx0)" in refused(lab, kokofast)
    other.destroy()


def test_a_link_of_another_lab_on_somebody_elses_interface_is_no_reason(lab: Lab, other: Lab) -> None:
    a, b = lab.bundle(2)
    lab.batch()
    ip(b, "link", "add", "below", "type", "bridge")
    parents = [{"type": "macvlan", "endpoint": f"{ns}:mv{n}", "parent": f"{b}:below"} for n, ns in enumerate((a, b))]
    other.write(parents)
    other.batch()
    assert lab.destroy()["links"]["removed"] == 2
    assert len(other.inspect()) == 2


def test_a_link_of_a_lab_whose_name_is_not_known(lab: Lab, kokofast: RunKokofast, netns: NamespaceFactory) -> None:
    names = lab.chain(1)
    lab.batch("--create")
    # As a batch leaves it that is killed between the two messages of a link: in its group, without its alias.
    script = (
        "from kokofast.plan.ownership import first_address, group_of, number_of\n"
        "import os\n"
        "boot = open('/proc/sys/kernel/random/boot_id').read().strip()\n"
        "st = os.stat('/proc/self/ns/net')\n"
        "group = group_of('unknown')\n"
        "mark = first_address((boot, (st.st_dev, st.st_ino), group, 900), 7, number_of('unknown')).hex(':')\n"
        "os.execvp('ip', ['ip', 'link', 'add', 'half', 'index', '900', 'broadcast', mark, 'group', str(group),\n"
        "                 'type', 'veth', 'peer', 'name', 'half1'])\n"
    )
    done = run(["ip", "netns", "exec", names[0], sys.executable, "-c", script])
    assert done.returncode == 0, done.stderr
    assert "its name is not known yet" in refused(lab, kokofast)
    ip(names[0], "link", "delete", "half")


async def test_the_library_asks_for_force_as_well(lab: Lab, other: Lab) -> None:
    names = lab.chain(1)
    lab.batch("--create")
    other.write([{"endpoints": [f"{names[0]}:o0", f"{names[1]}:o0"]}])
    other.batch()
    result = await destroy(lab.name)
    assert (result.status, present(names)) == ("invalid", 2)
    assert other.name in result.errors[0].message
    assert (await destroy(lab.name, force=True)).namespaces["removed"] == 2
