"""koko's examples with containers, as they stand in its README."""

from __future__ import annotations

import pytest

from tests.conftest import NamespaceFactory, RunKokofast, ip, links
from tests.runtimes.engines import Containerd, Docker

Environment = dict[str, str]


@pytest.fixture
def host(engine: Docker) -> Environment:
    """Where -d asks: Docker, and Podman, which answers as Docker does."""
    return {"DOCKER_HOST": f"unix://{engine.socket}"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["192.168.1.1/24"], ["192.168.1.2/24"]),
        (["2001:DB8::1/64"], ["2001:DB8::2/64"]),
        (["192.168.1.1/24", "2001:DB8::1/64"], ["192.168.1.2/24", "2001:DB8::2/64"]),
    ],
    ids=["IPv4", "IPv6", "both"],
)
def test_docker_to_docker(
    engine: Docker, host: Environment, kokofast: RunKokofast, first: list[str], second: list[str]
) -> None:
    a, b = engine.start(), engine.start()
    made = kokofast("-d", ",".join([a, "link1", *first]), "-d", ",".join([b, "link2", *second]), env=host)
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    for address in second:
        engine("exec", a, "ping", "-c", "1", "-W", "5", address.partition("/")[0])
    deleted = kokofast("-D", f"{a},link1", env=host)
    assert (deleted.returncode, deleted.stdout, deleted.stderr) == (0, "", "")
    for container in (a, b):
        assert "link" not in engine("exec", container, "ip", "-o", "link").replace("link/", "")


def test_docker_to_netns(engine: Docker, host: Environment, kokofast: RunKokofast, netns: NamespaceFactory) -> None:
    container, namespace = engine.start(), netns()
    ends = ("-d", f"{container},link1,192.168.1.1/24", "-n", f"{namespace},link2,192.168.1.2/24")
    assert kokofast(*ends, env=host).returncode == 0
    engine("exec", container, "ping", "-c", "1", "-W", "5", "192.168.1.2")
    again = kokofast(*ends, env=host)
    assert again.returncode == 0
    assert "is there already; nothing to do" in again.stderr
    assert kokofast("-N", f"{namespace},link2").returncode == 0
    assert links(namespace) == {}


def test_docker_on_a_parent(engine: Docker, host: Environment, kokofast: RunKokofast, netns: NamespaceFactory) -> None:
    container = engine.start()
    ip(None, "link", "add", "kft-up0", "type", "veth", "peer", "name", "kft-up1")
    try:
        made = kokofast("-d", f"{container},link1,192.168.1.1/24", "-x", "kft-up0,10.1.1.1,1", env=host)
        assert made.returncode == 0, made.stderr
        assert "mtu 1450" in engine("exec", container, "ip", "link", "show", "link1")
        assert kokofast("-D", f"{container},link1", env=host).returncode == 0
    finally:
        ip(None, "link", "del", "kft-up0")


def test_a_container_that_is_not_there_or_does_not_run(
    engine: Docker, host: Environment, kokofast: RunKokofast, netns: NamespaceFactory
) -> None:
    stopped, namespace = engine.start(), netns()
    engine("stop", "-t", "0", stopped)
    for name, words in (("kft-nobody", "knows no container 'kft-nobody'"), (stopped, "is not running")):
        for argv in (("-d", f"{name},link1", "-n", f"{namespace},link2"), ("-D", f"{name},link1")):
            answer = kokofast(*argv, env=host)
            assert answer.returncode == 2
            (line,) = answer.stderr.splitlines()
            assert words in line
    assert links(namespace) == {}


def test_cri_to_netns(containerd: Containerd, kokofast: RunKokofast, netns: NamespaceFactory) -> None:
    container, namespace = containerd.container(containerd.pod("koko"), "app"), netns()
    host = {"CONTAINER_RUNTIME_ENDPOINT": f"unix://{containerd.socket}"}
    made = kokofast("-e", "kft/koko/app,link1,192.168.1.1/24", "-n", f"{namespace},link2,192.168.1.2/24", env=host)
    assert (made.returncode, made.stderr) == (0, "")
    containerd.execute(container, "ping", "-c", "1", "-W", "5", "192.168.1.2")
    assert kokofast("-E", f"{container[:12]},link1", env=host).returncode == 0
    assert links(namespace) == {}
