"""The problems of a file in the order of the file, whatever the order they were found in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from kokofast.topology.problems import Problem

BEFORE_ALL = -1


def in_tree_order(
    problems: Iterable[Problem], locate: Callable[[set[str]], Mapping[str, tuple[int, int]]], title: str = ""
) -> list[Problem]:
    """As their places follow each other in the text, where locate() finds them. Those of no place in it (the file's
    name, say) come first, those without a place last. Each gets its position, below the title of the file."""
    problems = list(problems)
    found = locate({part for problem in problems for part in ancestors(problem.place)})
    keys: list[tuple[int, int]] = []
    for problem in problems:
        # What is missing has no place of its own: it stands with what it is missing from.
        at = max((found[part] for part in ancestors(problem.place) if part in found), default=None)
        keys.append((BEFORE_ALL, 0) if at is None else at)
        if at is not None and title:
            problem.position = f"{title}:{at[0]}:{at[1]}"
    order = sorted(range(len(problems)), key=lambda number: (not problems[number].place, keys[number]))
    return [problems[number] for number in order]


def in_line_order(
    problems: Iterable[Problem], filename: str, within: Callable[[int, list[Problem]], list[Problem]]
) -> list[Problem]:
    """By the line that stands behind the file's name; within(line, problems) orders those of one line."""
    number = re.compile(re.escape(filename) + r":([0-9]+)")
    lines: dict[int, list[Problem]] = {}
    without_place = []
    for problem in problems:
        if problem.place:
            found = number.match(problem.place)
            lines.setdefault(int(found[1]) if found else BEFORE_ALL, []).append(problem)
        else:
            without_place.append(problem)
    return [problem for line in sorted(lines) for problem in within(line, lines[line])] + without_place


def ancestors(place: str) -> list[str]:
    """The places that this one may be below, and itself."""
    ends = [index for index, char in enumerate(place) if char in ".[ "]
    return [*(place[:end] for end in ends), place]
