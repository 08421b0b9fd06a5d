"""Sort the problems of a file into the order of the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from kokofast.topology.problems import Problem

BEFORE_ALL = -1


def in_tree_order(
    problems: Iterable[Problem], locate: Callable[[set[str]], Mapping[str, tuple[int, int]]], title: str = ""
) -> list[Problem]:
    """Sort problems by the positions of their places, which locate() finds, and set Problem.position.

    Problems with a place outside of the text (the file's name) come first, those without a place last.
    """
    problems = list(problems)
    found = locate({part for problem in problems for part in ancestors(problem.place)})
    keys: list[tuple[int, int]] = []
    for problem in problems:
        # A missing value has no position: take that of the object that it is missing from.
        at = max((found[part] for part in ancestors(problem.place) if part in found), default=None)
        keys.append((BEFORE_ALL, 0) if at is None else at)
        if at is not None and title:
            problem.position = f"{title}:{at[0]}:{at[1]}"
    order = sorted(range(len(problems)), key=lambda number: (not problems[number].place, keys[number]))
    return [problems[number] for number in order]


def in_line_order(
    problems: Iterable[Problem], filename: str, within: Callable[[int, list[Problem]], list[Problem]]
) -> list[Problem]:
    """Sort problems by the line number behind the file's name; within(line, problems) sorts those of one line."""
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
    """Return the places that contain this one, and itself."""
    ends = [index for index, char in enumerate(place) if char in ".[ "]
    return [*(place[:end] for end in ends), place]
