"""``python -m bench``: run the contenders in turns, and print a Markdown table. Needs root.

    python -m bench --links 200 2000 --repeat 5 --contenders floor,kokofast,ip-batch --json result.json

Progress goes to standard error. Namespaces and links are named after this process; they go when it ends, however it
ends.
"""

from __future__ import annotations

import argparse
import compileall
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import NoReturn

from bench import figures, hosts, labs, live, measure, report, scale
from bench.contender import FLOOR, OURS, PHASES, ROOT, UP
from bench.contenders import UP_THREADS, Floor, compile_floor, contenders
from bench.peers.golang import Go
from bench.peers.koko import Koko
from bench.plot import plot
from bench.runner import Block, Runner, say
from bench.scenario import SCENARIOS, Chain, Single

DEFAULT = (FLOOR, OURS, "ip-batch")
WARM_UP_LINKS = 4
TRIAL_THREADS = (1, 2, 4)
TRIAL_LINKS = 1_000
TRIAL_RUNS = 3
FILES_A_LINK = 3  # kokofast takes two descriptors a namespace


def arguments(argv: Sequence[str] | None, names: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; exit with a message when it makes no sense.

    Args:
        argv: Without the program's name; None: that of the process.
        names: The contenders there are.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="kokofast against the floor in C and its peers: same links, side by side, the end state verified",
        epilog=f"contenders: {', '.join(names)}; scenarios: {', '.join(SCENARIOS)}",
    )
    add = parser.add_argument
    add("--scenario", default="chain", metavar="LIST", help="separated by commas, or all (default: chain)")
    add("--links", type=int, nargs="+", default=[200, 2000], metavar="N", help="default: 200 2000")
    add("--repeat", type=int, metavar="N", help="runs of each contender (default: 5; with --scale and --huge 1)")
    add("--contenders", default=",".join(DEFAULT), metavar="LIST", help="or all (default: %(default)s)")
    add("--phase", default="up,destroy", metavar="LIST", help=f"of {','.join(PHASES)} (default: %(default)s)")
    add("--patience", type=float, metavar="S", help="leave out runs that would take longer (default: 15 seconds)")
    add("--floor-threads", type=int, metavar="N", help="0: the best in a trial (default: 2; with --figures 0)")
    held = parser.add_mutually_exclusive_group().add_argument
    held("--figures", action="store_true", help="measure what kokofast is held to, and compare it with its limits")
    held("--scale", action="store_true", help="measure up to 20,000 links, namespaces included")
    held("--huge", action="store_true", help="measure 50,000 links, in a chain with its namespaces and between 50")
    held("--labs", action="store_true", help="measure rates, routes and LANs, and compare them with their limits")
    held("--live", action="store_true", help="change all links of a constellation each second, and see how late it is")
    held("--hosts", action="store_true", help="deploy a lab on up to 10 simulated hosts, by Ansible and SSH")
    add("--divide", type=int, default=1, metavar="N", help="with one of these: smaller sizes, only to see that it runs")
    add("--json", type=Path, metavar="FILE", help="write all measurements to FILE")
    add("--plots", type=Path, metavar="DIRECTORY", help="write pictures (needs matplotlib)")
    add("--plot-format", choices=("svg", "png"), default="svg", help="default: svg")
    options = parser.parse_args(argv)
    options.contenders = listed(parser, "contender", options.contenders, names)
    options.scenario = listed(parser, "scenario", options.scenario, list(SCENARIOS))
    options.phase = listed(parser, "phase", options.phase, PHASES)
    if options.repeat is None:
        options.repeat = 1 if options.scale or options.huge else 5
    if options.repeat < 1 or min(options.links) < 1 or options.divide < 1:
        parser.error("--repeat, --links and --divide must be at least 1")
    is_held = any((options.figures, options.scale, options.huge, options.labs, options.live, options.hosts))
    if options.divide > 1 and not is_held:
        parser.error("--divide goes with --figures, --scale, --huge, --labs, --live or --hosts")
    if options.plots and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plots needs matplotlib: pip install '.[bench]'")
    if options.patience is None:
        options.patience = float("inf") if is_held else 15.0
    if options.floor_threads is None:
        options.floor_threads = 0 if options.figures else UP_THREADS
    return options


