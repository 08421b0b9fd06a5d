"""``python -m bench``: runs the contenders in turns and prints a Markdown table. Needs root.

    python -m bench --links 200 2000 --repeat 5 --contenders floor,kokofast,ip-batch --json result.json

Progress goes to standard error. Namespaces and links are named after this process; they go when it ends, however.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import NoReturn

from bench import report
from bench.contenders import ROOT, Contender, Floor, IpBatch, Kokofast, compile_floor
from bench.measure import ContenderFailed, run
from bench.netns import Namespaces
from bench.scenario import SCENARIOS, Scenario, WrongState

GROUP = 0x4B42  # any that the machine's own interfaces do not have; only the benchmark's namespaces are asked
NAMES = ("floor", "floor-group", "kokofast", "ip-batch")
WARM_UP_LINKS = 4


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="kokofast against the floor and its peers")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="chain")
    parser.add_argument("--links", type=int, nargs="+", default=[200, 2000], metavar="N", help="default: 200 2000")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="runs of each contender (default: 5)")
    parser.add_argument("--contenders", default="floor,kokofast,ip-batch", help=f"of {','.join(NAMES)}")
    parser.add_argument("--phase", choices=("up", "destroy", "both"), default="both")
    parser.add_argument("--ip-batch-max", type=int, default=500, metavar="N", help="leave ip-batch out above N links")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements to FILE")
    options = parser.parse_args(argv)
    options.contenders = options.contenders.split(",")
    if unknown := set(options.contenders) - set(NAMES):
        parser.error(f"unknown contender {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if options.repeat < 1 or min(options.links) < 1:
        parser.error("--repeat and --links must be at least 1")
    return options


def contenders(names: Sequence[str], directory: Path, ip_batch_max: int) -> list[Contender]:
    binary = compile_floor(directory) if any(name.startswith("floor") for name in names) else None
    every: list[Contender] = [
        Floor(binary),
        Floor(binary, name="floor-group", group=GROUP),
        Kokofast(),
        IpBatch(ip_batch_max),
    ]
    return [one for name in names for one in every if one.name == name]


@contextmanager
def namespaces_of(scenario: Scenario) -> Iterator[None]:
    """Fresh for every run: what a kernel remembers of former links (peer ids, say) is no contender's advantage."""
    namespaces = Namespaces(scenario.namespaces(), watch=scenario.prefix)
    try:
        namespaces.make()
        yield
    finally:
        with uninterrupted():
            namespaces.remove()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the cleaning up is done."""
    came: list[int] = []
    former = {
        number: signal.signal(number, lambda which, _: came.append(which)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def one_run(scenario: Scenario, contender: Contender, phase: str, directory: Path, results: report.Results) -> None:
    """Up and, when asked for, destroy. A time counts only after the kernel was seen to be as it should."""
    with namespaces_of(scenario):
        measurement = run(contender.up(scenario, directory), ROOT)
        scenario.verify_up()
        if phase != "destroy":
            results.add(scenario.name, scenario.size, "up", contender.name, measurement)
            progress(f"{scenario.name} {scenario.size} up {contender.name}: {measurement.seconds:.3f} s")
        if phase != "up":
            measurement = run(contender.destroy(scenario, directory), ROOT)
            scenario.verify_gone()
            results.add(scenario.name, scenario.size, "destroy", contender.name, measurement)
            progress(f"{scenario.name} {scenario.size} destroy {contender.name}: {measurement.seconds:.3f} s")


def in_turns(
    scenario: Scenario, everyone: Sequence[Contender], repeat: int, phase: str, directory: Path, results: report.Results
) -> None:
    """Round after round, so that a busy minute of the machine hits all contenders alike."""
    taking_part = []
    for contender in everyone:
        if reason := contender.absent(scenario):
            results.note(f"{contender.name}, {scenario.name} {scenario.size}: {reason}")
        else:
            taking_part.append(contender)
    for _ in range(repeat):
        for contender in list(taking_part):
            try:
                one_run(scenario, contender, phase, directory, results)
            except (ContenderFailed, WrongState) as error:
                results.note(f"{contender.name}, {scenario.name} {scenario.size}: FAILED: {error}")
                results.failed = True
                taking_part.remove(contender)
                progress(results.notes[-1])


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def stop(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    if os.geteuid() != 0:
        print("python -m bench: needs root, it makes network namespaces", file=sys.stderr)
        return 2
    prefix = f"kfb{os.getpid()}-"
    results = report.Results(report.describe_machine())
    with TemporaryDirectory(prefix=prefix) as temporary:
        directory = Path(temporary)
        everyone = contenders(options.contenders, directory, options.ip_batch_max)
        make = SCENARIOS[options.scenario]
        # As pip leaves an installed package; in a checkout, PYTHONDONTWRITEBYTECODE may forbid the first run to.
        compileall.compile_dir(ROOT / "kokofast", quiet=2)
        # File caches, kernel modules: paid once here, by nobody.
        in_turns(make(prefix, WARM_UP_LINKS), everyone, 1, options.phase, directory, report.Results({}))
        for size in options.links:
            in_turns(make(prefix, size), everyone, options.repeat, options.phase, directory, results)
    results.machine["load_after"] = os.getloadavg()[0]
    print(report.markdown(results))
    if options.json:
        options.json.write_text(json.dumps(report.as_json(results), indent=2) + "\n")
    return 1 if results.failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
