"""What goes wrong: an exit code, one sentence, and everything as it was. koko failed at each of these."""

from __future__ import annotations

import errno
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kokofast.drivers import Stop
from kokofast.koko import command
from tests.conftest import NamespaceFactory, ip
from tests.engine.fake import FakeKernel
from tests.koko.conftest import KOKO, Done, inside, koko, make_here, state

INVALID, FAILED = 2, 1


@pytest.fixture(scope="module")
def busy(requires_root: None) -> Iterator[tuple[str, str, str]]:
    """here, a, b: each with an interface called busy that is not ours. Shared: no test may change anything."""
    factory = NamespaceFactory()
    try:
        names = make_here(factory), factory("a"), factory("b")
        for number, name in enumerate(names):
            ip(name, "link", "add", "busy", "type", "veth", "peer", "name", f"peer{number}")
        yield names
    finally:
        factory.remove_all()


def assert_one_sentence(answer: Done, code: int) -> str:
    """Return the one line of an error."""
    assert answer.returncode == code, answer.stderr
    assert answer.stdout == ""
    # Another suite on this machine may hold the lock of koko's links for a moment.
    (line,) = (line for line in answer.stderr.splitlines() if not line.endswith("waiting until it ends"))
    assert line.startswith("kokofast: ")
    assert line.isprintable()
    return line


# {a} and {b} are the namespaces, which both have an interface "busy"; this one has "busy" and "up0".
@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        ("-n no-such-ns,l1 -n {b},l2", INVALID, "there is no network namespace 'no-such-ns'"),
        ("-n {a},l1 -n no-such-ns,l2", INVALID, "there is no network namespace 'no-such-ns'"),
        ("-a /run/netns/no-such,l1 -n {b},l2", INVALID, "there is no file"),
        ("-a /etc/passwd,l1 -n {b},l2", INVALID, "is not a network namespace"),
        ("-n /run/netns,l1 -n {b},l2", INVALID, "is not a network namespace"),
        ("-p 4194304,l1 -n {b},l2", INVALID, "there is no process 4194304"),
        ("-p 0,l1 -n {b},l2", INVALID, "'0' is not a process id"),
        ("-n {a},busy -n {b},l2", INVALID, "there is an interface busy already"),
        ("-n {a},l1 -n {b},busy", INVALID, "there is an interface busy already"),
        ("-c busy -n {b},l2", INVALID, "there is an interface busy already"),
        ("-n {a},busy -x up0,10.99.0.2,1", INVALID, "there is an interface busy already"),
        ("-n {a},busy -M up0,bridge", INVALID, "there is an interface busy already"),
        ("-n {a},busy -V up0,5", INVALID, "there is an interface busy already"),
        ("-n {a},l1 -n {a},l1", INVALID, "already used by"),
        ("-n {a},l1", INVALID, "the other end is missing"),
        ("-n {a},l1 -n {b},l2 -q", INVALID, "there is no option '-q'"),
        ("-N {a},l1 -n {b},l2", INVALID, "must be the only option"),
        ("-V up0,5 -n {a},l1 -n {b},l2", INVALID, "give one endpoint"),
        ("-M up0,bridge -n {a},l1 -n {b},l2", INVALID, "give one endpoint"),
        ("-x up0,10.99.0.2,1 -n {a},l1 -n {b},l2", INVALID, "give one endpoint"),
        ("-n {a},l1 -x up0,10.99.0.2,1,port=abc", INVALID, "port 'abc'"),
        ("-n {a},l1 -x up0,10.99.0.2,1,port=70000", INVALID, "port '70000'"),
        ("-n {a},l1 -x up0,10.99.0.2,1,frob=1", INVALID, "'frob=1' is neither"),
        ("-n {a},l1 -x up0,10.99.0.2,1,port", INVALID, "'port' is neither"),
        ("-n {a},l1 -x up0,nowhere,1", INVALID, "'nowhere' is not an IPv4 or IPv6 address"),
        ("-n {a},l1 -x none0,10.99.0.2,1", INVALID, "parent interface none0 not found in this namespace"),
        ("-n {a},l1 -x up0,10.99.0.2,1,mtu=1500", INVALID, "mtu 1500 does not fit on up0"),
        ("-n {a},l1 -V up0,65546", INVALID, "id '65546'"),
        ("-n {a},l1 -V none0,5", INVALID, "parent interface none0 not found"),
        ("-n {a},l1 -M up0,tree", INVALID, "'tree' is not a mode"),
        ("-n {a},l1 -M none0,bridge", INVALID, "parent interface none0 not found"),
        ("-n {a}", INVALID, "the name of the link is missing"),
        ("-n{a}", INVALID, "the name of the link is missing"),
        ("-n {a},l1,10.0.0.300/24 -n {b},l2", INVALID, "'10.0.0.300/24'"),
        ("-n {a},l1 -n {b},l2,2001:db8::zz/64", INVALID, "'2001:db8::zz/64'"),
        ("-n {a},l1,mirror:both:none0 -n {b},l2", INVALID, "there is no interface none0 in"),
        ("-n {a},l1,mirror:both:l1 -n {b},l2", INVALID, "to mirror"),
        ("-N {a},none0", INVALID, "there is no interface none0"),
        ("-N no-such-ns,l1", INVALID, "there is no network namespace"),
        ("-C none0", INVALID, "there is no interface none0"),
        (
            "-N {a},busy",
            INVALID,
            "busy was not made by kokofast, so it stays; to delete it anyway: ip -n {a} link del busy",
        ),
        ("-A /run/netns/{a},busy", INVALID, "nsenter --net=/run/netns/{a} ip link del busy"),
        ("-C busy", INVALID, "to delete it anyway: ip link del busy"),
        ("-N {a},lo", INVALID, "lo was not made by kokofast"),
        # The kernel refuses these after the interface was made: it goes again.
        ("-n {a},l1,2001:db8::1/64 -x up0,10.99.0.2,1,mtu=1000", FAILED, "Invalid argument"),
    ],
)
def test_bad_input(busy: tuple[str, str, str], argv: str, code: int, words: str) -> None:
    here, a, b = busy
    before = state(*busy)
    answer = koko(here, *argv.format(a=a, b=b).split())
    assert_one_sentence(answer, code)
    assert words.format(a=a, b=b) in answer.stderr
    assert state(*busy) == before