def listed(parser: argparse.ArgumentParser, what: str, text: str, known: Sequence[str]) -> list[str]:
    """Split a list that is separated by commas, and exit with a message when it names something unknown."""
    chosen = list(known) if text == "all" else text.split(",")
    if unknown := set(chosen) - set(known):
        parser.error(f"unknown {what} {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return chosen


def best_floor_threads(floor: Path | None, directory: Path, prefix: str) -> int:
    """Find the best of TRIAL_THREADS by a short trial on this machine."""
    trial = Runner(directory, report.Results({}), TRIAL_RUNS, quiet=True)
    floors = [Floor(floor, threads=threads, name=str(threads)) for threads in TRIAL_THREADS]
    trial.in_turns(Chain(prefix, TRIAL_LINKS), floors, {one.name: (UP,) for one in floors})
    medians = {one: trial.results.median("chain", TRIAL_LINKS, UP, str(one)) for one in TRIAL_THREADS}
    known = {one: seconds for one, seconds in medians.items() if seconds is not None}
    return min(known, key=lambda one: known[one]) if known else UP_THREADS


def plan(options: argparse.Namespace) -> list[Block]:
    """Return every scenario and size that was asked for, with its contenders."""
    for chosen, blocks in (
        (options.figures, figures.BLOCKS),
        (options.scale, scale.BLOCKS),
        (options.huge, scale.HUGE_BLOCKS),
        (options.labs, labs.BLOCKS),
    ):
        if chosen:
            return [one._replace(links=max(1, one.links // options.divide)) for one in blocks]
    phases = dict.fromkeys(options.contenders, options.phase)
    return [
        Block(name, size, phases)
        for name in options.scenario
        for size in ([1] if SCENARIOS[name] is Single else options.links)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code: 0, 1 when a contender failed, 2 without root."""
    options = arguments(argv, list(contenders()))
    if os.geteuid() != 0:
        say("python -m bench: needs root, it makes network namespaces")
        return 2
    prefix = f"kfb{os.getpid()}-"
    results = report.Results(report.describe_machine())
    with TemporaryDirectory(prefix=prefix) as temporary:
        # As pip leaves an installed package; in a checkout, PYTHONDONTWRITEBYTECODE may forbid the first run to.
        compileall.compile_dir(ROOT / "kokofast", quiet=2)
        played: list[live.Line] = []
        deployed: list[hosts.Line] = []
        if options.live:
            played += live.measure(prefix, results, Path(temporary), options.divide)
        elif options.hosts:
            deployed += hosts.measure(results, Path(temporary), options.divide)
        else:
            compare(options, prefix, results, Path(temporary))
    results.machine["load_after"] = os.getloadavg()[0]
    if options.divide > 1:
        results.note(f"all sizes are divided by {options.divide}: these are not the figures")
    if options.hosts:
        print(hosts.report(results, deployed))
    else:
        print(live.report(results, played) if options.live else report.markdown(results))
    found = list(figures.figures(results, options.divide)) if options.figures else []
    found += figures.huge(results, options.divide) if options.huge else []
    found += live.figures(played)
    found += labs.figures(results) if options.labs else []
    lines = list(scale.lines(results)) if options.scale or options.huge else []
    if found:
        print(f"\n{figures.markdown(found)}")
    if lines:
        print(f"\n{scale.markdown(lines)}")
    document = report.as_json(
        results,
        [{**one._asdict(), "met": one.met} for one in found],
        [one._asdict() for one in lines],
        [one._asdict() for one in played],
        [one._asdict() for one in deployed],
    )
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    if options.plots:
        for file in plot(document, options.plots, options.plot_format):
            say(f"wrote {file}")
    return 1 if results.failed else 0


def compare(options: argparse.Namespace, prefix: str, results: report.Results, directory: Path) -> None:
    """Let the contenders make, find and destroy links."""
    blocks = plan(options)
    if options.scale or options.huge or options.figures:
        measure.allow_open_files(FILES_A_LINK * max(block.links for block in blocks))
    floor = compile_floor(directory)
    names = {name for one in blocks for name in one.phases}
    go = Go.compile(directory) if any(name.startswith("go-") for name in names) else None
    koko = Koko.compile(directory) if names & {"koko", "koko-8"} else None
    everyone = contenders(floor, go, koko)
    # The first run fills file caches and loads kernel modules. Its time counts for no contender.
    warm_up = Runner(directory, report.Results({}), 1, quiet=True)
    warm_up.in_turns(Chain(prefix, WARM_UP_LINKS), [everyone[OURS], everyone[FLOOR]])
    threads = options.floor_threads or best_floor_threads(floor, directory, prefix)
    for one in everyone.values():
        if isinstance(one, Floor):
            one.threads = threads
    results.note(f"the floor works with {threads} threads")
    runner = Runner(directory, results, options.repeat, options.patience)
    # With --labs blocks are compared with each other, so they take turns as well.
    rounds = options.repeat if options.labs else 1
    for block in blocks * rounds:
        scenario = SCENARIOS[block.scenario](prefix, block.links)
        taking_part = [everyone[name] for name in block.phases]
        runs = block.runs or options.repeat * block.times_runs // rounds
        runner.in_turns(scenario, taking_part, block.phases, runs)


def stop(number: int, frame: FrameType | None) -> NoReturn:
    """Exit on a signal as a shell reports it, so that everything is cleaned up."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
