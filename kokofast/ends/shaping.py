"""Choose the qdisc for a set of impairments: its options, and what a dump shows of it.

An impairment is a whole number: a time in nanoseconds, a rate in bytes a second, a share of 2^32 - 1, a limit in
packets. 0 and absent are the same. netem can do all of them. tbf is used where a rate is all that is asked for: its
burst does not cut what segmentation offload has put together, and more kernels have it. The kernel shows that burst as
a time in 32 bits; where it is longer, at some bits a second, netem is used after all.

The queue is made for what the file says, so that nothing below the rate is dropped:

netem   limit (packets) = rate x (delay + jitter + 50 ms) / 1,514 bytes, at least 1,000. Without a rate, 10 Gbit/s x
        (delay + jitter) / 1,514 bytes. netem's own default of 1,000 packets is 240 Mbit/s at 50 ms.
tbf     burst (bytes) = what the rate sends in 10 ms, at most 128 KiB, or in 1 ms if that is more; at least two frames.
        limit (bytes) = burst + what the rate sends in 50 ms, at least ten frames.

A frame is the MTU, at least 1,500, and an Ethernet header, as the kernel counts a packet (qdisc_pkt_len()). tbf drops
what is larger than its burst.
"""

from __future__ import annotations

from kokofast.kinds.kind import DEFAULT_MTU

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

NS = 10**9  # a second
U32_MAX = 0xFFFFFFFF
TICK_NS = 64  # in which struct tc_netem_qopt and struct tc_tbf_qopt have their times
JITTER_MAX = 0x7FFFFFFF  # ns; netem_change() makes a larger one this

ETHERNET_HEADER = 14
MIN_PACKETS = 1000
QUEUE_NS = 50 * 10**6
UNSHAPED_RATE = 10**10 // 8
BURST_NS = 10 * 10**6
SHORT_BURST_NS = 10**6
BURST_BYTES = 128 * 1024  # two of the largest packets that segmentation offload makes, without BIG TCP
MIN_BURST_FRAMES = 2
MIN_QUEUE_FRAMES = 10  # TCP's initial window

SHAPERS = ("netem", "tbf")
CORRELATED = ("delay", "loss", "duplicate", "corrupt", "reorder")
IMPAIRMENTS = (
    "delay",
    "jitter",
    "loss",
    "duplicate",
    "corrupt",
    "reorder",
    *(f"{name}_correlation" for name in CORRELATED),
    "rate",
    "limit",
)

# The impairment that each of these varies. tc refuses a reorder without a delay, too: without one every packet is sent
# at once.
_NEEDS = {
    "jitter": "delay",
    "reorder": "delay",
    "delay_correlation": "jitter",
    **{f"{name}_correlation": name for name in CORRELATED if name != "delay"},
}

# A cache: thousands of ends have the same impairments.
_SHAPERS: dict[tuple[object, ...], Shaper | None] = {}
_MAX_SHAPERS = 64


class Shaper:
    """A qdisc at the root of an interface.

    Args:
        kind: "netem" or "tbf".
        numbers: Of netem all IMPAIRMENTS and "gap". Of tbf "rate", "limit" and "burst", the last two in bytes.
    """

    __slots__ = ("_attributes", "kind", "numbers")

    def __init__(self, kind: str, numbers: Mapping[str, int]) -> None:
        self.kind = kind
        self.numbers = numbers
        self._attributes: dict[str, object] | None = None

    def __repr__(self) -> str:
        return f"Shaper({self.kind}, {dict(self.numbers)})"

    def attributes(self) -> dict[str, object]:
        """Return the attributes of RTM_NEWQDISC, the same object each time: ends that are shaped alike share it."""
        if self._attributes is None:
            self._attributes = {"kind": self.kind, "options": options_of(self)}
        return self._attributes

    def is_like(self, other: Shaper) -> bool:
        """Return whether both treat packets alike. The kernel shows the burst of tbf as a time, rounded."""
        if self.kind != other.kind or self.numbers.keys() != other.numbers.keys():
            return False
        for name, number in self.numbers.items():
            rounding = self.numbers["rate"] * 2 * TICK_NS // NS + 1 if name == "burst" else 0
            if abs(number - other.numbers[name]) > rounding:
                return False
        return True


def contradiction(wanted: Mapping[str, int]) -> tuple[str, str] | None:
    """Return the impairment that would have no effect, or another one, and a sentence; None when there is none."""
    if wanted.get("jitter", 0) > JITTER_MAX:
        return "jitter", f"netem's jitter is {JITTER_MAX / NS:.9f}s at most; give that or less"
    for name, needed in _NEEDS.items():
        if wanted.get(name) and not wanted.get(needed):
            return name, f"it has no effect without {needed}: give {needed}, too"
    if wanted.get("limit") and not wanted.get("delay") and not wanted.get("rate"):
        return "limit", "it is the limit of the queue of a delay or a rate: give one of them, too"
    return None


