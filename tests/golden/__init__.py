"""Netlink messages written down by hand: hex with a comment per attribute. What a ``#`` starts is comment.
frames/ has frames.

The bytes are those of a little-endian machine, as netlink speaks the byte order of its host.
"""

from __future__ import annotations

from pathlib import Path


def read(name: str) -> bytes:
    """The bytes of ``<name>.hex``."""
    lines = (Path(__file__).parent / f"{name}.hex").read_text("ascii").splitlines()
    return bytes.fromhex(" ".join(line.partition("#")[0] for line in lines))
