"""Pictures of a result. The one place that needs matplotlib (the extra ``bench``).

python -m bench.plot result.json DIRECTORY [svg|png]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def plot(result: dict[str, Any], directory: Path, suffix: str = "svg") -> list[Path]:
    """Writes all pictures of a result (report.as_json) into the directory; their paths.

    ``SCENARIO-PHASE``: time against links, a line a contender, log axes, where there is more than one size;
    ``stages-PHASE``: where kokofast's time goes, for each scenario and size.
    """
    import matplotlib

    matplotlib.use("Agg")
    directory.mkdir(parents=True, exist_ok=True)
    rows = result["rows"]
    made = []
    for scenario, phase in _distinct(rows, "scenario", "phase"):
        chosen = _where(rows, scenario=scenario, phase=phase)
        if len({row["links"] for row in chosen}) > 1:
            made.append(times(chosen, directory / f"{scenario}-{phase}.{suffix}"))
    for (phase,) in _distinct(rows, "phase"):
        chosen = [row for row in _where(rows, phase=phase) if row["stages"]]
        if chosen:
            made.append(stages(chosen, directory / f"stages-{phase}.{suffix}"))
    return made


def times(rows: list[dict[str, Any]], file: Path) -> Path:
    """Rows of one scenario and phase. The bars are from the fastest to the slowest run."""
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for (contender,) in _distinct(rows, "contender"):
        mine = sorted(_where(rows, contender=contender), key=lambda row: int(row["links"]))
        median = [row["median"] for row in mine]
        spread = [[row["median"] - row["low"] for row in mine], [row["high"] - row["median"] for row in mine]]
        axes.errorbar([row["links"] for row in mine], median, yerr=spread, label=contender, marker="o", capsize=3)
    axes.set(xscale="log", yscale="log", xlabel="links", ylabel="seconds, whole process, median")
    axes.set_title(f"{rows[0]['scenario']}: {rows[0]['phase']}")
    sizes = sorted({row["links"] for row in rows})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.minorticks_off()
    axes.grid(True, alpha=0.3)
    axes.legend()
    figure.savefig(file)
    pyplot.close(figure)
    return file


def stages(rows: list[dict[str, Any]], file: Path) -> Path:
    """A bar a row, ms a link, its stages one above the other."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(max(6, 1.2 * len(rows)), 5), layout="constrained")
    labels = [f"{row['scenario']}\n{row['links']:,}" for row in rows]
    bottom = [0.0] * len(rows)
    for name in dict.fromkeys(stage for row in rows for stage in row["stages"]):
        heights = [row["stages"].get(name, 0.0) * 1000 / row["links"] for row in rows]
        axes.bar(labels, heights, bottom=bottom, label=name)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.set(ylabel="ms a link, medians", title=f"{rows[0]['contender']}: stages of {rows[0]['phase']}")
    axes.legend()
    figure.savefig(file)
    pyplot.close(figure)
    return file


def _distinct(rows: list[dict[str, Any]], *keys: str) -> Iterator[tuple[str, ...]]:
    yield from dict.fromkeys(tuple(row[key] for key in keys) for row in rows)


def _where(rows: list[dict[str, Any]], **wanted: str) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


if __name__ == "__main__":
    for written in plot(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), *sys.argv[3:4]):
        print(written)