def test_an_empty_argument(here: str) -> None:
    answer = koko(here, "-n", "", "-n", "b,l2")
    assert_one_sentence(answer, INVALID)


def test_a_link_of_our_own_that_is_there_already(here: str, pair: tuple[str, str]) -> None:
    a, b = pair
    # Without a link-local address, whose flags change when duplicate address detection ends.
    inside(a, ["sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=1"])
    argv = ("-n", f"{a},link1", "-x", "up0,10.99.0.2,1")
    assert koko(here, *argv).returncode == 0
    before = state(*pair)
    assert_one_sentence(koko(here, "-n", f"{a},link1", "-x", "up0,10.99.0.2,2"), INVALID)
    # The kernel has one tunnel of a kind in a namespace.
    answer = koko(here, "-n", f"{a},link2", "-x", "up0,10.99.0.2,1")
    assert_one_sentence(answer, INVALID)
    assert f"link1 in {a}" in answer.stderr
    assert state(*pair) == before
    assert b not in answer.stderr


def test_a_kind_that_the_kernel_lacks_is_said(here: str, pair: tuple[str, str]) -> None:
    before = state(here, *pair)
    answer = koko(here, "-n", f"{pair[0]},link1", "-V", "up0,5")
    if answer.returncode == 0:
        assert koko(here, "-N", f"{pair[0]},link1").returncode == 0
    else:
        assert_one_sentence(answer, FAILED)
        assert "this kernel has no vlan links" in answer.stderr
    assert state(here, *pair) == before


def test_without_root(netns: NamespaceFactory) -> None:
    a, b = netns("a"), netns("b")
    before = state(a, b)
    # Root in name only: another user might not be able to read the interpreter or the checkout.
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *KOKO]
    answer = subprocess.run(
        [*command, "-n", f"{a},l1", "-n", f"{b},l2"], capture_output=True, text=True, timeout=60, cwd="/"
    )
    assert_one_sentence(answer, FAILED)
    assert "root" in answer.stderr
    assert state(a, b) == before


