"""The program in one file: the bundle as a zip file that Python runs. zipapp_main.py says how it loads C extensions."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import zipfile
from pathlib import Path

from tests.packages.bundle import OPTIONS, PYTHON, Bundle, run

MAIN = Path(__file__).with_name("zipapp_main.py")
# Byte code beside each source, where zipimport looks for it; never compared with the source, whose time may differ.
COMPILE = ("-m", "compileall", "-q", "-b", "--invalidation-mode", "unchecked-hash")


def build_zipapp(bundle: Bundle, output: Path) -> Path:
    """Builds the file from the bundle; returns its path, in the output."""
    major, minor = bundle.python
    machine = os.uname().machine
    file = output / f"kokofast-{bundle.version}-py{major}{minor}-{machine}.pyz"
    date = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "kokofast"
        bundle.copy_to(tree)
        shutil.copyfile(MAIN, tree / "__main__.py")
        (tree / "SUFFIX").write_text(bundle.suffix)
        # The order of a set of constants depends on the hashes of texts.
        run("env", "PYTHONHASHSEED=0", PYTHON, OPTIONS, *COMPILE, "-s", folder, tree)
        with file.open("wb") as stream:
            stream.write(f"#!/usr/bin/env -S python{major}.{minor} {OPTIONS}\n".encode())
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in sorted(tree.rglob("*")):
                    # A package without __init__.py is found by the entry of its folder.
                    name = f"{path.relative_to(tree)}{'/' * path.is_dir()}"
                    info = zipfile.ZipInfo(name, date)
                    info.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(info, b"" if path.is_dir() else path.read_bytes())
    file.chmod(0o755)
    return file
