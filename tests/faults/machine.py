"""A machine of a test's own, and deep dumps of all that a namespace shows, to be compared before and after."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kokofast.plan.ownership import COOKIE_PREFIX, group_of
from tests.kernel.conftest import until

Entry = dict[str, Any]
# (namespace, "" for the machine's own; what) -> the objects, as iproute2 shows them.
Dump = dict[tuple[str, str], list[Entry]]

# Few processes, because there are many namespaces; nsenter, because ``ip -n`` makes mounts, and waits for the kernel to
# take them away again.
_LOOK = """
each='echo "# $0|ip"; printf "$1" | ip -d -j -batch -
    echo "# $0|qdisc"; tc -d -j qdisc show
    echo "# $0|fdb"; bridge -j fdb show'
ask='address show\\nroute show table all\\nrule show\\nneighbour show nud permanent\\n'
for n in "$@"; do
    nsenter ${n:+--net=/run/netns/$n} -- sh -c "$each" "$n" "$ask"
done
"""
_ASKED = ("link", "route", "rule", "neighbour")  # the answers of ip, a line each
_HOOKS = {"clsact": ("ingress", "egress"), "ingress": ("ingress",)}


def seed() -> int:
    """A new seed, or the one in KOKOFAST_SEED; printed, so that a failure can be had again."""
    number = int(os.environ.get("KOKOFAST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"KOKOFAST_SEED={number}")
    return number


class Machine:
    """Network, mount and process namespaces with an empty /run: from inside nothing of the real machine can be found.
    With ``user`` a user namespace as well, whose limits are its own."""

    def __init__(self, *, user: bool = False) -> None:
        more = ["--user", "--map-root-user"] if user else []
        script = "mount -t tmpfs none /run && mkdir /run/netns && echo ready && exec cat"
        self._process = subprocess.Popen(
            ["unshare", *more, "--net", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        with open(f"/proc/{self._process.pid}/task/{self._process.pid}/children") as file:
            (first,) = file.read().split()
        user_too = ["--user"] if user else []
        self.prefix = ["nsenter", f"--target={first}", *user_too, "--net", "--mount", "--pid", "--"]

    def close(self) -> None:
        """Ends its first process, and with that every process and namespace of it."""
        self._process.communicate()

    def run(self, *command: str, input: str = "") -> subprocess.CompletedProcess[str]:
        """Any command; its exit code is the test's to check."""
        return subprocess.run(
            [*self.prefix, *command], input=input, capture_output=True, text=True, timeout=120, check=False
        )

    def must(self, *command: str, input: str = "") -> str:
        """A command that has to go well; its output."""
        done = self.run(*command, input=input)
        assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def names(self) -> list[str]:
        """The names of its namespaces."""
        return self.must("ls", "/run/netns").split()

    def dump(self, namespaces: Iterable[str]) -> Dump:
        return dump(namespaces, self.prefix)


def dump(namespaces: Iterable[str], prefix: Sequence[str] = ()) -> Dump:
    """Everything in these namespaces: interfaces, addresses, routes, rules, neighbours, forwarding entries, qdiscs and
    filters; what the kernel learns or counts by itself left out."""
    found: Dump = {}
    for label, lines in _sections(_run([*prefix, "sh", "-c", _LOOK, "sh", *namespaces])):
        ns, _, what = label.partition("|")
        shown = [[entry for entry in json.loads(line, object_hook=_lasting) if entry] for line in lines]
        kinds = _ASKED if what == "ip" else (what,)
        for kind, entries in zip(kinds, shown, strict=True):
            found[ns, kind] = [entry for entry in entries if _stays(kind, entry)]
    for ns in [ns for ns, what in found if what == "qdisc"]:
        places = [
            (qdisc["dev"], place)
            for qdisc in found[ns, "qdisc"]
            for place in _HOOKS.get(qdisc["kind"], (f"parent {qdisc['handle']}",))
            if qdisc["handle"] != "0:"
        ]
        answers: list[Entry] = []
        if places:
            enter = ["nsenter", f"--net=/run/netns/{ns}", "--"] if ns else []
            questions = "".join(f"filter show dev {dev} {place}\n" for dev, place in places)
            lines = _run([*prefix, *enter, "tc", "-d", "-j", "-batch", "-"], questions).splitlines()
            answers = [
                {"dev": dev, "place": place, **entry}
                for (dev, place), line in zip(places, lines, strict=True)
                for entry in json.loads(line)
            ]
        found[ns, "filter"] = answers
    return found


