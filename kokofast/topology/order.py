"""The problems of a file in the order of the file, whatever the order they were found in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from kokofast.topology.places import below
from kokofast.topology.problems import Problem

BEFORE_ALL = -1


def in_tree_order(problems: Iterable[Problem], tree: object, root: str, joint: str) -> list[Problem]:
    """As their places follow each other below tree. Those of no place in it (the file's name, say) come first, those
    without a place last.

    Only the branches that lead to a problem are walked: a file of a million links may have one.
    """
    problems = list(problems)
    wanted = {part for problem in problems for part in ancestors(problem.place)}
    order: dict[str, int] = {}
    waiting: list[tuple[object, str]] = [(tree, root)]
    while waiting:
        value, place = waiting.pop()
        order[place] = len(order)
        children: list[tuple[object, str]] = []
        if isinstance(value, dict):
            children = [(child, below(place, key, root, joint)) for key, child in value.items()]
        elif isinstance(value, list):
            children = [(child, f"{place}[{index}]") for index, child in enumerate(value)]
        waiting += reversed([child for child in children if child[1] in wanted])

    def position(problem: Problem) -> int:
        if not problem.place:
            return len(order)
        # What is missing has no place of its own: it stands with what it is missing from.
        return max(order.get(part, BEFORE_ALL) for part in ancestors(problem.place))

    return sorted(problems, key=position)


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
