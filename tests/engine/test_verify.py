"""verify on the fake kernel: what it sends when, with few descriptors, and when things go while it works."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import AbstractContextManager

import pytest

from kokofast.drivers import Stop, Stopped
from kokofast.drivers.inline import InlineDriver, drive
from kokofast.drivers.trio_driver import TrioDriver
from kokofast.engine.verify import verify
from kokofast.engine.wires import Wires
from kokofast.host.kernel import Handle
from kokofast.topology.model import Topology
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.fake_links import FakeLink
from tests.engine.labs import chain, lab
from tests.runs import apply


async def checked(kernel: FakeKernel, source: str | Topology | None = None) -> Wires:
    return await verify(source, TrioDriver(), kernel, runtime_timeout=1.0)


def states(found: Wires) -> list[str]:
    return [wire.state for wire in found.wires]


@pytest.mark.parametrize("budget", [4, 7, 1000])
async def test_windows_of_few_namespaces(make_kernel: KernelFactory, budget: int) -> None:
    kernel = make_kernel(budget=budget)
    topology = chain(20)
    await apply(topology, kernel=kernel)
    for source in ("lab", topology, None):
        assert states(await checked(kernel, source)) == ["ok"] * 20
        assert all(len(frames.sockets) <= max(budget * 2 // 5, 2) for frames in kernel.frames)
        assert all(frames.is_closed for frames in kernel.frames)


async def test_a_link_that_works_takes_one_pass_and_four_frames(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    await apply(chain(3), kernel=kernel)
    sent: list[str] = []
    kernel.before_frame = lambda link: sent.append(link.name)
    assert states(await checked(kernel)) == ["ok"] * 3
    assert len(kernel.frames) == 1
    assert len(sent) == 12


async def test_an_interface_that_goes_while_frames_are_sent(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    await apply(chain(3), kernel=kernel)

    def meddle(link: FakeLink) -> None:
        if link.name == "e1":
            kernel.before_frame = None
            namespace = kernel["n0"]
            here = namespace.by_name("e1")
            assert here is not None
            assert here.peer is not None
            there, index = here.peer
            del namespace.links[here.index], there.links[index]

    kernel.before_frame = meddle
    found = await checked(kernel, "lab")
    assert states(found) == ["failed", "ok", "ok"]
    assert {one.check for one in found.wires[0].problems} == {"carry"}
    assert "n0:e1: No such device" in found.wires[0].problems[0].message


async def test_a_namespace_that_is_gone_when_it_is_opened_again(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel()
    await apply(chain(3), kernel=kernel)
    using = kernel.using

    def gone(handles: Sequence[Handle], *, to_ask: bool = True) -> AbstractContextManager[None]:
        if not to_ask and any(handle.path.endswith("/n0") for handle in handles):
            raise OSError(errno.ESTALE, "the name leads to another network namespace by now")
        return using(handles, to_ask=to_ask)

    monkeypatch.setattr(kernel, "using", gone)
    found = await checked(kernel, "lab")
    assert states(found) == ["failed", "ok", "ok"]
    messages = [one.message for one in found.wires[0].problems]
    assert messages == [
        "nothing can be sent by n0:e1: the name leads to another network namespace by now",
        "frames from n1:e0 do not arrive at n0:e1",
    ]


async def test_a_frame_that_is_lost_once_is_sent_again(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    await apply(chain(1), kernel=kernel)
    there = kernel["n1"].by_name("e0")
    assert there is not None
    there.mtu = 100

    def meddle(_: FakeLink) -> None:
        if len(kernel.frames) > 1:
            there.mtu = 1500

    kernel.before_frame = meddle
    assert states(await checked(kernel)) == ["ok"]
    assert len(kernel.frames) == 2


async def test_an_interface_that_will_send_soon_is_waited_for(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    await apply(chain(1), kernel=kernel)
    here = kernel["n0"].by_name("e1")
    assert here is not None
    here.is_settling = True
    sent = []

    def meddle(link: FakeLink) -> None:
        if link is here:
            sent.append(link)
            here.is_settling = len(sent) < 40

    kernel.before_frame = meddle
    assert states(await checked(kernel)) == ["ok"]
    assert len(sent) > 40


async def test_frames_that_go_elsewhere_are_found_outside_of_the_link(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b", "c")
    topology = lab([{"endpoints": ["a:x", "b:x"]}, {"endpoints": ["a:y", "c:y"]}])
    await apply(topology, kernel=kernel)
    link = kernel["a"].by_name("x")
    other = kernel["c"].by_name("y")
    assert link is not None
    assert other is not None
    link.peer = kernel["c"], other.index
    found = await checked(kernel, topology)
    peer = next(one for one in found.wires[0].problems if one.check == "peer")
    assert peer.message == "frames from a:x do not arrive at b:x, but at c:y"


async def test_a_signal_ends_it_and_closes_the_sockets(make_kernel: KernelFactory) -> None:
    kernel = make_kernel(budget=4)
    await apply(chain(5), kernel=kernel)
    stop = Stop()
    kernel.before_frame = lambda _: stop.on_signal(2)
    with pytest.raises(Stopped):
        drive(verify("lab", InlineDriver(stop), kernel, runtime_timeout=1.0))
    assert len(kernel.frames) == 1
    assert kernel.frames[0].is_closed
