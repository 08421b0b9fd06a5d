"""KOKOFAST_DEBUG=wire prints what passes between us and the kernel, and changes nothing else."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import pytest

from kokofast.wire.message import split, unpack
from tests.conftest import links
from tests.koko.conftest import KOKO, Done, inside

DEBUG = ["env", "KOKOFAST_DEBUG=wire"]

# What is sent for one link: the comments, with what differs between runs left out.
SENT = """\
sent in net:[*], 40 bytes
RTM_GETLINK seq 1 pid 0 flags REQUEST|ROOT|MATCH, 40 bytes
ifinfomsg family 0 type 0 index 0 flags 0 change 0
ext_mask 8

sent in net:[*], 40 bytes
RTM_GETLINK seq 1 pid 0 flags REQUEST|ROOT|MATCH, 40 bytes
ifinfomsg family 0 type 0 index 0 flags 0 change 0
ext_mask 8

sent in net:[*], 184 bytes
RTM_NEWLINK seq 2 pid 0 flags REQUEST|ACK|EXCL|CREATE, 184 bytes
ifinfomsg family 0 type 0 index * flags 0 change 0
ifname 'link1'
group *
net_ns_fd *
address *
num_tx_queues 1
num_rx_queues 1
linkinfo, 92 bytes
linkinfo.kind 'veth'
linkinfo.data, 76 bytes
linkinfo.data.peer, 72 bytes
ifinfomsg family 0 type 0 index * flags 0 change 0
linkinfo.data.peer.ifname 'link2'
linkinfo.data.peer.group *
linkinfo.data.peer.net_ns_fd *
linkinfo.data.peer.address *
linkinfo.data.peer.num_tx_queues 1
linkinfo.data.peer.num_rx_queues 1

sent in net:[*], * bytes
RTM_SETLINK seq 3 pid 0 flags REQUEST, * bytes
ifinfomsg family 0 type 0 index * flags 0 change 0
ifalias 'kokofast:koko:A:link1--B:link2'
RTM_SETLINK seq 4 pid 0 flags REQUEST, 32 bytes
ifinfomsg family 0 type 0 index * flags 1 change 1
RTM_NEWADDR seq 5 pid 0 flags REQUEST|ACK|REPLACE|CREATE, 40 bytes
ifaddrmsg family 2 prefixlen 24 flags 0 scope 0 index *
local 10.0.0.1
proto 1 bytes

sent in net:[*], * bytes
RTM_SETLINK seq 2 pid 0 flags REQUEST, * bytes
ifinfomsg family 0 type 0 index * flags 0 change 0
ifalias 'kokofast:koko:A:link1--B:link2'
RTM_SETLINK seq 3 pid 0 flags REQUEST|ACK, 32 bytes
ifinfomsg family 0 type 0 index * flags 1 change 1
"""

# A refused request, and what comes back.
REFUSED = f"""
import os, sys
from kokofast.host.netlink import Socket
from kokofast.wire.link import RTM_SETLINK
from kokofast.wire.message import Request
(refusal,) = Socket().send([Request(RTM_SETLINK, {{"index": 1}}, {{"ifalias": {"x" * 255!r}}})])
print(refusal, *refusal.path)
"""


def blocks(output: str, verb: str) -> list[str]:
    return [block for block in output.split("\n\n") if block.startswith(f"# {verb} in net:[")]


def comments(block: str) -> str:
    return "".join(f"{line.partition('# ')[2]}\n" for line in block.splitlines() if "# " in line)


def settled(text: str, first: str, second: str) -> str:
    """The text without what differs between two runs."""
    text = text.replace(first, "A").replace(second, "B")
    text = re.sub(r"(index|group|net_ns_fd) [1-9]\d*", r"\1 *", text)
    text = re.sub(r"address [0-9a-f:]{17}\n", "address *\n", text)
    text = re.sub(r"net:\[\d+\]", "net:[*]", text)
    # The alias is as long as the names of the namespaces.
    return re.sub(r"\d+ bytes(\nRTM_SETLINK [^,]*), \d+ bytes", r"* bytes\1, * bytes", text)


def data_of(block: str) -> bytes:
    return bytes.fromhex(" ".join(line.partition("#")[0] for line in block.splitlines()))


def create(here: str, pair: tuple[str, str], start: Sequence[str] = DEBUG) -> Done:
    first, second = pair
    return inside(here, [*start, *KOKO, "-n", f"{first},link1,10.0.0.1/24", "-n", f"{second},link2"])


def test_a_link(here: str, pair: tuple[str, str]) -> None:
    answer = create(here, pair)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == ""
    sent = blocks(answer.stderr, "sent")
    assert settled("\n".join(map(comments, sent)), *pair) == SENT
    (message,) = split(data_of(sent[2]))
    assert unpack(*message).attributes["ifname"] == "link1"
    received = blocks(answer.stderr, "received")
    assert comments(received[0]).splitlines()[3] == "ifname 'lo'"
    assert comments(received[-1]).splitlines()[2:] == ["no error", "the request"]
    assert "link1" in links(pair[0])


def test_a_refusal(here: str) -> None:
    answer = inside(here, [*DEBUG, sys.executable, "-c", REFUSED])
    said = "ifalias: Attribute failed policy validation (ERANGE)"
    assert answer.stdout == f"{said.partition(': ')[2]} ifalias\n"
    (received,) = blocks(answer.stderr, "received")
    assert received.splitlines()[-1] == f"# refused: {said}"
    assert "error -34" in comments(received).splitlines()
    assert "offset 32" in comments(received).splitlines()


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_where_nobody_reads_it_the_link_is_made(here: str, pair: tuple[str, str], stderr: str) -> None:
    answer = create(here, pair, ["sh", "-c", f'exec "$@" {stderr}', "sh", *DEBUG])
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert set(links(pair[0])) == {"link1"}
    assert set(links(pair[1])) == {"link2"}
