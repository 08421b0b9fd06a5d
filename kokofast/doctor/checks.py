"""The checks. Each is a function of the facts and the needs that yields findings; CHECKS has them in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.doctor.facts import Finding
from kokofast.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kokofast.doctor.facts import Facts, State
    from kokofast.doctor.needs import Needs

    Check = Callable[[Facts, Needs], Iterator[Finding]]

CHECKS: list[Check] = []

# Facility -> what it is for, and its module; "" for what is built in.
QDISCS = {
    "netem": ("delay, loss and the like", "sch_netem"),
    "tbf": ("a rate", "sch_tbf"),
}
OTHERS = {
    "ipv6": ("IPv6 addresses", "ipv6"),
    "ethtool": ("offload", ""),
}
# A mirror needs one of each line.
MIRRORING = (
    ("qdisc", ("clsact", "prio"), ("sch_ingress", "sch_prio")),
    ("classifier", ("matchall", "u32"), ("cls_matchall", "cls_u32")),
    ("action", ("mirred",), ("act_mirred",)),
)
FULL_KERNEL = "if that finds no module, install the distribution's full kernel"

# Measured: docs/limits.md.
LINK_BYTES = 360 << 10  # the kernel's, for a link and a namespace
PROCESS_BYTES = 32 << 20
PROCESS_LINK_BYTES = 9 << 10
DESCRIPTORS_LEAST = 40
DESCRIPTORS_EACH = 2  # for a namespace
DESCRIPTORS_RESERVED = 64
THREADS_MOST = 64  # of destroy

WIRING = frozenset(("CAP_NET_ADMIN", "CAP_SYS_ADMIN"))  # without them a sandbox needs a user namespace

UNITS = {"docker": "docker", "podman": "podman.socket"}  # of systemd

# Sysctls that keep ordinary users from making user namespaces: the value that does, and one that does not.
USER_NAMESPACES = (
    ("kernel.apparmor_restrict_unprivileged_userns", 1, 0),
    ("kernel.unprivileged_userns_clone", 0, 1),
    ("user.max_user_namespaces", 0, 15000),
)


def diagnose(facts: Facts, needs: Needs) -> list[Finding]:
    """Return the findings of all checks."""
    return [finding for check in CHECKS for finding in check(facts, needs)]


def _check(check: Check) -> Check:
    CHECKS.append(check)
    return check


def _finding(
    check: str, lacks: bool, fact: str, cure: str, *, needed: bool = True, state: State = "missing"
) -> Finding:
    """Return a finding that is ok, or has a state and a cure where something lacks."""
    return Finding(check, state if lacks else "ok", needed, fact, cure if lacks else "")


@_check
def versions(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Show kernel and Python."""
    yield Finding("versions", "ok", True, facts.versions)


