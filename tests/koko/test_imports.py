"""The quick path is quick because of what it does not import: each of these costs more than the link itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import ROOT
from tests.koko.conftest import inside

HEAVY = frozenset(
    {
        *("trio", "asyncio", "aiohttp", "aiodocker", "grpc", "msgspec", "yaml"),
        *("typing", "dataclasses", "collections", "contextlib", "functools", "enum", "re", "inspect"),
        *("argparse", "logging", "json", "pathlib", "subprocess", "tempfile", "traceback"),
        *("ctypes", "types", "operator", "math", "encodings.ascii"),
        *("threading", "socket", "selectors", "signal", "hashlib", "_hashlib", "ipaddress", "importlib.util"),
    }
)

# -S: what a virtual environment imports by itself must not be laid at our door.
SCRIPT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import os
before = set(sys.modules)
end = os._exit
os._exit = lambda code: (print(*sorted(set(sys.modules) - before), flush=True), end(code))
from kokofast.__main__ import main
main()
"""


def imported(here: str, *arguments: str) -> set[str]:
    """The modules that a run imports."""
    answer = inside(here, [sys.executable, "-S", "-c", SCRIPT, *arguments])
    assert answer.returncode == 0, answer.stderr
    found = set(answer.stdout.split())
    assert "kokofast.__main__" in found
    return found


def test_a_link_is_made_and_deleted_without_heavy_imports(here: str, pair: tuple[str, str]) -> None:
    first, second = pair
    made = imported(here, "-n", f"{first},link1,192.168.1.1/24", "-n", f"{second},link2,192.168.1.2/24")
    assert "kokofast.ops.executor" in made
    assert not made & (HEAVY | {"kokofast.wire.debug", "kokofast.host.debug", "kokofast.plan.order"})
    assert not imported(here, "-N", f"{first},link1") & HEAVY


def test_the_kinds_with_a_parent_do_without_too(here: str, pair: tuple[str, str]) -> None:
    first, _ = pair
    arguments = ("-n", f"{first},link1,192.168.1.1/24,mirror:both:lo", "-x", "up0,10.99.0.2,1,mtu=1400")
    assert not imported(here, *arguments) & HEAVY
    assert not imported(here, "-n", f"{first},link2", "-M", "up0,bridge") & HEAVY


def test_help_needs_nothing_of_the_engine() -> None:
    answer = subprocess.run(
        [sys.executable, "-S", "-c", SCRIPT, "-h"], capture_output=True, text=True, timeout=60, check=True
    )
    found = set(answer.stdout.splitlines()[-1].split())
    assert not found & (HEAVY | {"ctypes", "kokofast.host.kernel"})


def test_the_installed_command_imports_nothing_but_kokofast() -> None:
    """The scripts that pip makes of an entry point may import re."""
    script = ROOT / "kokofast" / "cli" / "kokofast"
    installed = Path(sys.executable).with_name("kokofast")
    assert installed.read_text().splitlines()[1:] == script.read_text().splitlines()[1:]
