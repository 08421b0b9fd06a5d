"""The epochs of NetSatBench: ``time``, ``links-add``, ``links-update``, ``links-del``, ``run``.

Its links are between nodes. An interface that such an epoch adds is named after the node at the other end.
"""

from __future__ import annotations

import shlex
from hashlib import blake2s
from typing import TYPE_CHECKING

from kokofast.timeline.epoch import Command, Epoch, is_word
from kokofast.topology.document import InvalidNumber, describe
from kokofast.topology.problems import Problem, step, unknown
from kokofast.topology.values import check_ifname

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS = ("time", "links-add", "links-update", "links-del", "run")
LISTS = {"links-del": "remove", "links-update": "set", "links-add": "add"}
ENDS = ("endpoint1", "endpoint2")
FIELDS = ("rate", "loss", "delay", "limit")


def is_epoch(found: Mapping[str, object]) -> bool:
    """Whether an object is an epoch of NetSatBench."""
    return "at" not in found and not found.keys().isdisjoint(KEYS[:-1])


def epoch_of(found: Mapping[str, object], at: float | None, place: str, problems: list[Problem]) -> Epoch:
    """Return the epoch of NetSatBench's object, and add its problems."""
    for key in found:
        if key not in KEYS:
            problems.append(Problem(f"{place} {step(key).removeprefix('.')}", unknown("key", key, KEYS)))
    changes: dict[str, list[object]] = {name: [] for name in LISTS.values()}
    for key, name in LISTS.items():
        entries = found.get(key, [])
        if not isinstance(entries, list):
            problems.append(Problem(f"{place} {key}", f"must be a list, not {describe(entries)}"))
            continue
        for number, entry in enumerate(entries):
            link = _link(entry, name, f"{place} {key}[{number}]", problems)
            if link is not None:
                changes[name].append(link)
    commands = _commands(found["run"], place, problems) if "run" in found else ()
    return Epoch(at, place, changes, commands, {name: key for key, name in LISTS.items()})


def _link(entry: object, name: str, where: str, problems: list[Problem]) -> dict[str, object] | None:
    if not isinstance(entry, dict):
        problems.append(Problem(where, f"must be an object, not {describe(entry)}"))
        return None
    before = len(problems)
    for key in ENDS:
        if not isinstance(entry.get(key), str):
            problems.append(Problem(where, f"needs '{key}', the name of a node"))
    known = (*ENDS, *FIELDS) if name != "remove" else ENDS
    for key in entry:
        if key not in (*ENDS, *FIELDS):
            problems.append(Problem(where + step(key), unknown("key", key, known)))
    if len(problems) > before:
        return None
    nodes = [str(entry[key]) for key in ENDS]
    ends = [
        node if ":" in node else f"{node}:{interface_to(other)}" for node, other in zip(nodes, nodes[::-1], strict=True)
    ]
    # A link of the file may have other names.
    link: dict[str, object] = {"endpoints": ends if name == "add" else nodes}
    if name != "remove":
        link |= {key: entry[key] for key in FIELDS if key in entry}
        loss = link.get("loss")
        if isinstance(loss, (int, InvalidNumber)) and not isinstance(loss, bool):
            link["loss"] = f"{loss.text if isinstance(loss, InvalidNumber) else loss}%"
    return link


def interface_to(node: str) -> str:
    """Return the name of an interface whose link leads to a node."""
    try:
        return check_ifname(node)
    except ValueError:
        return "n" + blake2s(node.encode(errors="surrogatepass"), digest_size=6).hexdigest()


def _commands(value: object, place: str, problems: list[Problem]) -> tuple[Command, ...]:
    """Return the commands of an object of node -> command, or list of commands, in one text each. There is no shell."""
    if not isinstance(value, dict):
        problems.append(
            Problem(f"{place} run", f"must be an object of nodes and their commands, not {describe(value)}")
        )
        return ()
    found: list[Command] = []
    for node, texts in value.items():
        where = f"{place} run{step(node)}"
        for text in texts if isinstance(texts, list) else [texts]:
            try:
                words = shlex.split(text) if is_word(text) else []
            except ValueError:  # a quotation mark without its other one
                words = []
            if words and words[0]:
                found.append(Command(node, tuple(words), where))
            else:
                problems.append(Problem(where, f"must be a command in text, not {describe(text)}"))
    return tuple(found)