@_check
def packages(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Compare the Python packages with what kokofast depends on."""
    for name, (installed, oldest) in facts.packages.items():
        if not installed or _numbers(installed) < _numbers(oldest):
            fact = f"version {installed} is too old" if installed else "it is not installed"
            yield Finding(f"package {name}", "missing", True, fact, f"{facts.python} -m pip install '{name}>={oldest}'")
    if facts.packages:
        found = ", ".join(f"{name} {installed}" for name, (installed, _) in facts.packages.items() if installed)
        yield Finding("packages", "ok", True, found)


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    return tuple(int(part) for part in parts if part.isdecimal())


@_check
def rights(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Look for the rights that SECURITY.md lists."""
    if needs.sandbox:
        return
    cure = "run it with sudo; or 'kokofast batch FILE --sandbox', which needs none"
    if facts.is_root:
        cure = "give the container --cap-add {}"
    for name, needed, what in (
        ("CAP_NET_ADMIN", True, "make links"),
        ("CAP_SYS_ADMIN", True, "enter namespaces"),
        ("CAP_SYS_PTRACE", needs.processes, "reach namespaces of other users' processes"),
        ("CAP_NET_BROADCAST", False, "watch"),
    ):
        lacks = name not in facts.capabilities
        state: State = "missing" if needed and name != "CAP_SYS_PTRACE" else "warning"
        how = cure.format(name.removeprefix("CAP_"))
        yield _finding(name, lacks, f"{'missing' if lacks else 'there'}, to {what}", how, needed=needed, state=state)
    for path, needed, what in (
        ("/run/netns", facts.to_make > 0, "make named namespaces"),
        ("/run/kokofast", False, "keep two runs apart"),
    ):
        lacks = not facts.writable.get(path, True)
        fact = f"{'not writable' if lacks else 'writable'}, to {what}"
        yield _finding(
            path, lacks, fact, cure.format("DAC_OVERRIDE"), needed=needed, state="missing" if needed else "warning"
        )


@_check
def sandbox(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Report whether a sandbox can be made."""
    forbidding = [f"sysctl -w {name}={good}" for name, bad, good in USER_NAMESPACES if facts.limits.get(name) == bad]
    otherwise = "run it as root; in a container allow unshare(2) and mount(2) in its seccomp and AppArmor profiles"
    cure = "; ".join(forbidding) if forbidding and not facts.capabilities.issuperset(WIRING) else otherwise
    state: State = "missing" if needs.sandbox else "warning"
    fact = facts.sandbox.partition("; this system")[0] or "it can be made"
    yield _finding("sandbox", bool(facts.sandbox), fact, cure, needed=needs.sandbox, state=state)
    for name in needs.not_in_sandbox[:1]:
        more = f" and {len(needs.not_in_sandbox) - 1} more" if len(needs.not_in_sandbox) > 1 else ""
        yield Finding("nodes", "missing", True, f"{name}{more} cannot be in a sandbox", "leave out --sandbox")


@_check
def kernel(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Report link kinds, qdiscs and others, one by one."""
    if facts.untested:
        cure = "sudo kokofast doctor" if not facts.is_root else "see the lines on rights"
        yield Finding("kernel", "warning", True, f"not tested: {facts.untested}", cure)
        return
    for name in KINDS:
        yield _facility(facts, needs, name, name, "links", KINDS[name].module)
    for name, (what, module) in {**QDISCS, **OTHERS}.items():
        yield _facility(facts, needs, name, name, what, module)


def _facility(facts: Facts, needs: Needs, name: str, title: str, what: str, module: str) -> Finding:
    refusal = facts.kernel.get(name, "")
    fact = f"for {what}: the kernel refuses it ({refusal})" if refusal else f"for {what}: works"
    cure = f"modprobe {module}; {FULL_KERNEL}" if module else "install a kernel with CONFIG_ETHTOOL_NETLINK=y"
    return _finding(title, bool(refusal), fact, cure, needed=name in needs.facilities)


@_check
def mirrors(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Report what a mirror needs: a qdisc, a classifier, an action."""
    if facts.untested:
        return
    for what, names, modules in MIRRORING:
        there = [name for name in names if facts.kernel.get(name) == ""]
        if there:
            first = names[0] in there
            fact = f"{' and '.join(there)} work" if len(there) > 1 else f"{there[0]} works"
            loss = " (prio mirrors outgoing traffic only)" if there == ["prio"] else ""
            state: State = "ok" if first or not loss else "warning"
            cure = "" if state == "ok" else f"modprobe {modules[0]}; {FULL_KERNEL}"
            yield Finding(f"mirror {what}", state, needs.mirrors, fact + loss, cure)
        elif any(name in facts.kernel for name in names):
            fact = f"the kernel has no {' and no '.join(names)}"
            yield Finding(f"mirror {what}", "missing", needs.mirrors, fact, f"modprobe {modules[0]}; {FULL_KERNEL}")
        else:
            yield Finding(f"mirror {what}", "missing", needs.mirrors, "not tested without the line above", "see there")


@_check
def namespaces(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Compare the limits on namespaces and mounts, and say whose names these are."""
    wanted = facts.to_make + 1  # links are made from one more
    most = facts.limits.get("user.max_net_namespaces")
    if most is not None:
        there = facts.used.get("user.max_net_namespaces", 0)
        # Those of other users do not count, and whose they are cannot be seen.
        state: State = "missing" if wanted > most else "warning"
        fact = f"{most:,} for each user; {there:,} are there" + (f", a run makes {wanted:,}" if needs.title else "")
        cure = _raise("user.max_net_namespaces", there + wanted)
        yield _finding("user.max_net_namespaces", there + wanted > most, fact, cure, state=state)
    most = facts.limits.get("fs.mount-max")
    if most is not None:
        copies = 1 if needs.sandbox else facts.copies
        used = facts.used.get("fs.mount-max", 0)
        total = used + facts.to_make * copies
        lab = f", a run makes {facts.to_make * copies:,}" if needs.title else ""
        fact = f"{most:,}; {used:,} are there{lab}, {copies} for each named namespace"
        yield _finding("fs.mount-max", total > most, fact, _raise("fs.mount-max", total))
    if not needs.sandbox:
        fact = "private to this mount namespace: what is made here ends with it" if facts.private else "the machine's"
        cure = "run it outside of 'ip netns exec'; in a container: -v /run/netns:/run/netns:rshared"
        yield _finding("names in /run/netns", facts.private, fact, cure, state="warning")


def _raise(name: str, wanted: int) -> str:
    return f"sysctl -w {name}={_round(wanted)}"


def _round(number: int) -> int:
    """Return the next power of two that leaves half as much again."""
    return int(1 << (number * 3 // 2).bit_length())


@_check
def open_files(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Compare the hard limit on open files."""
    most = facts.limits.get("open files")
    if most is None:
        yield Finding("open files", "ok", True, "no limit")
        return
    # With fewer it works, too.
    wanted = DESCRIPTORS_EACH * needs.namespaces + DESCRIPTORS_RESERVED
    if most < DESCRIPTORS_LEAST:
        fact = f"the hard limit is {most}; kokofast takes at least {DESCRIPTORS_LEAST}"
        yield Finding("open files", "missing", True, fact, f"ulimit -Hn {max(wanted, 1024)}, as root")
    else:
        fact = f"the hard limit is {most:,}" + (f"; the lab would use {wanted:,}" if needs.title else "")
        slow = f"{fact}: with less, namespaces are closed and opened again, which takes longer"
        few = wanted > most
        yield _finding("open files", few, slow if few else fact, f"ulimit -Hn {wanted}, as root", state="warning")


@_check
def threads(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Compare what the cgroup leaves of its limit on processes."""
    room = facts.limits.get("pids.max")
    if room is None:
        return
    state: State = "missing" if room < 1 else "warning"
    cure = "raise pids.max of the cgroup; in a container: --pids-limit=-1; in a unit of systemd: TasksMax=infinity"
    yield _finding("threads", room < THREADS_MOST, f"the cgroup's pids.max leaves {room:,}", cure, state=state)


@_check
def memory(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Estimate from what links and namespaces were measured to take."""
    room = facts.limits.get("memory")
    if room is None:
        return
    pairs = max(needs.links, needs.namespaces)
    wanted = PROCESS_BYTES + pairs * (LINK_BYTES + PROCESS_LINK_BYTES)
    fact = f"{room >> 20:,} MiB are free" + (f"; the lab takes some {wanted >> 20:,} MiB" if needs.title else "")
    yield _finding("memory", wanted > room, fact, "close other programs, or split the lab", state="warning")


@_check
def neighbours(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Compare the tables of ARP and NDP, which all namespaces share."""
    ends: Mapping[str, int] = needs.ends or {}
    for family, protocol in (("ipv4", "ARP"), ("ipv6", "NDP")):
        name = f"net.{family}.neigh.default.gc_thresh3"
        most, count = facts.limits.get(name), ends.get(family, 0)
        if most is None:
            if count:
                fact = f"not visible in this network namespace; {count:,} ends have addresses"
                yield Finding(name, "warning", True, fact, f"on the machine: {_raise(name, count)}")
            continue
        fact = f"{most:,} {protocol} entries for all namespaces; {count:,} ends have addresses"
        lost = ": packets are lost when all of them are in use"
        few = count > most
        yield _finding(name, few, fact + lost if few else fact, _raise(name, count), state="warning")


@_check
def daemons(facts: Facts, needs: Needs) -> Iterator[Finding]:
    """Report the sockets of container daemons."""
    if needs.sandbox:
        return
    for daemon in facts.daemons:
        state: State = "missing" if daemon.needed and daemon.cause != "network" else "warning"
        cures = {
            "absent": f"systemctl start {UNITS.get(daemon.kind, 'containerd')}",
            "denied": "run it with sudo, or as a member of the group of the socket",
            "network": "kokofast batch FILE --dry-run asks it",
        }
        fact = daemon.problem or "its socket answers"
        yield _finding(daemon.title, bool(daemon.problem), fact, cures[daemon.cause], needed=daemon.needed, state=state)
