"""What a file may call a container of a CRI runtime."""

from __future__ import annotations

import json

import pytest

from kokofast.topology import TopologyError, load


def read(target: str) -> str:
    """The target of a cri node in a file."""
    file = {"nodes": {"a": {"cri": target}}, "links": [{"endpoints": ["a:eth1", "b:eth1"]}]}
    return load(json.dumps(file).encode(), filename="lab.json").nodes["a"].target


@pytest.mark.parametrize("target", ["3f2a", "web", "kube-system/kube-proxy-node1.example.com/kube-proxy"])
def test_an_id_a_name_or_a_path_of_three(target: str) -> None:
    assert read(target) == target


@pytest.mark.parametrize("target", ["", "a/b", "a/b/c/d", "a//c", "/b/c", "a/../c", "a/b/c d", "a/b/\x1b[31m"])
def test_anything_else_is_refused(target: str) -> None:
    with pytest.raises(TopologyError, match=r"\$\.nodes\.a\.cri: ") as caught:
        read(target)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["docker", "podman"])
def test_docker_knows_no_such_paths(kind: str) -> None:
    file = {"nodes": {"a": {kind: "ns/pod/web"}}, "links": []}
    with pytest.raises(TopologyError, match="is not a container's name or id"):
        load(json.dumps(file).encode(), filename="lab.json")
