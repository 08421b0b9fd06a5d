"""Which namespaces live on without a name, on the real kernel."""

from __future__ import annotations

import errno
import os

import pytest

from kokofast.host import watch as watching
from kokofast.host.kernel import Handle, LinuxKernel
from kokofast.host.namespaces import make_scratch
from kokofast.host.netlink import Socket
from kokofast.host.watch import Watch
from kokofast.wire.addr import RTM_GETADDR
from kokofast.wire.link import RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK
from kokofast.wire.message import HEADER_SIZE, KernelError, Request, pack
from kokofast.wire.netns import RTM_NEWNSID, numbered

GROUP = 0x4B000001


def test_the_short_way_to_number_a_namespace_makes_what_the_tables_make() -> None:
    request = Request(RTM_NEWNSID, {}, {"nsid": 300, "fd": 70_000})
    assert pack(request, 1, ack=False)[HEADER_SIZE:] == numbered(300, 70_000)


def test_what_is_held_is_told_and_its_links_are_reached(requires_root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "NUMBERS_EACH", 4)
    made = [make_scratch() for _ in range(10)]
    peer = {"header": {}, "ifname": "b", "group": GROUP}
    for item in made:
        attributes = {"ifname": "a", "group": GROUP, "linkinfo": {"kind": "veth", "data": {"peer": peer}}}
        assert item.socket.send([Request(RTM_NEWLINK, {}, attributes, 0x600)]) == [None]
    watch = Watch()
    watch.add([(item.identity, item.fd) for item in made[:7]])
    watch.add([(item.identity, item.fd) for item in made])  # those that are known are not numbered again
    held = {2, 9}
    for number, item in enumerate(made):
        os.close(item.fd)
        if number not in held:
            item.socket.close()
    kernel = LinuxKernel(100)
    try:
        living = watch.wait([item.identity for item in made])
        assert living == [made[number].identity for number in sorted(held)]
        handle = Handle("(gone)", living[0], None)
        handle.remote = watch.remote(living[0])
        with kernel.using([handle]):
            assert len(kernel.dump(handle, Request(RTM_GETLINK, {}))) == 3
            (loopback,) = kernel.ask(handle, Request(RTM_GETLINK, {"index": 1}))
            assert loopback.attributes["ifname"] == "lo"
            assert kernel.send(handle, [Request(RTM_DELLINK, {}, {"group": GROUP})]) == [None]
            with pytest.raises(OSError, match="no name any more"):
                kernel.dump(handle, Request(RTM_GETADDR, {}))
        assert len(made[2].socket.dump(Request(RTM_GETLINK, {}))) == 1
        assert len(made[9].socket.dump(Request(RTM_GETLINK, {}))) == 3
    finally:
        for number in held:
            made[number].socket.close()
        assert watch.wait([item.identity for item in made]) == []
        # As it is when it was let go between the question and what is to be done there.
        links = Request(RTM_GETLINK, {"index": 1})
        with kernel.using([handle]):
            (refusal,) = kernel.send(handle, [Request(RTM_DELLINK, {}, {"group": GROUP})])
            assert refusal is not None
            assert refusal.errno == errno.ENODEV
            for question in (kernel.ask, kernel.dump):
                with pytest.raises(KernelError, match="has ended") as found:
                    question(handle, links)
                assert found.value.errno == errno.ENODEV
        # Another namespace may get the inode of one that has ended. And who was never watched is no reason to fail.
        assert not any(watch.knows(item.identity) for item in made)
        assert watch.living([(0, 0)]) == []
        watch.close()
        kernel.close()


def test_an_observer_that_cannot_be_had_leaves_no_descriptor(
    requires_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Socket) -> None:
        raise OSError(errno.ENOMEM, "no memory")

    made = make_scratch()
    monkeypatch.setattr(Socket, "be_short", refuse)
    before = len(os.listdir("/proc/self/fd"))
    kept: list[BaseException] = []
    for _ in range(3):
        with pytest.raises(OSError, match="no memory") as caught:
            Watch().add([(made.identity, made.fd)])
        kept.append(caught.value)  # and its frames
    assert len(os.listdir("/proc/self/fd")) == before
    made.socket.close()
    os.close(made.fd)
