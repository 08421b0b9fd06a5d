"""Container engines of the tests' own: daemons in a temporary directory, started by pid and taken down by pid, with
an image that is made here from busybox. Nothing of the machine's own engines is touched."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import grpc
from cri_api.v1 import api_pb2

IMAGE = "kft.local/busybox:1"
APPLETS = ("cat", "ip", "ping", "sh", "sleep")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
START_SECONDS = 60.0
STOP_SECONDS = 20.0

_numbers = itertools.count()


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    """The command's output. What it complains of becomes the failure of the test."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
        env=None if env is None else {**os.environ, **env},
    )
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def make_image(path: Path) -> None:
    """An image archive that docker, podman and ctr load. It sleeps until it is killed, so it serves as the pause
    image of pods too."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        busybox = shutil.which("busybox")
        assert busybox is not None
        _add(archive, "bin/busybox", Path(busybox).read_bytes(), 0o755)
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "100000"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        _add(archive, "layer.tar", layer.getvalue())
        _add(archive, "config.json", json.dumps(config).encode())
        _add(archive, "manifest.json", json.dumps(manifest).encode())


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Signals that tell us to end are passed over: this is how we end."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class Engine:
    """A daemon in a directory of its own; ``with Docker() as docker:``."""

    def __init__(self) -> None:
        # Not pytest's: the path of a unix socket has 107 bytes at most.
        self.directory = Path(tempfile.mkdtemp(prefix="kft-engine-"))
        self.socket = self.directory / "engine.sock"
        self.image = self.directory / "image.tar"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str | Path]:
        """How the daemon is started, its files written."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def __enter__(self) -> Self:
        try:
            make_image(self.image)
            self._command = [str(word) for word in self.command()]
            self.begin()
            self.prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def begin(self) -> None:
        """Starts the daemon, also again."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment()},
                # A Ctrl-C at the terminal is the tests' to deal with.
                start_new_session=True,
            )
        self._wait()

    def kill(self) -> None:
        """Ends the daemon without a warning."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.socket.unlink(missing_ok=True)

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            with socket.socket(socket.AF_UNIX) as attempt, contextlib.suppress(OSError):
                attempt.connect(str(self.socket))
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = (self.directory / "log").read_text(errors="replace")
                raise AssertionError(f"{type(self).__name__} does not start:\n{log[-3000:]}")
            time.sleep(0.05)

    def prepare(self) -> None:
        """With the daemon up: loads the image."""

    def remove_containers(self) -> None:
        """Removes everything that runs, so that the daemon ends at once."""

    def __exit__(self, *_: object) -> None:
        with undisturbed():
            self._end()

    def _end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired, grpc.RpcError):
                self.remove_containers()
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        # What the daemon leaves when it did not end well, or on purpose: shims, containers, mounts.
        for pid in processes_of(self.directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for point in mounts_below(self.directory):
            subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
        shutil.rmtree(self.directory, ignore_errors=True)


def processes_of(directory: Path) -> Iterator[int]:
    """The processes that have the directory, whose name nobody else has, in their command line or as their root."""
    name = str(directory)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                mounts = (entry / "mountinfo").read_text(errors="replace").splitlines()
                root = [line for line in mounts if line.split()[4] == "/" and name in line]
                if root or name.encode() in (entry / "cmdline").read_bytes():
                    yield int(entry.name)


def mounts_below(directory: Path) -> list[str]:
    """The mount points in the directory, the innermost first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((point for point in points if point.startswith(f"{directory}/")), reverse=True)


class Docker(Engine):
    """dockerd; ``client`` is the command line that talks to it."""

    kind = "docker"
    at_once: tuple[str, ...] = ()

    def command(self) -> list[str | Path]:
        settings = self.directory / "daemon.json"
        settings.write_text("{}")
        options = {
            "config-file": settings,
            "host": f"unix://{self.socket}",
            "group": "root",
            "data-root": self.directory / "data",
            "exec-root": self.directory / "exec",
            "pidfile": self.directory / "pid",
            "storage-driver": "overlay2",
            "exec-opt": "native.cgroupdriver=cgroupfs",
            "bridge": "none",
            **dict.fromkeys(("iptables", "ip6tables", "ip-forward", "ip-masq", "userland-proxy"), "false"),
        }
        return ["dockerd", *(f"--{name}={value}" for name, value in options.items())]

    def kill(self) -> None:
        super().kill()
        # Its containerd ends with it. While nobody has waited for that, the next one believes that it runs.
        (self.directory / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    @property
    def client(self) -> list[str]:
        return ["docker", "--host", f"unix://{self.socket}"]

    def __call__(self, *arguments: str) -> str:
        """The output of ``docker ARGUMENTS``."""
        return run(*self.client, *arguments, env=self.environment()).strip()

    def prepare(self) -> None:
        self("load", "--input", str(self.image))

    def start(self, *options: str) -> str:
        """A running container's name."""
        name = f"kft-{os.getpid()}-{next(_numbers)}"
        self("run", "--detach", "--name", name, *(options or ("--network", "none")), IMAGE)
        return name

    def remove_containers(self) -> None:
        names = self("ps", "--all", "--quiet").split()
        if names:
            self("rm", "--force", *self.at_once, *names)


class Podman(Docker):
    """podman's Docker-compatible service."""

    kind = "podman"
    at_once = ("--time", "0")  # sleep, as the first process, ignores SIGTERM

    def command(self) -> list[str | Path]:
        (self.directory / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\napparmor_profile = ""\n'
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
            f'tmp_dir = "{self.directory}/tmp"\nstatic_dir = "{self.directory}/static"\n'
            f'volume_path = "{self.directory}/volumes"\n[network]\nnetwork_config_dir = "{self.directory}/networks"\n'
        )
        (self.directory / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.directory}/data"\nrunroot = "{self.directory}/run"\n'
        )
        return ["podman", "system", "service", "--time=0", f"unix://{self.socket}"]

    def environment(self) -> dict[str, str]:
        return {
            "CONTAINERS_CONF": str(self.directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf"),
        }

    @property
    def client(self) -> list[str]:
        return ["podman", "--url", f"unix://{self.socket}"]


CONTAINERD = """\
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{directory}/engine.sock"
[ttrpc]
  address = "{directory}/engine.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{directory}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{runc}"
"""
NETWORK = {
    "cniVersion": "0.4.0",
    "name": "kft",
    "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.253.77.0/24"}}],
}
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


