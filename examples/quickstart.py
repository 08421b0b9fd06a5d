#!/usr/bin/env python3
"""From a bare machine to a wired chain of network namespaces: ``python3 examples/quickstart.py [--links 1000]``.

As root the chain is made on the machine, shown, and destroyed. As another user it is made in a sandbox, which is gone
when the command ends. Uses the standard library only, and installs kokofast into .venv in this checkout.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAB = "quickstart"
OLDEST = (3, 11)
STAMP = "kokofast-installed"

# policy-rc.d keeps the services of new packages from starting, unless the machine has its own. If apt-get update fails,
# apt-get install may still work.
APT_SCRIPT = r"""
export DEBIAN_FRONTEND=noninteractive
trap 'exit 1' HUP INT TERM
if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
fi
apt-get -o DPkg::Lock::Timeout=120 -q update || echo "apt-get update failed, going on with what is known" >&2
apt-get -o DPkg::Lock::Timeout=120 -q install -y --no-install-recommends "$@"
"""


def show(command: list[str]) -> None:
    """Print a command."""
    print(f"$ {shlex.join(command)}", flush=True)


def run(command: list[str]) -> int:
    """Print the command, run it in the checkout, and return its exit code."""
    show(command)
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def version_of(python: str) -> tuple[int, int]:
    """Return the version of an interpreter as (3, 12), (0, 0) if it does not run."""
    code = "import sys; print(sys.version_info[0], sys.version_info[1])"
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return 0, 0
    return int(answer[0]), int(answer[1])


def works(command: list[str]) -> bool:
    """Whether a command runs and exits with 0."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def require_python(python: str = sys.executable) -> str:
    """Return the version as ``3.11``; exit if it is too old for kokofast."""
    version = version_of(python)
    if version < OLDEST:
        found = "does not run" if version == (0, 0) else f"is {version[0]}.{version[1]}"
        sys.exit(
            f"kokofast needs Python {OLDEST[0]}.{OLDEST[1]} or newer, and {python} {found}: "
            "install a newer one and start this script with it."
        )
    return f"{version[0]}.{version[1]}"


def apt_install(packages: list[str]) -> None:
    """Install Debian packages as root, or by sudo if it needs no password; otherwise exit with the command to run."""
    command = ["sh", "-c", APT_SCRIPT, "apt", *packages]
    by_hand = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        sys.exit(f"There is no apt-get here: install the equivalent of these Debian packages and try again: {packages}")
    if os.geteuid() != 0:
        if not works(["sudo", "-n", "true"]):
            sys.exit(f"This needs root once: run `{by_hand}` as root, then try again.")
        command = ["sudo", "-n", *command]
    print(f"$ {by_hand}", flush=True)
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode != 0:
        sys.exit(f"`{by_hand}` failed, see above.")


def venv_packages(python: str) -> list[str]:
    """Return the package that this interpreter needs to make a venv: Debian and Ubuntu have one of its own for that."""
    if works([python, "-c", "import venv, ensurepip"]):
        return []
    return [f"python{require_python(python)}-venv"]


def ensure_venv(directory: Path, *, python: str = sys.executable, extra: str = "") -> str:
    """Make a venv with this checkout installed in place; return its interpreter. Fast if nothing has changed."""
    inside = str(directory / "bin" / "python")
    if version_of(inside) < OLDEST or not works([inside, "-m", "pip", "--version"]):
        require_python(python)
        missing = venv_packages(python)
        if missing:
            apt_install(missing)
        if run([python, "-m", "venv", "--clear", str(directory)]) != 0:
            sys.exit(f"Could not make a virtual environment in {directory}.")
        (directory / ".gitignore").write_text("*\n")
    # The path of the checkout counts, too: an installation in place points to it.
    facts = [str(ROOT), *map(str, version_of(inside)), (ROOT / "pyproject.toml").read_text(encoding="utf-8")]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    stamp = directory / STAMP
    known = stamp.read_text().split() if stamp.exists() else []
    if known[:1] != [digest] or (extra and extra not in known):
        stamp.unlink(missing_ok=True)
        target = f".[{extra}]" if extra else "."
        if run([inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", target]) != 0:
            sys.exit(f"Could not install kokofast into {directory}, see above.")
        stamp.write_text(f"{digest} {extra}\n")
    return inside


def inspect(kokofast: str, lab: str) -> int:
    """Run ``kokofast inspect`` and print the end of its output."""
    command = [kokofast, "inspect", lab]
    show(command)
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    lines = answer.stdout.splitlines()
    if len(lines) > 6:
        print(f"... {len(lines) - 5} lines not shown ...")
    print("\n".join(lines if len(lines) <= 6 else lines[-5:]), flush=True)
    return answer.returncode


def chain(kokofast: str, topology: Path, links: int) -> int:
    """Generate the chain and wire it; as root also show and destroy it. Return the exit code of the first failure."""
    command = [kokofast, "generate", "chain", "--links", str(links)]
    print(f"$ {shlex.join(command)} > {topology}", flush=True)
    generated = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if generated.returncode != 0:
        return generated.returncode
    # Names of its own for lab and namespaces: the lab is destroyed at the end, and r0, r1, ... may exist.
    document = json.loads(generated.stdout)
    document["name"] = LAB
    for link in document["links"]:
        link["endpoints"] = [f"{LAB}-{end}" for end in link["endpoints"]]
    topology.write_text(json.dumps(document), encoding="utf-8")
    if os.geteuid() != 0:
        return run([kokofast, "batch", str(topology), "--sandbox"])
    try:
        code = run([kokofast, "batch", str(topology), "--create"])
        if code == 0:
            code = inspect(kokofast, LAB)
    finally:  # also when interrupted
        destroyed = run([kokofast, "destroy", str(topology)])
    return code or destroyed


def main() -> int:
    """Run the example; return the exit code."""
    parser = argparse.ArgumentParser(description="Wires a chain of network namespaces with kokofast.")
    parser.add_argument("--links", type=int, default=1000, help="how many links the chain has (default: 1000)")
    links = parser.parse_args().links
    require_python()
    kokofast = Path(ensure_venv(ROOT / ".venv")).with_name("kokofast")
    with tempfile.TemporaryDirectory(prefix="kokofast-") as directory:
        # A signal's -15 becomes the shell's 143.
        code = chain(str(kokofast), Path(directory) / "quickstart.json", links)
        return code if code >= 0 else 128 - code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
