"""The kernel's own refusals: number, sentence and the attribute they are about."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest

from kokofast.host.kernel import Handle, LinuxKernel
from kokofast.host.namespaces import named
from kokofast.plan.ownership import MAX_ALIAS
from kokofast.wire.addr import AF_INET, AF_INET6, RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR
from kokofast.wire.link import RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK
from kokofast.wire.message import NLM_F_CREATE, NLM_F_EXCL, KernelError, Request
from tests.conftest import NamespaceFactory, ip, links

NEW = NLM_F_CREATE | NLM_F_EXCL
PEER = ("linkinfo", "data", "peer")


class Pair:
    """Two namespaces, eth0 (index 7) in the first joined to eth0 (index 8) in the second."""

    def __init__(self, kernel: LinuxKernel, names: list[str], handles: list[Handle]) -> None:
        self.kernel = kernel
        self.names = names
        self.handles = handles

    def veth(
        self,
        first: dict[str, Any] | None = None,
        second: dict[str, Any] | None = None,
        *,
        name: str = "eth1",
        indexes: tuple[int, int] = (0, 0),
    ) -> KernelError | None:
        """Asks for one more veth pair."""
        peer = {"header": {"index": indexes[1]}, "ifname": name, "net_ns_fd": self.handles[1].fd, **(second or {})}
        attributes = {
            "ifname": name,
            "net_ns_fd": self.handles[0].fd,
            **(first or {}),
            "linkinfo": {"kind": "veth", "data": {"peer": peer}},
        }
        return self.send(self.kernel.scratch(), Request(RTM_NEWLINK, {"index": indexes[0]}, attributes, NEW))

    def ask(self, request: Request) -> KernelError | None:
        """Sends a request in the first namespace."""
        return self.send(self.handles[0], request)

    def send(self, handle: Handle, request: Request) -> KernelError | None:
        (answer,) = self.kernel.send(handle, [request])
        return answer


@pytest.fixture
def pair(netns: NamespaceFactory) -> Iterator[Pair]:
    names = [netns("left"), netns("right")]
    kernel = LinuxKernel(budget=64)
    handles = [item for item in kernel.open_all([named(name) for name in names]) if isinstance(item, Handle)]
    with kernel.using(handles):
        made = Pair(kernel, names, handles)
        assert made.veth(name="eth0", indexes=(7, 8)) is None
        yield made
    kernel.close()


def code_and_path(error: KernelError | None) -> tuple[int, tuple[str, ...]]:
    assert error is not None
    return error.errno, error.path


def test_a_pair_is_as_asked(pair: Pair) -> None:
    wanted = {"mtu": 1400, "txqlen": 55, "group": 0x4B000001, "num_tx_queues": 1, "num_rx_queues": 1}
    other = {"mtu": 1300, "txqlen": 66, "group": 0x4B000002, "num_tx_queues": 2, "num_rx_queues": 2}
    first, second = bytes.fromhex("02aabbccdd01"), bytes.fromhex("02aabbccdd02")
    assert pair.veth({**wanted, "address": first}, {**other, "address": second}, indexes=(77, 88)) is None
    for name, index, values, mac in zip(pair.names, (77, 88), (wanted, other), (first, second), strict=True):
        link = links(name)["eth1"]
        assert (link["ifindex"], link["address"]) == (index, mac.hex(":"))
        assert {**values, "group": str(values["group"])} == {key: link[key] for key in values}


@pytest.mark.parametrize("value", [10, 67, 65536])
def test_an_mtu_out_of_range(pair: Pair, value: int) -> None:
    # veth_validate() refuses it without a word; a kernel that says where must say mtu.
    number, path = code_and_path(pair.veth({"mtu": value}))
    assert (number, path) in [(errno.EINVAL, ()), (errno.EINVAL, ("mtu",)), (errno.ERANGE, ("mtu",))]
    number, path = code_and_path(pair.veth({}, {"mtu": value}))
    assert (number, path) in [(errno.EINVAL, ()), (errno.EINVAL, (*PEER, "mtu")), (errno.ERANGE, (*PEER, "mtu"))]
    error = pair.ask(Request(RTM_SETLINK, {"index": 7}, {"mtu": value}))
    assert error is not None
    assert error.errno == errno.EINVAL
    assert "mtu" in error.message.lower()


@pytest.mark.parametrize(
    ("name", "value"),
    [("address", bytes(60)), ("ifname", "x" * 20), ("ifalias", "x" * (MAX_ALIAS + 1)), ("mtu", b"\1\2")],
)
def test_a_payload_of_the_wrong_length_is_pointed_at(pair: Pair, name: str, value: object) -> None:
    if isinstance(value, bytes) and name == "mtu":
        # As an unknown attribute, so that the encoder lets it pass.
        first: dict[Any, Any] = {4: value}
    else:
        first = {name: value}
    for outer, inner, path in ((first, {}, (name,)), ({}, first, (*PEER, name))):
        error = pair.veth(outer, inner)
        assert error is not None
        assert error.errno in (errno.ERANGE, errno.EINVAL)
        assert error.path == path
        assert error.message
        assert str(error) == f"{error.message} ({errno.errorcode[error.errno]})"


def test_an_ethernet_address_that_cannot_be(pair: Pair) -> None:
    assert code_and_path(pair.veth({"address": b"\2\0\0"}))[0] == errno.EINVAL
    assert code_and_path(pair.veth({}, {"address": b"\2\0\0"}))[0] == errno.EINVAL
    multicast = Request(RTM_SETLINK, {"index": 7}, {"address": b"\1\0\0\0\0\1"})
    assert code_and_path(pair.ask(multicast))[0] == errno.EADDRNOTAVAIL


def test_a_name_that_is_taken(pair: Pair) -> None:
    assert code_and_path(pair.veth(name="eth0")) == (errno.EEXIST, ())
    assert code_and_path(pair.veth({"ifname": "eth9"}, name="eth0"))[0] == errno.EEXIST
    assert code_and_path(pair.veth({}, {"ifname": "eth0"}))[0] == errno.EEXIST
    assert set(links(pair.names[0])) == {"eth0"}
    assert set(links(pair.names[1])) == {"eth0"}


def test_an_index_that_is_taken(pair: Pair) -> None:
    assert code_and_path(pair.veth(indexes=(9, 8))) == (errno.EBUSY, ())
    # Newer kernels look for it in the target namespace before they try: NLM_F_EXCL then says EEXIST.
    assert code_and_path(pair.veth(indexes=(7, 9)))[0] in (errno.EBUSY, errno.EEXIST)
    assert pair.veth(indexes=(9, 9)) is None


def test_other_refusals_of_links(pair: Pair) -> None:
    unknown = Request(RTM_NEWLINK, {}, {"ifname": "x", "linkinfo": {"kind": "nosuchkind"}}, NEW)
    error = pair.ask(unknown)
    assert code_and_path(error)[0] == errno.EOPNOTSUPP
    assert code_and_path(pair.veth({"ifname": "a/b"}))[0] == errno.EINVAL
    assert code_and_path(pair.veth({"num_tx_queues": 5000}))[0] == errno.EINVAL
    assert code_and_path(pair.veth({}, {"net_ns_fd": 1 << 20}))[0] == errno.EBADF
    assert code_and_path(pair.ask(Request(RTM_SETLINK, {"index": 99}, {"mtu": 1400}))) == (errno.ENODEV, ())
    assert code_and_path(pair.ask(Request(RTM_DELLINK, {"index": 99}))) == (errno.ENODEV, ())
    assert code_and_path(pair.ask(Request(RTM_DELLINK, {}, {"group": 77})))[0] == errno.ENODEV


def address(type: int, packed: bytes, prefixlen: int = 24, index: int = 7, family: int = AF_INET) -> Request:
    header = {"family": family, "prefixlen": prefixlen, "index": index}
    return Request(type, header, {"local": packed}, NEW if type == RTM_NEWADDR else 0)


def test_refusals_of_addresses(pair: Pair) -> None:
    packed = bytes([192, 0, 2, 1])
    for family, wrong in ((AF_INET, b"\xc0\0\2"), (AF_INET6, packed)):
        error = pair.ask(address(RTM_NEWADDR, wrong, family=family))
        assert error is not None
        assert error.errno in (errno.ERANGE, errno.EINVAL)
        assert error.path == ("local",)
        assert error.message
    assert code_and_path(pair.ask(address(RTM_NEWADDR, packed, 33)))[0] == errno.EINVAL
    assert code_and_path(pair.ask(address(RTM_NEWADDR, packed, index=99)))[0] == errno.ENODEV
    assert pair.ask(address(RTM_NEWADDR, packed)) is None
    again = pair.ask(address(RTM_NEWADDR, packed))
    assert code_and_path(again)[0] == errno.EEXIST
    assert pair.ask(address(RTM_DELADDR, packed)) is None
    assert code_and_path(pair.ask(address(RTM_DELADDR, packed)))[0] == errno.EADDRNOTAVAIL


@pytest.mark.parametrize(
    "request_", [Request(RTM_GETLINK, {"type": 1}), Request(RTM_GETADDR, {"prefixlen": 9})], ids=["links", "addresses"]
)
def test_a_dump_that_the_kernel_refuses(pair: Pair, request_: Request) -> None:
    # Strict checking refuses it inside the dump: the error comes with NLMSG_DONE.
    with pytest.raises(KernelError) as caught:
        pair.kernel.dump(pair.handles[0], request_)
    assert caught.value.errno == errno.EINVAL
    assert "dump request" in caught.value.message
    # The socket is fit for use after it.
    assert len(pair.kernel.dump(pair.handles[0], Request(RTM_GETLINK, {}))) >= 2


def test_one_request_deletes_a_group(pair: Pair) -> None:
    group = {"group": 0x4B00FFFF}
    for number in range(5):
        assert pair.veth(group, name=f"g{number}") is None
    assert pair.ask(Request(RTM_DELLINK, {}, group)) is None
    assert set(links(pair.names[0])) == {"eth0"}
    assert set(links(pair.names[1])) == {"eth0"}
    ip(pair.names[0], "link", "show", "eth0")


def test_the_longest_alias(pair: Pair) -> None:
    # One more is refused above: the kernel counts the NUL at the end.
    assert pair.ask(Request(RTM_SETLINK, {"index": 7}, {"ifalias": "x" * MAX_ALIAS})) is None
    assert links(pair.names[0])["eth0"]["ifalias"] == "x" * MAX_ALIAS
    assert pair.ask(Request(RTM_SETLINK, {"index": 7}, {"ifalias": ""})) is None
    assert links(pair.names[0])["eth0"].get("ifalias", "") == ""
