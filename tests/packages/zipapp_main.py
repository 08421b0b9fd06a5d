"""The start of kokofast in one file.

The dynamic linker cannot load a C extension out of a zip file. Other tools unpack it to a cache folder, and run what
they find there: root would run what another user could put there. Here a C extension is copied into memory, to a file
without a name (memfd_create(2)), and loaded from there. Nothing is written to a disk.
"""

from __future__ import annotations

import fcntl
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import spec_from_file_location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from zipimport import zipimporter

    __loader__: zipimporter

ARCHIVE = __loader__.archive
NOEXEC_SEAL = 8  # MFD_NOEXEC_SEAL of Linux 6.3, which vm.memfd_noexec=2 demands


def read(name: str) -> bytes:
    """Return a file of the archive. Raises OSError if it is not there."""
    return __loader__.get_data(os.path.join(ARCHIVE, name))


def file_in_memory(name: str, content: bytes) -> str:
    """Return the path of a new file in memory (memfd_create(2)), sealed against changes."""
    try:
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | NOEXEC_SEAL)
    except OSError:
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    # It stays open: the dynamic linker takes a path for the library that it has loaded from that path before.
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    # Where standard error was closed, this may be its descriptor.
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return f"/proc/self/fd/{descriptor}"


class FromMemory:
    """Finds C extensions of the archive."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return where a module is loaded from, or None if the archive does not have it as a C extension."""
        for suffix in EXTENSION_SUFFIXES:
            try:
                content = read(name.replace(".", "/") + suffix)
            except OSError:
                continue
            file = file_in_memory(name, content)
            return spec_from_file_location(name, file, loader=ExtensionFileLoader(name, file))
        return None


def start() -> None:
    """Run kokofast."""
    suffix = read("SUFFIX").decode()
    if suffix not in EXTENSION_SUFFIXES:
        made_for, present = (one.split(".")[1] for one in (suffix, EXTENSION_SUFFIXES[0]))
        sys.exit(
            f"kokofast: {ARCHIVE} is for {made_for}, and {sys.executable} is {present}: "
            "use the file for this Python, or install kokofast with pip"
        )
    sys.meta_path.append(FromMemory)
    from kokofast.__main__ import main

    main()


start()
