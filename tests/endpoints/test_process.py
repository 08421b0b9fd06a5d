"""What /proc says of a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kokofast.endpoints import process
from tests.endpoints.fakes import FakeProc, whole


def test_the_start_time_is_field_22_whatever_the_name(proc: FakeProc) -> None:
    proc.add(7, "c1", started=4242)
    assert process.started(7) == 4242


def test_two_processes_are_told_apart() -> None:
    ticks = process.started(os.getpid())
    assert ticks is not None
    with open("/proc/uptime", encoding="ascii") as file:
        uptime = float(file.read().split()[0])
    assert 0 < ticks / os.sysconf("SC_CLK_TCK") <= uptime


def test_a_process_that_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert process.started(gone.pid) is None
    assert not process.belongs_to(gone.pid, [whole("c1")])


# A container's first process, as each runtime has it.
CGROUPS = [
    "0::/docker/ID",
    "12:memory:/docker/ID\n11:cpu,cpuacct:/docker/ID\n1:name=systemd:/docker/ID",
    "0::/system.slice/docker-ID.scope",
    "0::/user.slice/user-1000.slice/user@1000.service/app.slice/docker-ID.scope",
    "0::/../../system.slice/docker-ID.scope",  # seen from another cgroup namespace
    "0::/system.slice/docker-ID.scope/init.scope",  # a container with systemd in it
    "0::/libpod_parent/libpod-ID",
    "0::/machine.slice/libpod-ID.scope",
    "0::/machine.slice/libpod-ID.scope/container",
    "0::/system.slice/web.service/libpod-payload-ID",
    "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/crio-ID.scope",
    "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/cri-containerd-ID.scope",
    "0::/kubepods/burstable/pod1-2/ID",
    "0::/k8s.io/ID",
    "1:name=systemd:/system.slice/containerd.service/kubepods-besteffort-pod1_2.slice:cri-containerd:ID",
]
MOUNTS = [
    "1 2 8:1 /var/lib/docker/containers/ID/hostname /etc/hostname rw,relatime - ext4 /dev/sda1 rw",
    "1 2 8:1 /@/var/lib/docker/containers/ID/resolv.conf /etc/resolv.conf rw - btrfs /dev/sda1 rw",
    "1 2 8:1 /docker/containers/ID/hosts//deleted /etc/hosts rw - ext4 /dev/sda1 rw",
    "1 2 0:25 /containers/storage/overlay-containers/ID/userdata/.containerenv /run/.containerenv rw - tmpfs tmpfs rw",
    "1 2 8:1 /var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/ID/hostname /etc/hostname rw - ext4 /dev/sda1 rw",
]
# Other processes: of the host, whose names and mount points hold the ids of all its containers, and of containers.
OTHERS = [
    ("0::/machine.slice/libpod-conmon-ID.scope", ""),
    ("0::/kubepods.slice/crio-conmon-ID.scope", ""),
    ("0::/system.slice/docker-ID0.scope", ""),
    ("0::/system.slice/docker-0ID.scope", ""),
    ("0::/system.slice/docker-IDID.scope", ""),
    ("0::/system.slice/docker-ID.service", ""),
    ("0::/system.slice/xdocker-ID.scope", ""),
    ("0::/docker-ID-docker-", ""),
    ("0::/system.slice/web.slice:conmon:ID", ""),
    ("4:ID:/user.slice", ""),
    ("0::/", ""),
    ("0::/", "1 2 0:5 / /var/lib/docker/containers/ID/mounts/shm rw - tmpfs shm rw"),
    ("0::/", "1 2 0:5 / /run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/rootfs rw - overlay overlay rw"),
    ("0::/", "1 2 0:5 /kata/sandboxes/ID/mounts /run/kata/sandboxes/ID/shared rw - tmpfs tmpfs rw"),
    ("0::/", "1 2 0:5 / / rw - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/ID/diff"),
    ("0::/", "1 2 8:1 /lib/ID0/hosts /etc/hosts rw - ext4 /dev/sda1 rw"),
    ("0::/", "1 2 8:1 /lib/hosts /etc/hosts rw master:1 - ext4 /dev/ID rw"),
    ("0::/", "1 2 8:1 /lib/ID/hosts /srv/etc/hosts rw - ext4 /dev/sda1 rw"),
    ("0::/", "ID"),
    ("", ""),
]


@pytest.mark.parametrize(("cgroup", "mounts"), [(text, "") for text in CGROUPS] + [("0::/", text) for text in MOUNTS])
def test_a_process_of_a_container(proc: FakeProc, cgroup: str, mounts: str) -> None:
    proc.add(7, "")
    write(proc, cgroup, "1 2 0:5 / / rw - overlay overlay rw\n" + mounts)
    assert process.belongs_to(7, [whole("other"), whole("c1")])
    assert not process.belongs_to(7, [whole("other")])
    assert not process.belongs_to(7, [whole("c1")[:63], whole("c1")[1:], "", "0", "/", "docker", "cpu", "name", "0:5"])


@pytest.mark.parametrize(("cgroup", "mounts"), OTHERS)
def test_a_process_that_is_not_of_the_container(proc: FakeProc, cgroup: str, mounts: str) -> None:
    proc.add(7, "")
    write(proc, cgroup, mounts)
    assert not process.belongs_to(7, [whole("c1")])


def write(proc: FakeProc, cgroup: str, mounts: str) -> None:
    for name, text in (("cgroup", cgroup), ("mountinfo", mounts)):
        (proc.root / "7" / name).write_text(text.replace("ID", whole("c1")) + "\n")


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "A" * 64, "0" * 63 + "g", "0" * 63 + "\n", "\uff10" * 64])
def test_what_is_no_whole_id(text: str) -> None:
    assert not process.is_identity(text)
    assert process.is_identity("0" * 64)
