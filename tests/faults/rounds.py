"""Applies and destroys a lab again and again in one process, and prints what that process holds: after some rounds to
warm up, and after each quarter of the others. ``python rounds.py FILE WARM ROUNDS``; run by test_long_run."""

from __future__ import annotations

import gc
import json
import os
import re
import sys
from pathlib import Path

import trio

import kokofast

# The directory of names, and those of the lab (c0, c1, ...): other mounts, inherited, come to an end by themselves.
OUR_MOUNTS = " (/netns /run/netns|/run/netns/c[0-9]) "


def held() -> dict[str, int]:
    """What may grow: of this process, and of the machine that it sees."""
    gc.collect()
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "objects": len(gc.get_objects()),
        "rss": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        "mounts": len(re.findall(OUR_MOUNTS, Path("/proc/self/mountinfo").read_text())),
        "names": len(os.listdir("/run/netns")),
        "interfaces": len(Path("/proc/self/net/dev").read_text().splitlines()),
        "locks": len(os.listdir("/run/kokofast")),
    }


async def rounds(file: str, count: int) -> None:
    for _ in range(count):
        topology = kokofast.load(file, create=True)
        made = await kokofast.apply(topology)
        again = await kokofast.apply(topology)
        gone = await kokofast.destroy(topology.name, topology=topology)
        assert (made.status, again.status, gone.status) == ("applied", "unchanged", "destroyed"), made.errors
        assert made.errors == gone.errors == []


def main() -> None:
    file, warm, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    trio.run(rounds, file, warm)
    seen = [held()]
    for _ in range(4):
        trio.run(rounds, file, count // 4)
        seen.append(held())
    print(json.dumps(seen), flush=True)
    sys.stdin.read()  # until we are told to end: what we still hold in the kernel can be looked at


if __name__ == "__main__":
    main()
