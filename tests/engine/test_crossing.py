"""verify over links to other hosts on the fake kernel, where no other host answers: how long it waits, and for whom."""

from __future__ import annotations

import pytest

from kokofast.drivers import Stop
from kokofast.drivers.inline import InlineDriver, drive
from kokofast.engine.crossing import FEW_DESCRIPTORS, WINDOW
from kokofast.engine.verify import DEFAULT_PATIENCE, verify
from kokofast.engine.wires import Wires
from kokofast.topology.model import Topology
from kokofast.verification.crossing import Across, Far
from kokofast.verification.expect import STATE_ONLY
from kokofast.verification.ports import Finding
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import lab, wire
from tests.runs import apply

NONCE = bytes(16)
WITHIN = 20.0


async def tunnels(kernel: FakeKernel, count: int) -> Topology:
    """Make vxlans in n0, n1 and so on."""
    wire(kernel, "a", "b")
    common = {"type": "vxlan", "parent": "a:up0", "remote": "192.0.2.9"}
    topology = lab([{**common, "endpoint": f"n{number}:t0", "vni": number + 1} for number in range(count)])
    result = await apply(topology, kernel=kernel)
    assert result.status == "applied"
    return topology


class Timeless(InlineDriver):
    """A driver whose time passes while it sleeps only."""

    seconds = 0.0

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def checked(
    kernel: FakeKernel, topology: Topology, numbers: dict[str, int], patience: float = DEFAULT_PATIENCE
) -> tuple[Wires, float]:
    """What was found, and after how many seconds."""
    links = {end: Far(number, 0, f"m{number}:t0 on h2", "h2") for end, number in numbers.items()}
    across = Across(NONCE, WITHIN, links)
    driver = Timeless(Stop())
    found = drive(verify(topology, driver, kernel, patience=patience, runtime_timeout=1.0, across=across))
    return found, driver.seconds


async def test_a_host_that_is_not_heard_is_waited_for(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    topology = await tunnels(kernel, 2)
    found, seconds = checked(kernel, topology, {"n0:t0": 0})
    assert WITHIN <= seconds < WITHIN + 1
    one, other = found.wires
    assert [problem.message for problem in one.problems] == [
        "frames from m0:t0 on h2 do not arrive at n0:t0, within 20 s"
    ]
    assert one.notes == []
    assert (other.state, other.notes) == ("unchecked", [STATE_ONLY])
    assert all(frames.is_closed for frames in kernel.frames)


@pytest.mark.parametrize(("patience", "turn"), [(10.0, WITHIN), (60.0, 60.0)])
async def test_all_hosts_wait_for_a_turn_until_the_same_time(
    patience: float, turn: float, make_kernel: KernelFactory
) -> None:
    kernel = make_kernel("a", "b")
    topology = await tunnels(kernel, 2)
    # Another host may be kept by the turns before, for as long as these may take.
    found, seconds = checked(kernel, topology, {"n0:t0": WINDOW, "n1:t0": 2 * WINDOW}, patience)
    assert WITHIN + 2 * turn <= seconds < WITHIN + 2 * turn + 1
    assert [wire.state for wire in found.wires] == ["failed", "failed"]


async def test_a_link_inside_the_host_is_no_link_to_another(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    topology = lab([{"endpoints": ["a:x", "b:x"]}])
    await apply(topology, kernel=kernel)
    found, _ = checked(kernel, topology, {"a:x -- b:x": 0})
    assert [one.title for one in found.wires] == ["a:x -- b:x"]


async def test_an_end_that_is_down_sends_nothing(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    topology = await tunnels(kernel, 1)
    link = kernel["n0"].by_name("t0")
    assert link is not None
    link.up = False
    found, seconds = checked(kernel, topology, {"n0:t0": 0})
    assert seconds < 1
    assert found.wires[0].problems == [Finding("down", "n0:t0 is down; set it up: run hosts deploy, or ip link set up")]


async def test_what_is_missing_or_differs_is_made_by_a_deploy(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    topology = await tunnels(kernel, 1)
    more = {"type": "vxlan", "parent": "a:up0", "remote": "192.0.2.9", "mtu": 1400}
    ends = [{**more, "endpoint": f"n{number}:t0", "vni": number + 1} for number in range(2)]
    found, _ = checked(kernel, lab(ends), {})
    assert [wire.problems[0].check for wire in found.wires] == ["different", "missing"]
    assert all(problem.message.endswith(": run hosts deploy") for wire in found.wires for problem in wire.problems)
    assert topology.name == found.wires[0].lab


@pytest.mark.parametrize("budget", [7, 1000])
async def test_few_descriptors_are_said(make_kernel: KernelFactory, budget: int) -> None:
    kernel = make_kernel("a", "b", budget=budget)
    topology = await tunnels(kernel, 5)
    found, _ = checked(kernel, topology, {f"n{number}:t0": number for number in range(5)})
    told = [problem for wire in found.wires for problem in wire.problems]
    few = [problem for problem in told if FEW_DESCRIPTORS in problem.message]
    assert len(few) == (3 if budget == 7 else 0)
    assert len(told) == 5
    text = f"no frames were sent by n4:t0 to m4:t0 on h2: {FEW_DESCRIPTORS}"
    assert few[-1:] == ([Finding("carry", text)] if budget == 7 else [])
    assert all(len(frames.sockets) <= max(budget * 2 // 5, 2) for frames in kernel.frames)
