"""The Debian package: the bundle in /usr/lib/kokofast, and a command that starts it.

What Debian 12 itself packages of kokofast's dependencies is too old, so the package has its own. Their C extensions are
for one version of Python: the package depends on exactly that. Its version says which, so that after an upgrade of the
distribution the package for its new Python is the newer one.
"""

from __future__ import annotations

import gzip
import os
import re
import tempfile
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

from tests import ROOT
from tests.packages.bundle import OPTIONS, PYTHON, Bundle, run, start

COMMAND = "usr/bin/kokofast"
LIBRARY = "usr/lib/kokofast"
DOCUMENTS = "usr/share/doc/kokofast"
SHELLS = {
    "usr/share/bash-completion/completions/kokofast": "bash",
    "usr/share/zsh/vendor-completions/_kokofast": "zsh",
    "usr/share/fish/vendor_completions.d/kokofast.fish": "fish",
}

CONTROL = """\
Package: kokofast
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {kilobytes}
Depends: {depends}
Suggests: iproute2
Section: net
Priority: optional
Description: network namespaces and containers wired together, thousands at a time
 kokofast brings up a whole topology of links between network namespaces and
 containers from one file, all or nothing, and a second run changes nothing:
 veth, vxlan, vlan, macvlan, ipvlan, bridges, addresses, routes, delay and loss.
 It talks netlink to the kernel, and needs neither a daemon nor ip(8).
 .
 The package has the command. Its Python packages are its own, and not for
 import by other programs.
"""
# Without byte code each start by another user than root compiles all that is imported. Whoever made more of it, it goes
# with the package: nothing else is in that folder.
SCRIPTS = {
    "postinst": f'if [ "$1" = configure ]; then\n    py3compile -p kokofast /{LIBRARY}\nfi\n',
    "prerm": f"find /{LIBRARY} -type d -name __pycache__ -prune -exec rm -rf {{}} +\n",
}
COPYRIGHT = """\
kokofast

Copyright {year} the authors of kokofast
Licence: Apache-2.0, see /usr/share/common-licenses/Apache-2.0

These distributions for Python are in this package, unchanged. Each has its own
copyright and licence, with their texts in the files named:

"""


def debian_version(bundle: Bundle) -> str:
    """0.2.0rc1 on Python 3.11 as Debian sorts it: 0.2.0~rc1-1+py311, which is older than 0.2.0-1+py311."""
    upstream = re.sub(r"(?<=\d)(a|b|rc)(?=\d)", r"~\1", bundle.version)
    return f"{upstream}-1+py{''.join(map(str, bundle.python))}"


def build_deb(bundle: Bundle, output: Path) -> Path:
    """Builds the package from the bundle and the pages in the output; returns its path, in the output as well."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "debian/kokofast"
        bundle.copy_to(tree / LIBRARY)
        write(tree / COMMAND, f"#!{PYTHON} {OPTIONS}\n{start(f'/{LIBRARY}')}")
        write_documents(bundle, output, tree)
        control = write_control(bundle, tree)
        programs = {tree / COMMAND, *(tree / "DEBIAN" / name for name in SCRIPTS)}
        for path in (tree, *tree.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path in programs else 0o644)
        package = output / f"kokofast_{control['version']}_{control['architecture']}.deb"
        # -z1: a tenth larger than by default in a sixth of the time. The number of threads changes the bytes.
        run("dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--threads-max=1", "--build", tree, package)
        return package


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def compress(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def write_documents(bundle: Bundle, pages: Path, tree: Path) -> None:
    for path, shell in SHELLS.items():
        write(tree / path, (pages / f"kokofast.{shell}").read_bytes())
    write(tree / "usr/share/man/man1/kokofast.1.gz", compress((pages / "kokofast.1").read_bytes()))
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    text = COPYRIGHT.format(year=formatdate(epoch).split()[3]) + "\n".join(copyright_lines(bundle))
    write(tree / DOCUMENTS / "copyright", text)
    write(tree / DOCUMENTS / "changelog.gz", compress((ROOT / "CHANGELOG.md").read_bytes()))
    entry = (
        f"kokofast ({debian_version(bundle)}) stable; urgency=medium\n\n"
        f"  * Version {bundle.version}, see changelog.gz.\n\n -- {maintainer()}  {formatdate(epoch)}\n"
    )
    write(tree / DOCUMENTS / "changelog.Debian.gz", compress(entry.encode()))


def copyright_lines(bundle: Bundle) -> Iterator[str]:
    for one in bundle.licences():
        yield f"{one.name} {one.version}: {one.licence}"
        yield from (f"  /{LIBRARY}/{path}" for path in one.texts)
        yield ""


def maintainer() -> str:
    """Who builds the package, as for Debian's own tools."""
    return f"{os.environ.get('DEBFULLNAME', 'kokofast')} <{os.environ.get('DEBEMAIL', 'kokofast@localhost')}>"


def write_control(bundle: Bundle, tree: Path) -> dict[str, str]:
    major, minor = bundle.python
    depends = f"python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1}), {libraries(tree)}"
    fields = {
        "version": debian_version(bundle),
        "architecture": run("dpkg", "--print-architecture").strip(),
        "maintainer": maintainer(),
        "kilobytes": str(sum(path.lstat().st_size for path in tree.rglob("*")) // 1024),
        "depends": depends,
    }
    write(tree / "DEBIAN/control", CONTROL.format(**fields))
    for name, script in SCRIPTS.items():
        write(tree / "DEBIAN" / name, f"#!/bin/sh\nset -e\n{script}")
    return fields


def libraries(tree: Path) -> str:
    """The packages of the shared libraries that the C extensions need, in the versions that have what they use."""
    # dpkg-shlibdeps is made for the tree of a source package.
    (tree / "DEBIAN").mkdir()
    write(tree.parent / "control", "Source: kokofast\n\nPackage: kokofast\nArchitecture: any\n")
    extensions = [f"-e{path}" for path in sorted(tree.rglob("*.so"))]
    found = run("dpkg-shlibdeps", "--warnings=0", "-O", *extensions, cwd=tree.parent.parent)
    return found.strip().removeprefix("shlibs:Depends=")