def _stays(what: str, entry: Entry) -> bool:
    """Whether it is there until someone takes it away: not what a bridge learned, nor what the kernel adds when an
    interface has a carrier for the first time, nor the groups of IPv6, which follow from the addresses by a work queue
    (mld_work in net/ipv6/mcast.c)."""
    if what == "fdb":
        return entry.get("state") == "permanent" and not entry["mac"].startswith("33:33:")
    return not (what == "route" and entry["dst"] == "ff00::/8" and entry.get("protocol") == "kernel")


PENDING = "has changed"
# Follow from the rest some time later: the carrier from who is up, a bridge's timers from the clock.
_BY_ITSELF = frozenset(("LOWER_UP", "NO-CARRIER", "linkdown"))


def _lasting(shown: Entry) -> Entry:
    found = {key: value for key, value in shown.items() if key != "operstate" and not key.endswith("_timer")}
    if "flags" in found:
        # The kernel acts on a carrier that is gone, or back, up to a second later (net/core/link_watch.c).
        without = {"UP": False, "LOWERLAYERDOWN": True}.get(shown.get("operstate", ""))
        if "UP" in found["flags"] and without is ("LOWER_UP" in found["flags"]):
            found["carrier"] = PENDING
        found["flags"] = [flag for flag in found["flags"] if flag not in _BY_ITSELF]
    return found


TENTATIVE_SECONDS = 3.0


def settled(namespaces: Sequence[str], prefix: Sequence[str] = ()) -> Dump:
    """A dump that a second look finds the same: a bridge's and an address's state come some time after they
    were asked for. Addresses that are tentative get some seconds: without a carrier they stay so."""
    last: list[Dump] = [dump(namespaces, prefix)]
    patience = time.monotonic() + TENTATIVE_SECONDS

    def same() -> bool:
        last.append(dump(namespaces, prefix))
        shown = str(last[-1])
        at_rest = PENDING not in shown and ("tentative" not in shown or time.monotonic() > patience)
        return at_rest and last[-1] == last[-2]

    try:
        until(same, "the namespaces come to rest")
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *differences(*last[-2:])])) from None
    return last[-1]


def size(dumped: Dump) -> int:
    """How many objects it shows."""
    return sum(map(len, dumped.values()))


def differences(before: Dump, after: Dump) -> list[str]:
    """What is in one and not in the other, a line each."""
    lines: list[str] = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key, []), after.get(key, [])
        lines += [f"- {key}: {json.dumps(entry)}" for entry in old if entry not in new]
        lines += [f"+ {key}: {json.dumps(entry)}" for entry in new if entry not in old]
    return lines or ([] if before == after else ["the order has changed"])


def without(lab: str, dumped: Dump) -> Dump:
    """The dump without what belongs to the lab, nor what its interfaces do to a parent or a mirrored one while they
    are there: to its receive filters, and its clsact qdisc with our filters."""
    left: Dump = {}
    for ns in {ns for ns, _ in dumped}:
        ours = {entry["ifname"] for entry in dumped[ns, "link"] if _is_of(lab, entry)}
        cookies = {
            (entry["dev"], entry["pref"]): cookie for entry in dumped[ns, "filter"] if (cookie := _cookie(entry))
        }
        made = {dev for (dev, _), cookie in cookies.items() if cookie.endswith("01")}
        for what in (what for of, what in dumped if of == ns and what != "fdb"):
            left[ns, what] = [
                {key: value for key, value in entry.items() if key not in ("promiscuity", "allmulti")}
                for entry in dumped[ns, what]
                if entry.get("ifname", entry.get("dev")) not in ours
                and not (what == "filter" and (entry["dev"], entry["pref"]) in cookies)
                and not (what == "qdisc" and entry["kind"] == "clsact" and entry["dev"] in made)
            ]
    return left


def _is_of(lab: str, link: Entry) -> bool:
    return link.get("group") == str(group_of(lab)) and link.get("ifalias", "").startswith(f"kokofast:{lab}:")


def _cookie(shown: Entry) -> str:
    """The cookie of a mirror filter of ours, "" for any other."""
    options = shown.get("options", {})
    for action in options.get("actions", []):
        cookie: str = action.get("cookie", "")
        if cookie.startswith(COOKIE_PREFIX.hex()):
            return cookie
    return ""


def _run(command: Sequence[str], input: str = "") -> str:
    done = subprocess.run(command, input=input, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, ""), f"{' '.join(command)}: {done.returncode}: {done.stderr}"
    return done.stdout


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    for section in text.split("# ")[1:]:
        label, *lines = section.splitlines()
        yield label, [line for line in lines if line]