def shaper_for(wanted: Mapping[str, int], mtu: int) -> Shaper | None:
    """Return the qdisc that the impairments need; None when they need none.

    Args:
        wanted: The impairments.
        mtu: The largest that the interface has. One below that of Ethernet makes no difference: it may be lowered for a
            while.
    """
    key = mtu, *wanted.items()
    if key not in _SHAPERS:
        if len(_SHAPERS) >= _MAX_SHAPERS:
            _SHAPERS.clear()
        _SHAPERS[key] = _shaper_for(wanted, mtu)
    return _SHAPERS[key]


def _shaper_for(wanted: Mapping[str, int], mtu: int) -> Shaper | None:
    asked = {name for name in IMPAIRMENTS if wanted.get(name)}
    if not asked:
        return None
    rate = wanted.get("rate", 0)
    frame = max(mtu, DEFAULT_MTU) + ETHERNET_HEADER
    burst = max(min(_sent(rate, BURST_NS), BURST_BYTES), _sent(rate, SHORT_BURST_NS), MIN_BURST_FRAMES * frame)
    if asked == {"rate"} and _ticks(burst, rate) <= U32_MAX:
        limit = burst + max(_sent(rate, QUEUE_NS), MIN_QUEUE_FRAMES * frame)
        return Shaper("tbf", {"rate": rate, "limit": min(limit, U32_MAX), "burst": burst})
    numbers = {name: wanted.get(name, 0) for name in IMPAIRMENTS}
    numbers["gap"] = 1 if numbers["reorder"] else 0  # each packet may be the one that goes first
    if not numbers["limit"]:
        late = numbers["delay"] + numbers["jitter"]
        queued = _sent(rate, late + QUEUE_NS) if rate else _sent(UNSHAPED_RATE, late)
        numbers["limit"] = min(max(-(-queued // (DEFAULT_MTU + ETHERNET_HEADER)), MIN_PACKETS), U32_MAX)
    return Shaper("netem", numbers)


def _sent(rate: int, ns: int) -> int:
    return rate * ns // NS


def _ticks(size: int, rate: int) -> int:
    return size * NS // (rate * TICK_NS)


def options_of(shaper: Shaper) -> dict[str, object]:
    """Return TCA_OPTIONS of a qdisc: all of them, since netem keeps what an attribute does not change."""
    numbers = shaper.numbers
    rate = numbers["rate"]
    large: dict[str, object] = {"rate64": rate} if rate > U32_MAX else {}
    if shaper.kind == "tbf":
        parms = {
            "linklayer": 1,  # TC_LINKLAYER_ETHERNET: the kernel then asks for no table of transmission times
            "rate": min(rate, U32_MAX),
            "limit": numbers["limit"],
            "buffer": _ticks(numbers["burst"], rate),
        }
        return {"parms": {"header": parms}, "burst": numbers["burst"], **large}
    header = {
        "latency": min(numbers["delay"] // TICK_NS, U32_MAX),
        "limit": numbers["limit"],
        "loss": numbers["loss"],
        "gap": numbers["gap"],
        "duplicate": numbers["duplicate"],
        "jitter": numbers["jitter"] // TICK_NS,
    }
    correlations = {name: numbers[f"{name}_correlation"] for name in ("delay", "loss", "duplicate")}
    return {
        "header": header,
        "latency64": numbers["delay"],
        "jitter64": numbers["jitter"],
        "corr": {"header": correlations},
        **{
            name: {"header": {"probability": numbers[name], "correlation": numbers[f"{name}_correlation"]}}
            for name in ("reorder", "corrupt")
        },
        **large,
        "rate": {"header": {"rate": min(rate, U32_MAX)}},
    }


def shaper_in(kind: str, options: Mapping[str, Any]) -> Shaper:
    """Return what the TCA_OPTIONS of a netem or tbf show, as in a dump or as options_of() writes them."""
    if kind == "tbf":
        parms: Mapping[str, int] = options["parms"]["header"]
        rate: int = options.get("rate64", parms.get("rate", 0))
        burst = -(-parms["buffer"] * TICK_NS * rate // NS)  # the kernel has rounded down
        return Shaper("tbf", {"rate": rate, "limit": parms["limit"], "burst": burst})
    header: Mapping[str, int] = options["header"]
    found = {
        "delay": options.get("latency64", header["latency"] * TICK_NS),
        "jitter": options.get("jitter64", header["jitter"] * TICK_NS),
        "rate": options.get("rate64", _inside(options, "rate").get("rate", 0)),
    }
    found |= {name: header[name] for name in ("loss", "duplicate", "limit", "gap")}
    for name in ("delay", "loss", "duplicate"):
        found[f"{name}_correlation"] = _inside(options, "corr").get(name, 0)
    for name in ("reorder", "corrupt"):
        found[name] = _inside(options, name).get("probability", 0)
        found[f"{name}_correlation"] = _inside(options, name).get("correlation", 0)
    if not found["gap"]:  # then netem reorders nothing
        found["reorder"] = 0
    return Shaper("netem", {name: found[name] for name in (*IMPAIRMENTS, "gap")})


def _inside(options: Mapping[str, Any], name: str) -> Mapping[str, int]:
    found: Mapping[str, int] = options.get(name, {}).get("header", {})
    return found
