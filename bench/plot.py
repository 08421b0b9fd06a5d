"""Pictures of a result. The one place that needs matplotlib (the extra ``bench``).

python -m bench.plot result.json DIRECTORY [svg|png]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contender import OURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MARKERS = "osD^vP*X"
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small files, and it can be searched
    "svg.hashsalt": "bench",  # the same result gives the same file
    "font.sans-serif": ["DejaVu Sans", "Verdana"],  # alike in width: what is measured here fits there as well
    "figure.constrained_layout.use": True,
}


def plot(result: dict[str, Any], directory: Path, suffix: str = "svg") -> list[Path]:
    """Write all pictures of a result into a directory, and return their paths.

    ``SCENARIO-PHASE``: time against links, a line for each contender, log axes, where there is more than one size.
    ``stages-PHASE``: where kokofast's time goes, for each scenario and size.
    ``live-ENDS``: when the epochs of a constellation were done, a line for each player.

    Args:
        result: As report.as_json() returns it.
        directory: Made when it is missing.
        suffix: svg or png.
    """
    import matplotlib

    matplotlib.use("Agg")
    directory.mkdir(parents=True, exist_ok=True)
    rows = result["rows"]
    # A contender has the same colour and marker in all pictures.
    names = sorted({row["contender"] for row in rows}, key=lambda name: (name != OURS, name))
    looks = {name: number for number, name in enumerate(names)}
    made = []
    with matplotlib.rc_context(SETTINGS):
        for scenario, phase in _distinct(rows, "scenario", "phase"):
            chosen = _where(rows, scenario=scenario, phase=phase)
            if len({row["links"] for row in chosen}) > 1:
                made.append(times(chosen, looks, directory / f"{scenario}-{phase}.{suffix}"))
        for (phase,) in _distinct(rows, "phase"):
            chosen = [row for row in _where(rows, phase=phase) if row["stages"]]
            if chosen:
                made.append(stages(chosen, directory / f"stages-{phase}.{suffix}"))
        players = result.get("live", [])
        for ends in dict.fromkeys(one["ends"] for one in players):
            chosen = [one for one in players if one["ends"] == ends]
            made.append(lateness(chosen, directory / f"live-{ends}.{suffix}"))
    return made


def times(rows: list[dict[str, Any]], looks: dict[str, int], file: Path) -> Path:
    """Draw rows of one scenario and phase. The error bars are from the fastest to the slowest run."""
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    lines = []
    for (contender,) in _distinct(rows, "contender"):
        mine = sorted(_where(rows, contender=contender), key=lambda row: int(row["links"]))
        median = [row["median"] for row in mine]
        spread = [[row["median"] - row["low"] for row in mine], [row["high"] - row["median"] for row in mine]]
        look = looks[contender]
        drawn = axes.errorbar(
            [row["links"] for row in mine],
            median,
            yerr=spread,
            color=f"C{look}",
            marker=MARKERS[look % len(MARKERS)],
            linewidth=2.5 if contender == OURS else 1.2,
            elinewidth=1,
            capsize=3,
        )
        lines.append((mine[-1]["ms_per_link"], contender, drawn.lines[0]))
    lines.sort(key=lambda line: line[0], reverse=True)  # the legend from top to bottom, as the lines
    axes.set(xscale="log", yscale="log", xlabel="links", ylabel="seconds, whole process: median, fastest, slowest")
    axes.set_title(f"{rows[0]['scenario']}: {rows[0]['phase']}")
    sizes = sorted({row["links"] for row in rows})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.minorticks_off()
    axes.grid(True, alpha=0.3)
    figure.legend([line for *_, line in lines], [name for _, name, _ in lines], loc="outside right upper")
    return _save(figure, file)


def stages(rows: list[dict[str, Any]], file: Path) -> Path:
    """Draw a bar for each row, in ms a link, its stages one above the other."""
    from matplotlib import pyplot

    contenders = list(_distinct(rows, "contender"))
    # Whose bar it is stands below it only where there are several of them.
    labels = [[row["scenario"], f"{row['links']:,} links", row["contender"]][: 1 + len(contenders)] for row in rows]
    letters = max(len(word) for label in labels for word in label)
    figure, axes = pyplot.subplots(figsize=(max(8, 2 + 0.1 * letters * len(rows)), 4.5))
    bottom = [0.0] * len(rows)
    for name in dict.fromkeys(stage for row in rows for stage in row["stages"]):
        heights = [row["stages"].get(name, 0.0) * 1000 / row["links"] for row in rows]
        axes.bar(range(len(rows)), heights, bottom=bottom, label=name)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.set_xticks(range(len(rows)), ["\n".join(label) for label in labels])
    whose = ", ".join(name for (name,) in contenders)
    axes.set(ylabel="ms a link, medians", title=f"{whose}: stages of {rows[0]['phase']}")
    axes.grid(True, axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside right upper", reverse=True)  # from top to bottom, as the stages
    return _save(figure, file)


def lateness(players: list[dict[str, Any]], file: Path) -> Path:
    """Draw how long after its time each epoch was done. An epoch of a sample is drawn as long as one of all ends."""
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for number, one in enumerate(players):
        at, begun, done = zip(*one["epochs"], strict=True)
        times = one["ends"] / one["changed"]
        late = [end - due + (times - 1) * (end - start) for due, start, end in zip(at, begun, done, strict=True)]
        name = one["player"] if times == 1 else f"{one['player']} (of {one['changed']} ends)"
        width = 2.5 if one["player"] == OURS else 1.2
        axes.plot(at, late, color=f"C{number}", marker=MARKERS[number], markersize=4, linewidth=width, label=name)
    axes.set(yscale="log", xlabel="seconds", ylabel="seconds from the time of an epoch until it was done")
    first = players[0]
    axes.set_title(
        f"{first['planes'] * first['per_plane']:,} satellites, all {first['ends']:,} ends changed each second"
    )
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.minorticks_off()
    axes.grid(True, alpha=0.3)
    figure.legend(loc="outside right upper")
    return _save(figure, file)


def _save(figure: Figure, file: Path) -> Path:
    from matplotlib import pyplot

    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
    return file


def _distinct(rows: list[dict[str, Any]], *keys: str) -> Iterator[tuple[str, ...]]:
    yield from dict.fromkeys(tuple(row[key] for key in keys) for row in rows)


def _where(rows: list[dict[str, Any]], **wanted: str) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


if __name__ == "__main__":
    for written in plot(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), *sys.argv[3:4]):
        print(written)