@pytest.mark.usefixtures("requires_root")
@pytest.mark.parametrize("create", [True, False])
def test_no_docker_daemon(
    here: str, pair: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, create: bool
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    before = state(*pair)
    end = ("-n", f"{pair[0]},l1") if create else ()
    answer = koko(here, "-d" if create else "-D", "c1,link1", *end)
    assert_one_sentence(answer, INVALID)
    assert f"the docker daemon at {tmp_path}/docker.sock cannot be reached" in answer.stderr
    assert state(*pair) == before


# On a kernel in memory: each request of a run is refused, or its answer lost.


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    kernel = FakeKernel("a", "b")
    monkeypatch.setattr("kokofast.host.kernel.LinuxKernel", lambda _: kernel)
    monkeypatch.setattr("kokofast.host.limits.missing_capabilities", list)
    monkeypatch.setattr(command, "_heed_signals", lambda _: None)
    return kernel


LINK = ["-n", "a,link1,10.0.0.1/24,2001:db8::1/64", "-n", "b,link2,10.0.0.2/24"]


@pytest.fixture
def requests_of_a_run(machine: FakeKernel) -> int:
    """How many requests LINK takes; the machine is as it was before."""
    before = machine.state()
    assert command.run(LINK) == 0
    assert machine.closed
    assert machine.links_of("a") == ["link1"]
    count = len(machine.requests)
    assert command.run(["-N", "a,link1"]) == 0
    assert machine.state() == before
    assert count >= 6  # a creation, two ends, three addresses
    return count


def test_a_refusal_takes_back_everything(
    machine: FakeKernel, requests_of_a_run: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = machine.state()
    for number in range(1, requests_of_a_run + 1):
        machine.count_from_here()
        machine.refuse[number] = errno.ENOMEM
        assert command.run(LINK) == FAILED
        assert machine.state() == before, number
        (line,) = capsys.readouterr().err.splitlines()
        assert "Cannot allocate memory (ENOMEM)" in line


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_lost_answer_takes_back_everything(machine: FakeKernel, requests_of_a_run: int, carried_out: bool) -> None:
    before = machine.state()
    for number in range(1, requests_of_a_run + 1):
        machine.count_from_here()
        machine.lose[number] = carried_out
        assert command.run(LINK) == FAILED
        assert machine.state() == before, number


def test_a_signal_takes_back_everything(
    machine: FakeKernel, requests_of_a_run: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = machine.state()
    stops: list[Stop] = []
    number = 0
    monkeypatch.setattr(command, "_heed_signals", stops.append)
    machine.before = lambda _: stops[-1].on_signal(15) if len(machine.requests) == number else None
    codes: list[int] = []
    for number in range(1, requests_of_a_run + 1):  # noqa: B007 - read above
        machine.count_from_here()
        codes.append(command.run(LINK))
        if codes[-1] == FAILED:
            assert machine.state() == before
            assert "interrupted" in capsys.readouterr().err
        else:  # it came with the last step: the link is whole
            assert machine.links_of("b") == ["link2"]
            assert command.run(["-N", "b,link2"]) == 0
    assert codes[0] == FAILED
    assert codes[-1] == 0


def test_a_defect_takes_back_everything(machine: FakeKernel) -> None:
    before = machine.state()

    def fail(request: object) -> None:
        if len(machine.requests) == 3:
            raise RuntimeError("a defect")

    machine.before = fail
    with pytest.raises(RuntimeError, match="a defect"):
        command.run(LINK)
    assert machine.state() == before


def test_a_refused_deletion_is_said(machine: FakeKernel, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(LINK) == 0
    machine.count_from_here()
    machine.refuse[1] = errno.EPERM
    assert command.run(["-N", "a,link1"]) == FAILED
    assert "link1 cannot be deleted: Operation not permitted (EPERM)" in capsys.readouterr().err
    assert command.run(["-N", "a,link1"]) == 0
    assert machine.links_of("b") == []


@pytest.mark.usefixtures("requires_root")
def test_a_docker_daemon_that_hangs_is_left_by_ctrl_c(here: str, tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    asked = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                asked.set()
                connection.recv(1 << 20)
                connection.recv(1)  # until the other side has closed it

        thread = threading.Thread(target=accept)
        thread.start()
        argv = ["env", f"DOCKER_HOST=unix://{path}", *KOKO, "-d", "c1,link1", "-c", "link2"]
        with subprocess.Popen(
            ["ip", "netns", "exec", here, *argv], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert asked.wait(30)
            process.send_signal(2)
            out, err = process.communicate(timeout=5)
        thread.join(30)
    answer = Done(argv, process.returncode, out, err)
    assert assert_one_sentence(answer, FAILED) == "kokofast: interrupted"
