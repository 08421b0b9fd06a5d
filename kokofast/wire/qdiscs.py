"""TCA_OPTIONS of netem and tbf: delay, loss and rate.

Sources: include/uapi/linux/pkt_sched.h (TCA_NETEM_*, TCA_TBF_*, struct tc_netem_qopt, struct tc_tbf_qopt, struct
tc_ratespec); net/sched/sch_netem.c, sch_tbf.c, sch_api.c (psched_ratecfg_precompute).

Units: a time in tc_netem_qopt and tc_tbf_qopt is in ticks of 64 ns (PSCHED_SHIFT); TCA_NETEM_LATENCY64 and JITTER64 are
in ns, and win.
A share (loss, a correlation) is a part of 2^32 - 1. A rate is in bytes a second; one that does not fit has all 32 bits
set, and TCA_*_RATE64 beside it.
"""

from __future__ import annotations

from kokofast.wire.attributes import BYTES, NEST, U32, U64, Attr, Header, Table

# An attribute that is absent leaves what the qdisc had before (netem_change()): write all of them to change one.
NETEM = Table(
    "netem",
    {
        "corr": Attr(1, NEST, Table("corr", {}, header=Header("tc_netem_corr", "III", "delay loss duplicate"))),
        "delay_dist": Attr(2, BYTES),
        "reorder": Attr(
            3, NEST, Table("reorder", {}, header=Header("tc_netem_reorder", "II", "probability correlation"))
        ),
        "corrupt": Attr(
            4, NEST, Table("corrupt", {}, header=Header("tc_netem_corrupt", "II", "probability correlation"))
        ),
        "loss": Attr(5, BYTES),
        "rate": Attr(
            6,
            NEST,
            Table("rate", {}, header=Header("tc_netem_rate", "IiIi", "rate packet_overhead cell_size cell_overhead")),
        ),
        "ecn": Attr(7, U32),
        "rate64": Attr(8, U64),
        "latency64": Attr(10, U64),
        "jitter64": Attr(11, U64),
        "slot": Attr(12, BYTES),
        "slot_dist": Attr(13, BYTES),
    },
    header=Header("tc_netem_qopt", "IIIIII", "latency limit loss gap duplicate jitter"),
)

_RATESPEC = "{0}cell_log {0}linklayer {0}overhead {0}cell_align {0}mpu {0}rate"

TBF = Table(
    "tbf",
    {
        "parms": Attr(
            1,
            NEST,
            Table(
                "parms",
                {},
                header=Header(
                    "tc_tbf_qopt",
                    "BBHhHIBBHhHIIII",
                    f"{_RATESPEC.format('')} {_RATESPEC.format('peak_')} limit buffer mtu",
                ),
            ),
        ),
        "rtab": Attr(2, BYTES),
        "ptab": Attr(3, BYTES),
        "rate64": Attr(4, U64),
        "prate64": Attr(5, U64),
        "burst": Attr(6, U32),
        "pburst": Attr(7, U32),
    },
)
