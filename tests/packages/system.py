"""A fresh system of this machine's distribution in a folder, made by mmdebstrap, and commands in it."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCES = ("sources.list", "sources.list.d/*.list", "sources.list.d/*.sources")
# The folder becomes the root of a mount namespace, which takes all mounts with it, whatever happens. With chroot(2)
# instead the kernel would allow no user namespaces (user_namespaces(7)).
ENTER = """
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devpts devpts dev/pts
mount -t tmpfs -o mode=755 tmpfs run
pivot_root . .
umount -l .
shift
cd /
exec "$@"
"""
NAMESPACES = ("--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child", "--propagation", "private")


class NoSystemError(Exception):
    """mmdebstrap failed."""


@dataclass(frozen=True)
class System:
    folder: Path

    @classmethod
    def install(cls, folder: Path, package: Path) -> System:
        """Makes a system from the machine's own sources, with what a package depends on. Raises NoSystemError."""
        depends = subprocess.run(
            ["dpkg-deb", "--field", package, "Depends"], capture_output=True, text=True, check=True
        ).stdout
        # The package mount for ENTER.
        names = dict.fromkeys(["mount", *re.findall(r"(?:^|, )([a-z0-9.+-]+)", depends)])
        sources = [path for pattern in SOURCES for path in sorted(Path("/etc/apt").glob(pattern))]
        settings = folder.with_name("apt.conf")
        dump = ["apt-config", "dump", "Acquire"]  # proxies and the like
        settings.write_text(subprocess.run(dump, capture_output=True, text=True, check=True).stdout)
        done = subprocess.run(
            [
                *("unshare", "--mount", "--propagation", "private", "--"),
                *("mmdebstrap", "--quiet", "--variant=apt", f"--include={','.join(names)}"),
                *(f"--aptopt={settings}", "--dpkgopt=force-unsafe-io", "", str(folder), *map(str, sources)),
            ],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode != 0:
            raise NoSystemError(f"mmdebstrap makes no system from this machine's sources: {done.stderr.strip()}")
        return cls(folder)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the system, without a network; its exit code is the test's to check."""
        return subprocess.run(
            ["unshare", *NAMESPACES, "--", "sh", "-e", "-c", ENTER, "sh", self.folder, *command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def output(self, *command: str) -> str:
        """Runs a command that must succeed; what it prints."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def files(self) -> set[str]:
        """The paths of all that is there, without the records of apt and dpkg."""
        kept = ("/var/lib/dpkg/", "/var/lib/apt/", "/var/log/", "/var/cache/", "/tmp/")
        names = ((folder, name) for folder, *lists in os.walk(self.folder) for name in itertools.chain(*lists))
        found = (os.path.join("/", os.path.relpath(folder, self.folder), name) for folder, name in names)
        return {path for path in map(os.path.normpath, found) if not path.startswith(kept)}
