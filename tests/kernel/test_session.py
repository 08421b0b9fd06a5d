"""Sessions on the real kernel: ip and tc as witnesses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trio
import trio.testing

import kokofast
from kokofast.engine.result import Result
from kokofast.engine.session import Prepared
from kokofast.topology.model import Topology
from tests.conftest import ip, ip_json, run
from tests.kernel.conftest import Lab, ping
from tests.kernel.test_impairments import shape

pytestmark = [pytest.mark.usefixtures("requires_root"), pytest.mark.native]


class Triangle:
    """A satellite that a ground station talks to, and another one."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.ground, self.one, self.two = lab.node("g"), lab.node("s1"), lab.node("s2")
        self.first = self.link(self.one, "10.0.0.2")
        self.second = self.link(self.two, "10.0.0.3")
        lab.write([self.first])

    def link(self, node: str, address: str) -> dict[str, object]:
        return {"endpoints": [f"{self.ground}:sky:10.0.0.1/24", f"{node}:gs:{address}/24"], "rate": "10mbit"}

    def topology(self) -> Topology:
        return kokofast.load(self.lab.file)

    def handover(self, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        return {"remove": [[":".join(end.split(":")[:2]) for end in old["endpoints"]]], "add": [new]}


@pytest.fixture
def triangle(lab: Lab) -> Triangle:
    return Triangle(lab)


def rate(node: str, ifname: str) -> int:
    kind, options = shape(node, ifname)
    assert kind == "tbf"
    return int(options["rate"])


async def test_rates_and_handovers_under_trio(triangle: Triangle) -> None:
    async with kokofast.session(triangle.topology()) as lab:
        ping(triangle.ground, "10.0.0.2")
        number = ip_json(triangle.ground, "link", "show", "sky")[0]["ifindex"]
        result = await lab.apply({"set": [{"endpoint": f"{triangle.ground}:sky", "rate": "20mbit"}]})
        assert (result.status, result.links["updated"]) == ("applied", 1)
        assert (rate(triangle.ground, "sky"), rate(triangle.one, "gs")) == (2_500_000, 1_250_000)
        result = await lab.apply(triangle.handover(triangle.first, triangle.second))
        assert (result.links["created"], result.links["removed"]) == (1, 1)
        ping(triangle.ground, "10.0.0.3")
        assert "gs@" not in ip(triangle.one, "link", "show")
        assert ip_json(triangle.ground, "link", "show", "sky")[0]["ifindex"] != number
        assert [link.name for link in lab.topology.nodes.values()] == [triangle.ground, triangle.one, triangle.two]
        await lab.apply(triangle.handover(triangle.second, triangle.first))
    assert triangle.lab.batch()["status"] == "unchanged"


def test_a_program_without_trio_and_one_with_asyncio(triangle: Triangle) -> None:
    there = f"{triangle.ground}:sky"
    with kokofast.session(triangle.topology()) as lab:
        lab.apply({"set": [{"endpoint": there, "rate": "1mbit"}]})
        assert rate(triangle.ground, "sky") == 125_000

        async def main() -> None:
            await asyncio.to_thread(lab.apply, {"set": [{"endpoint": there, "up": False}]})

        asyncio.run(main())
    assert "UP" not in ip_json(triangle.ground, "link", "show", "sky")[0]["flags"]


class Gate:
    """Holds each change of a session before it is carried out, until a wait is over."""

    def __init__(self, lab: kokofast.Session, wait: Callable[[], Awaitable[object]]) -> None:
        self.wait = wait
        self.here = self.most = 0
        self.carry_out = lab._running.carry_out
        lab._running.carry_out = self.pass_through  # type: ignore[method-assign]

    async def pass_through(self, prepared: Prepared) -> Result:
        self.here += 1
        self.most = max(self.most, self.here)
        await self.wait()
        self.here -= 1
        return await self.carry_out(prepared)


async def test_changes_of_several_tasks_are_made_one_after_the_other(triangle: Triangle) -> None:
    done: list[str] = []

    async def change(number: int) -> None:
        done.append((await lab.apply({"set": [{"select": "*:sky", "rate": f"{number}mbit"}]})).status)

    async with kokofast.session(triangle.topology()) as lab, trio.open_nursery() as tasks:
        gate = Gate(lab, trio.testing.wait_all_tasks_blocked)
        for number in range(1, 6):
            tasks.start_soon(change, number)
    assert (done, gate.most) == (["applied"] * 5, 1)


async def test_the_end_of_the_block_waits_for_a_change_of_another_task(triangle: Triangle) -> None:
    done: list[str] = []
    come, opened = trio.Event(), trio.Event()

    async def change() -> None:
        done.append((await lab.apply({"set": [{"select": "*:sky", "rate": "1mbit"}]})).status)

    async def open_later() -> None:
        await trio.testing.wait_all_tasks_blocked()
        opened.set()

    async def wait() -> None:
        come.set()
        await opened.wait()

    async with trio.open_nursery() as others:
        async with kokofast.session(triangle.topology()) as lab:
            Gate(lab, wait)
            others.start_soon(change)
            await come.wait()
            others.start_soon(open_later)
        assert done == ["applied"]
    assert rate(triangle.ground, "sky") == 125_000


def test_the_end_of_the_block_waits_for_a_change_of_another_thread(triangle: Triangle) -> None:
    come, opened = threading.Event(), threading.Event()

    async def wait() -> None:
        come.set()
        assert opened.wait(30)
        assert not lab._running.has_ended

    with ThreadPoolExecutor() as pool:
        with kokofast.session(triangle.topology()) as lab:
            Gate(lab, wait)
            change = pool.submit(lab.apply, {"set": [{"select": "*:sky", "rate": "1mbit"}]})
            assert come.wait(30)
            threading.Timer(0.2, opened.set).start()
        assert change.result().status == "applied"
    assert rate(triangle.ground, "sky") == 125_000


def test_a_namespace_that_is_replaced_is_an_error_and_then_its_links_are_made_again(triangle: Triangle) -> None:
    def change(rate: str) -> dict[str, Any]:
        return {"set": [{"endpoints": [f"{triangle.ground}:sky", f"{triangle.one}:gs"], "rate": rate}]}

    with kokofast.session(triangle.topology()) as lab:
        ip(None, "netns", "delete", triangle.one)
        ip(None, "netns", "add", triangle.one)
        with pytest.raises(kokofast.ApplyError, match="leads to another network namespace by now"):
            lab.apply(change("2mbit"))
        # The session itself must not keep the old one alive, and with it the link.
        assert lab.apply(change("3mbit")).links["created"] == 1
        assert (rate(triangle.ground, "sky"), rate(triangle.one, "gs")) == (375_000, 375_000)
        ping(triangle.ground, "10.0.0.2")
        assert lab.apply(change("4mbit")).links["updated"] == 1
    assert triangle.lab.inspect() != []


def test_a_session_ends_with_its_block(triangle: Triangle) -> None:
    change = {"set": [{"endpoint": f"{triangle.ground}:sky", "rate": "1mbit"}]}
    with kokofast.session(triangle.topology()) as lab:
        pass
    with pytest.raises(RuntimeError, match="the block of this session has ended"):
        lab.apply(change)
    assert rate(triangle.ground, "sky") == 1_250_000


def test_null_takes_back_what_was_set(triangle: Triangle) -> None:
    ground = triangle.ground
    port = {"type": "macvlan", "parent": f"{ground}:sky", "endpoint": f"{ground}:port"}
    triangle.lab.write([triangle.first, port])
    sky, mac = f"{ground}:sky", f"{ground}:port"
    with kokofast.session(triangle.topology()) as lab:
        lab.apply(
            {"set": [{"endpoint": sky, "addresses": ["10.9.0.1/24"]}, {"endpoint": mac, "mtu": 1400, "up": False}]}
        )
        assert ip_json(ground, "link", "show", "port")[0]["mtu"] == 1400
        changes = [{"endpoint": sky, "rate": None, "addresses": None}, {"endpoint": mac, "mtu": None, "up": None}]
        assert lab.apply({"set": changes}).links["updated"] == 2
        (port_now,) = ip_json(ground, "link", "show", "port")
        assert port_now["mtu"] == 1500
        assert "UP" in port_now["flags"]
        assert "tbf" not in run(["tc", "-n", ground, "qdisc", "show", "dev", "sky"]).stdout
        assert "inet " not in ip(ground, "address", "show", "dev", "sky")
        with pytest.raises(kokofast.ApplyError, match="null leaves mtu as it is: give the value that it is to have"):
            lab.apply({"set": [{"endpoint": sky, "mtu": None}]})


def test_an_unknown_key_of_a_change_is_refused(triangle: Triangle) -> None:
    change = {"set": [{"endpoint": f"{triangle.ground}:sky", "rate": "1mbit"}]}
    with kokofast.session(triangle.topology()) as lab:
        with pytest.raises(kokofast.ApplyError, match=r"sett: unknown key 'sett'; did you mean 'set'\?"):
            lab.apply({**change, "sett": []})
        assert rate(triangle.ground, "sky") == 1_250_000


def test_what_cannot_be_is_refused_whole(triangle: Triangle) -> None:
    here, there = f"{triangle.ground}:sky", f"{triangle.one}:gs"
    with kokofast.session(triangle.topology()) as lab:
        bad = {"set": [{"endpoint": here, "rate": "1mbit"}, {"endpoint": there, "rat": "1mbit"}]}
        with pytest.raises(kokofast.ApplyError, match=r"set\[1\]\.rat: unknown key 'rat'; did you mean 'rate'\?"):
            lab.apply(bad)
        # The kernel finds out: an interface of this name is there.
        ip(triangle.two, "link", "add", "gs", "type", "veth", "peer", "name", "other")
        with pytest.raises(kokofast.ApplyError, match="already has an interface gs, not ours"):
            lab.apply(triangle.handover(triangle.first, triangle.second))
        assert rate(triangle.ground, "sky") == 1_250_000
        ping(triangle.ground, "10.0.0.2")
    assert triangle.lab.batch()["status"] == "unchanged"