class Containerd(Engine):
    """containerd with its CRI plugin, spoken to as kubelet does."""

    def command(self) -> list[str | Path]:
        runc = shutil.which("runc", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        config = self.directory / "config.toml"
        config.write_text(CONTAINERD.format(directory=self.directory, image=IMAGE, runc=runc))
        (self.directory / "cni").mkdir()
        network = json.loads(json.dumps(NETWORK))
        network["plugins"][0]["ipam"]["dataDir"] = str(self.directory / "ipam")
        (self.directory / "cni" / "10-kft.conflist").write_text(json.dumps(network))
        self._forwarding = FORWARDING.read_text()  # ptp turns it on
        self._pods: list[str] = []
        return ["containerd", "--config", config]

    def prepare(self) -> None:
        self._channel = grpc.insecure_channel(f"unix:{self.socket}", options=[("grpc.default_authority", "localhost")])
        deadline = time.monotonic() + START_SECONDS
        while True:  # the plugin comes up after the socket
            try:
                self.call("Version", api_pb2.VersionRequest(), api_pb2.VersionResponse)
                break
            except grpc.RpcError:
                assert time.monotonic() < deadline, (self.directory / "log").read_text()[-3000:]
                time.sleep(0.05)
        run("ctr", "--address", self.socket, "--namespace", "k8s.io", "images", "import", self.image)

    def call(self, method: str, request: object, answer: type) -> object:
        """One CRI call."""
        function = self._channel.unary_unary(
            f"/runtime.v1.RuntimeService/{method}",
            request_serializer=type(request).SerializeToString,  # type: ignore[attr-defined]
            response_deserializer=answer.FromString,  # type: ignore[attr-defined]
        )
        return function(request, timeout=60)

    def pod(self, name: str) -> tuple[str, api_pb2.PodSandboxConfig]:
        """A pod with a network of its own; its id and what a container in it needs."""
        config = api_pb2.PodSandboxConfig(
            metadata=api_pb2.PodSandboxMetadata(name=name, namespace="kft", uid=f"uid-{name}"),
            log_directory=str(self.directory / "logs"),
            linux=api_pb2.LinuxPodSandboxConfig(cgroup_parent=f"/kft-{os.getpid()}"),
        )
        answer = self.call("RunPodSandbox", api_pb2.RunPodSandboxRequest(config=config), api_pb2.RunPodSandboxResponse)
        assert isinstance(answer, api_pb2.RunPodSandboxResponse)
        self._pods.append(answer.pod_sandbox_id)
        return answer.pod_sandbox_id, config

    def container(self, pod: tuple[str, api_pb2.PodSandboxConfig], name: str) -> str:
        """The id of a running container in the pod."""
        config = api_pb2.ContainerConfig(
            metadata=api_pb2.ContainerMetadata(name=name), image=api_pb2.ImageSpec(image=IMAGE), log_path=f"{name}.log"
        )
        return self.create(pod, config)

    def create(self, pod: tuple[str, api_pb2.PodSandboxConfig], config: api_pb2.ContainerConfig) -> str:
        """The id of a running container as the config wants it."""
        request = api_pb2.CreateContainerRequest(pod_sandbox_id=pod[0], config=config, sandbox_config=pod[1])
        answer = self.call("CreateContainer", request, api_pb2.CreateContainerResponse)
        assert isinstance(answer, api_pb2.CreateContainerResponse)
        start = api_pb2.StartContainerRequest(container_id=answer.container_id)
        self.call("StartContainer", start, api_pb2.StartContainerResponse)
        return answer.container_id

    def stop(self, identity: str) -> None:
        """Ends a container at once."""
        request = api_pb2.StopContainerRequest(container_id=identity, timeout=0)
        self.call("StopContainer", request, api_pb2.StopContainerResponse)

    def execute(self, identity: str, *command: str) -> str:
        """The output of a command in the container."""
        request = api_pb2.ExecSyncRequest(container_id=identity, cmd=command, timeout=30)
        answer = self.call("ExecSync", request, api_pb2.ExecSyncResponse)
        assert isinstance(answer, api_pb2.ExecSyncResponse)
        assert answer.exit_code == 0, (command, answer.stdout, answer.stderr)
        return answer.stdout.decode()

    def remove_containers(self) -> None:
        for pod in list(self._pods):
            self.end_pod(pod)

    def end_pod(self, pod: str) -> None:
        """Ends a pod, with its containers."""
        self._pods.remove(pod)
        stop = api_pb2.StopPodSandboxRequest(pod_sandbox_id=pod)
        self.call("StopPodSandbox", stop, api_pb2.StopPodSandboxResponse)
        remove = api_pb2.RemovePodSandboxRequest(pod_sandbox_id=pod)
        self.call("RemovePodSandbox", remove, api_pb2.RemovePodSandboxResponse)

    def __exit__(self, *arguments: object) -> None:
        super().__exit__(*arguments)
        if hasattr(self, "_channel"):
            self._channel.close()
        if hasattr(self, "_forwarding"):
            FORWARDING.write_text(self._forwarding)
