"""The socket: what comes back stands where the request stood, whatever happened to its neighbours."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator

import pytest

from kokofast.host import libc, netlink
from kokofast.host.namespaces import named, open_namespace, open_sockets
from kokofast.host.netlink import DUMP_ATTEMPTS, MAX_MESSAGES, MAX_SEND, SO_SNDBUFFORCE, Socket, UnreadableError
from kokofast.host.threads import in_own_thread
from kokofast.wire.attributes import EncodeError
from kokofast.wire.link import IFINFOMSG, RTEXT_FILTER_SKIP_STATS, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK
from kokofast.wire.message import (
    NLM_F_CREATE,
    NLM_F_DUMP_INTR,
    NLM_F_EXCL,
    NLM_F_MULTI,
    NLMSG_DONE,
    NLMSG_ERROR,
    KernelError,
    Message,
    Request,
    split,
)
from tests.conftest import NamespaceFactory, ip, ip_json, links, run

NEW = NLM_F_CREATE | NLM_F_EXCL
ALL_LINKS = Request(RTM_GETLINK, {})


@pytest.fixture
def namespace(netns: NamespaceFactory) -> str:
    return netns("socket")


@pytest.fixture
def sock(namespace: str) -> Iterator[Socket]:
    fd = open_namespace(named(namespace))
    (made,) = open_sockets([fd])
    os.close(fd)
    yield made
    made.close()


def veth(name: str) -> Request:
    data = {"peer": {"ifname": f"{name}p", "num_tx_queues": 1, "num_rx_queues": 1}}
    attributes = {"ifname": name, "num_tx_queues": 1, "num_rx_queues": 1, "linkinfo": {"kind": "veth", "data": data}}
    return Request(RTM_NEWLINK, {}, attributes, NEW)


def errnos(results: list[KernelError | None]) -> list[int]:
    return [0 if result is None else result.errno for result in results]


def test_a_refusal_in_the_middle_stops_nobody(sock: Socket, namespace: str) -> None:
    results = sock.send([veth("a"), veth("a"), veth("b"), Request(RTM_DELLINK, {"index": 999}), veth("c")])
    assert errnos(results) == [0, errno.EEXIST, 0, errno.ENODEV, 0]
    assert set(links(namespace)) == {"a", "ap", "b", "bp", "c", "cp"}


@pytest.mark.parametrize("last", ["refused", "done"])
def test_the_last_one_counts_as_the_others_do(sock: Socket, last: str) -> None:
    tail = [veth("a")] if last == "refused" else []
    assert errnos(sock.send([veth("a"), *tail])) == [0, *([errno.EEXIST] if tail else [])]


def test_nothing_to_send(sock: Socket) -> None:
    assert sock.send([]) == []


def test_more_messages_than_go_in_one_send(sock: Socket, namespace: str) -> None:
    wanted: list[int] = []
    requests: list[Request] = []
    for number in range(3 * MAX_MESSAGES + 7):
        good = number % 5 != 3
        requests.append(Request(RTM_SETLINK, {"index": 1 if good else 999}, {"txqlen": number}))
        wanted.append(0 if good else errno.ENODEV)
    assert errnos(sock.send(requests)) == wanted
    (lo,) = ip_json(namespace, "link", "show", "lo")
    assert lo["txqlen"] == max(number for number, code in enumerate(wanted) if not code)


def test_more_bytes_than_go_in_one_send(sock: Socket) -> None:
    requests = [Request(RTM_SETLINK, {"index": 1}, {"ifalias": "x" * 254}) for _ in range(MAX_MESSAGES)]
    requests[100] = Request(RTM_SETLINK, {"index": 999}, {"ifalias": "x" * 254})
    assert len(requests) * 300 > MAX_SEND
    assert errnos(sock.send(requests)) == [errno.ENODEV if number == 100 else 0 for number in range(MAX_MESSAGES)]


def test_all_refused_overruns_no_buffer(sock: Socket) -> None:
    # Each refusal is a message of its own in the receive buffer, the sentence and the path with it.
    requests = [Request(RTM_SETLINK, {"index": 1}, {"ifalias": "x" * 255})] * (2 * MAX_MESSAGES)
    results = sock.send(requests)
    assert len(results) == 2 * MAX_MESSAGES
    assert all(result is not None and result.path == ("ifalias",) for result in results)


def test_references_are_resolved(sock: Socket) -> None:
    asked: list[object] = []

    def resolve(reference: object) -> int:
        asked.append(reference)
        return 1

    assert sock.send([Request(RTM_SETLINK, {"index": "lo of this namespace"}, {"txqlen": 5})], resolve) == [None]
    assert asked == ["lo of this namespace"]


def test_after_a_request_that_cannot_be_written_the_socket_is_fit_for_use(sock: Socket) -> None:
    with pytest.raises(EncodeError):
        sock.send([veth("a"), Request(RTM_SETLINK, {"index": 1}, {"no such": 1})])
    assert errnos(sock.send([veth("b"), veth("b")])) == [0, errno.EEXIST]


def test_a_dump_of_hundreds(sock: Socket, namespace: str) -> None:
    assert not any(sock.send([veth(f"v{number}") for number in range(200)]))
    found = {message.attributes["ifname"]: message.header["index"] for message in sock.dump(ALL_LINKS)}
    assert found == {one["ifname"]: one["ifindex"] for one in ip_json(namespace, "link", "show")}
    assert len(found) >= 401
    assert sock.send([Request(RTM_DELLINK, {}, {"group": 0})]) != []  # lo is in it, too: refused or not, but answered


def test_a_socket_stays_where_it_was_made(netns: NamespaceFactory) -> None:
    names = [netns("one"), netns("two")]
    fds = [open_namespace(named(name)) for name in names]
    first, second = open_sockets(fds)
    for fd in fds:
        os.close(fd)
    assert first.namespace_cookie() != second.namespace_cookie()
    assert first.send([veth("here")]) == [None]
    assert second.send([veth("there")]) == [None]
    assert [set(links(name)) for name in names] == [{"here", "herep"}, {"there", "therep"}]
    first.close()
    second.close()


def test_the_kernel_refuses_what_strangers_send(sock: Socket, namespace: str) -> None:
    port = sock._socket.getsockname()[0]
    fd = open_namespace(named(namespace))
    (stranger,) = plain_sockets(fd)
    os.close(fd)
    with stranger, pytest.raises(ConnectionRefusedError):
        stranger.sendto(bytes(40_000), (port, 0))
    assert sock.send([veth("a")]) == [None]


def plain_sockets(namespace: int) -> list[socket.socket]:
    """A netlink socket as a process has it that lives in the namespace."""

    def job() -> list[socket.socket]:
        libc.setns(namespace, libc.CLONE_NEWNET)
        return [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)]

    return in_own_thread(job)


def small(monkeypatch: pytest.MonkeyPatch, namespace: str) -> Socket:
    """A socket with room for a few answers, that gives up after a second."""
    monkeypatch.setattr(netlink, "RECEIVE_BUFFER", 4096)
    monkeypatch.setattr(netlink, "_TIMEVAL", struct.pack("@ll", 1, 0))
    fd = open_namespace(named(namespace))
    try:
        return open_sockets([fd])[0]
    finally:
        os.close(fd)


# What a user namespace's root has where net.core.rmem_max is small: 300 requests, all of which are refused.
SMALL = """
from kokofast.host import netlink
from kokofast.wire.link import RTM_SETLINK
from kokofast.wire.message import Request
netlink.RECEIVE_BUFFER = 4096
socket = netlink.Socket()
results = socket.send([Request(RTM_SETLINK, {"index": 1}, {"ifalias": "x" * 255})] * 300)
print([result is not None for result in results] == [True] * 300)
"""


def test_a_small_buffer_has_room_for_all_refusals() -> None:
    done = run(["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", SMALL])
    assert done.stderr == ""
    assert done.stdout == "True\n"


def test_after_lost_answers_the_socket_is_fit_for_use(monkeypatch: pytest.MonkeyPatch, namespace: str) -> None:
    sock = small(monkeypatch, namespace)
    refused = [Request(RTM_SETLINK, {"index": 1}, {"ifalias": "x" * 255})] * 100
    with pytest.raises(OSError, match="No buffer space"):
        sock.send(refused)
    assert errnos(sock.send([veth("a"), veth("a")])) == [0, errno.EEXIST]
    with pytest.raises(OSError, match="No buffer space"):
        sock.send(refused)
    assert len(sock.dump(ALL_LINKS)) >= 3
    sock.close()


class FakeKernel:
    """Stands for the socket inside: answers from a list, each made from the sequence number of the request."""

    def __init__(self, *answers: bytes | BaseException, port: int = 0, flags: int = 0) -> None:
        self.answers = list(answers)
        self.sent: list[bytes] = []
        self.room: list[tuple[int, int]] = []
        self.may_force = True
        self.port = port
        self.flags = flags
        self.senders: list[tuple[int, int]] = []  # the ports, and flags, of the first answers

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def recvmsg(self, size: int, _: int = 0, flags: int = 0) -> tuple[bytes, list[object], int, tuple[int, int]]:
        if flags & socket.MSG_DONTWAIT and not self.answers:
            raise BlockingIOError(errno.EAGAIN, "nothing")
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        if self.senders:
            port, how = self.senders.pop(0)
            return answer, [], how, (port, 0)
        return answer, [], self.flags, (self.port, 0)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        if option == SO_SNDBUFFORCE and not self.may_force:
            raise PermissionError(errno.EPERM, "not allowed")
        self.room.append((option, value))

    def close(self) -> None:
        pass


def faked(fake: FakeKernel) -> Socket:
    made = Socket()
    made.close()
    made._socket = fake  # type: ignore[assignment]
    return made


def answer(type: int, seq: int, body: bytes, flags: int = NLM_F_MULTI) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), type, flags, seq, 0) + body


LINK_BODY = IFINFOMSG.pack({"index": 1})
OK = bytes(4)


def test_an_inconsistent_dump_is_asked_again() -> None:
    torn = answer(RTM_NEWLINK, 1, LINK_BODY, NLM_F_MULTI | NLM_F_DUMP_INTR) + answer(RTM_NEWLINK, 1, LINK_BODY)
    whole = answer(RTM_NEWLINK, 2, LINK_BODY) + answer(NLMSG_DONE, 2, OK)
    fake = FakeKernel(torn, answer(NLMSG_DONE, 1, OK), whole)
    assert len(faked(fake).dump(ALL_LINKS)) == 1
    assert len(fake.sent) == 2


def test_a_dump_that_says_so_only_at_its_end_is_asked_again() -> None:
    torn = answer(RTM_NEWLINK, 1, LINK_BODY) + answer(NLMSG_DONE, 1, OK, NLM_F_MULTI | NLM_F_DUMP_INTR)
    fake = FakeKernel(torn, answer(NLMSG_DONE, 2, b""))
    assert faked(fake).dump(ALL_LINKS) == []


def test_a_dump_that_is_never_consistent_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "DUMP_PAUSE_SECONDS", 0.0)
    torn = [answer(NLMSG_DONE, seq, OK, NLM_F_DUMP_INTR) for seq in range(1, DUMP_ATTEMPTS + 1)]
    fake = FakeKernel(*torn)
    with pytest.raises(OSError, match="change too fast") as caught:
        faked(fake).dump(ALL_LINKS)
    assert caught.value.errno == errno.EBUSY
    assert len(fake.sent) == DUMP_ATTEMPTS


def test_a_dump_may_be_believed_though_it_was_changed_meanwhile() -> None:
    seen: list[tuple[int, int | None]] = []

    def accept(found: list[Message], before: list[Message] | None) -> bool:
        seen.append((len(found), None if before is None else len(before)))
        return before is not None and len(found) == len(before)

    def torn(seq: int, count: int) -> bytes:
        return answer(RTM_NEWLINK, seq, LINK_BODY) * count + answer(NLMSG_DONE, seq, OK, NLM_F_DUMP_INTR)

    fake = FakeKernel(torn(1, 1), torn(2, 3), torn(3, 3), torn(4, 3))
    assert len(faked(fake).dump(Request(RTM_GETLINK, {}, accept=accept))) == 3
    assert seen == [(1, None), (3, 1), (3, 3)]
    assert len(fake.answers) == 1
    # What is consistent is not asked about.
    fake = FakeKernel(answer(RTM_NEWLINK, 1, LINK_BODY) + answer(NLMSG_DONE, 1, OK))
    assert len(faked(fake).dump(Request(RTM_GETLINK, {}, accept=lambda *_: False))) == 1


def test_answers_to_others_are_passed_over() -> None:
    refused = struct.pack("=i", -errno.EPERM) + bytes(16)
    fake = FakeKernel(answer(NLMSG_ERROR, 99, refused), answer(RTM_NEWLINK, 1, LINK_BODY), answer(NLMSG_ERROR, 1, OK))
    assert faked(fake).send([Request(RTM_DELLINK, {"index": 2})]) == [None]
    fake = FakeKernel(answer(NLMSG_ERROR, 7, refused), answer(NLMSG_DONE, 1, OK))
    assert faked(fake).dump(ALL_LINKS) == []


def test_what_belongs_together_goes_by_one_send() -> None:
    requests = [Request(RTM_SETLINK, {"index": 1}, {"txqlen": 5})] * 9000
    for may_force, option in ((True, SO_SNDBUFFORCE), (False, socket.SO_SNDBUF)):
        fake = FakeKernel(answer(NLMSG_ERROR, 9000, OK))
        fake.may_force = may_force
        assert faked(fake).send(requests, whole=True) == [None] * 9000
        (sent,) = fake.sent
        assert len(list(split(sent))) == 9000
        assert fake.room == [(option, len(sent))]
    fake = FakeKernel(*[answer(NLMSG_ERROR, number, OK) for number in (2, 2)])
    assert faked(fake).send(requests[:2], whole=True) == [None] * 2
    assert fake.room == []


def test_the_kernel_takes_as_much_by_one_send(sock: Socket) -> None:
    requests = [Request(RTM_SETLINK, {"index": 1}, {"txqlen": number}) for number in range(60_000)]  # 2.4 MB
    requests[30_000] = Request(RTM_SETLINK, {"index": 77}, {"txqlen": 1})
    answers = sock.send(requests, whole=True)
    assert [number for number, refusal in enumerate(answers) if refusal is not None] == [30_000]
    (lo,) = [one for one in sock.dump(ALL_LINKS) if one.header["index"] == 1]
    assert lo.attributes["txqlen"] == 59_999


def test_what_no_kernel_sent_is_not_read() -> None:
    fake = FakeKernel(b"nonsense", port=4711)
    with pytest.raises(IndexError):  # all it was given is used up, nothing of it believed
        faked(fake).send([Request(RTM_DELLINK, {"index": 2})])
    assert fake.answers == []


def test_what_a_stranger_sent_is_passed_over_however_long_it_is() -> None:
    fake = FakeKernel(b"nonsense", answer(NLMSG_ERROR, 1, OK))
    fake.senders = [(4711, socket.MSG_TRUNC)]
    assert faked(fake).send([Request(RTM_DELLINK, {"index": 2})]) == [None]


def test_a_dump_that_has_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "DUMP_MESSAGES", 10)
    piece = answer(RTM_NEWLINK, 1, LINK_BODY) * 4
    fake = FakeKernel(*[piece] * 5)
    with pytest.raises(UnreadableError, match="not ended after 10 messages") as caught:
        faked(fake).dump(ALL_LINKS)
    assert (caught.value.errno, len(caught.value.messages)) == (errno.EFBIG, 12)


def test_what_was_read_of_a_dump_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    good = [answer(RTM_NEWLINK, seq, LINK_BODY) for seq in (1, 2)]
    too_long = struct.pack("=i", -errno.EMSGSIZE)
    bad = [answer(RTM_NEWLINK, seq, b"short...") + good[seq - 1] + answer(NLMSG_DONE, seq, OK) for seq in (1, 2)]
    answers: dict[int, list[bytes | OSError]] = {
        errno.EBADMSG: [good[0], bad[0], BlockingIOError(), good[1], bad[1]],
        errno.EMSGSIZE: [good[0], answer(NLMSG_DONE, 1, too_long)],
    }
    for code, given in answers.items():
        with pytest.raises(UnreadableError) as caught:
            faked(FakeKernel(*given)).dump(ALL_LINKS)
        assert (caught.value.errno, len(caught.value.messages)) == (code, 2 if code == errno.EBADMSG else 1)
    monkeypatch.setattr(netlink, "DUMP_ATTEMPTS", 2)
    torn = [answer(RTM_NEWLINK, seq, LINK_BODY) + answer(NLMSG_DONE, seq, OK, NLM_F_DUMP_INTR) for seq in (1, 2)]
    with pytest.raises(UnreadableError) as caught:
        faked(FakeKernel(*torn)).dump(ALL_LINKS)
    assert (caught.value.errno, len(caught.value.messages)) == (errno.EBUSY, 1)


def test_a_dump_that_arrived_broken_once_is_asked_for_again() -> None:
    """Else a namespace would be passed over as one that somebody has made unreadable."""
    first, second = (answer(RTM_NEWLINK, seq, LINK_BODY) + answer(NLMSG_DONE, seq, OK) for seq in (1, 2))
    fake = FakeKernel(first[: len(first) // 2 | 1], BlockingIOError(), second)
    assert len(faked(fake).dump(ALL_LINKS)) == 1


def test_an_answer_that_never_comes() -> None:
    with pytest.raises(TimeoutError) as caught:
        faked(FakeKernel(BlockingIOError(errno.EAGAIN, "again"))).send([Request(RTM_DELLINK, {"index": 2})])
    assert caught.value.errno == errno.ETIMEDOUT


def test_an_answer_that_was_cut() -> None:
    fake = FakeKernel(b"", b"", answer(RTM_NEWLINK, 3, LINK_BODY) + answer(NLMSG_DONE, 3, OK))
    fake.answers.insert(1, BlockingIOError())
    fake.answers.insert(3, BlockingIOError())
    fake.senders = [(0, socket.MSG_TRUNC), (0, socket.MSG_TRUNC), (0, 0)]
    assert len(faked(fake).dump(ALL_LINKS)) == 1
    assert len(fake.sent) == 3


def test_an_answer_that_is_always_cut() -> None:
    answers = [item for _ in range(9) for item in (b"", BlockingIOError())]
    fake = FakeKernel(*answers, flags=socket.MSG_TRUNC)
    with pytest.raises(UnreadableError, match="longer than the buffer"):
        faked(fake).dump(ALL_LINKS)
    with pytest.raises(OSError, match="longer than the buffer"):
        faked(FakeKernel(b"", flags=socket.MSG_TRUNC)).send([Request(RTM_DELLINK, {"index": 2})])


def test_an_interface_with_more_to_it_than_fits(sock: Socket, namespace: str) -> None:
    assert sock.send([veth("a")]) == [None]
    ip(namespace, "-batch", "-", input="".join(f"link property add dev a altname {n:0125}\n" for n in range(400)))
    asked = Request(RTM_GETLINK, {}, {"ext_mask": RTEXT_FILTER_SKIP_STATS})
    assert {message.attributes["ifname"] for message in sock.dump(asked)} >= {"lo", "a", "ap"}


def test_a_socket_that_lost_messages_says_so() -> None:
    with pytest.raises(OSError, match="no room"):
        faked(FakeKernel(OSError(errno.ENOBUFS, "no room"))).send([Request(RTM_DELLINK, {"index": 2})])


def test_a_dump_that_broke_off_does_not_stand_in_the_way_of_the_next(netns: NamespaceFactory) -> None:
    name = netns()
    for number in range(40):  # more than one piece
        ip(name, "link", "add", f"v{number}", "type", "veth", "peer", "name", f"w{number}")
    fd = open_namespace(named(name))
    (made,) = open_sockets([fd])
    os.close(fd)
    real = made._socket

    class Failing:
        failed = False

        def __getattr__(self, attribute: str) -> object:
            return getattr(real, attribute)

        def recvmsg(self, *arguments: int) -> object:
            if not self.failed:
                self.failed = True
                raise OSError(errno.ENOBUFS, "no room")
            return real.recvmsg(*arguments)

    made._socket = Failing()  # type: ignore[assignment]
    with pytest.raises(OSError, match="no room"):
        made.dump(ALL_LINKS)
    assert len(made.dump(ALL_LINKS)) >= 81
    real.close()
