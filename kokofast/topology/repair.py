"""The slow path: an object that its msgspec struct refused. Every key of it is checked by its rule, every failure
reported, and what remains is an object that the struct takes (or None, when too little remains)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import msgspec

from kokofast.kinds import KINDS
from kokofast.kinds.fields import Field
from kokofast.topology.document import describe
from kokofast.topology.places import join
from kokofast.topology.problems import unknown
from kokofast.topology.rules import SUBNET_RULES, Rule, Shape

# (path, message) -> the problem is noted
Report = Callable[[str, str], None]


def repair(
    raw: Mapping[str, object],
    rules: Mapping[str, Rule],
    what: str,
    path: str,
    report: Report,
    known_elsewhere: Collection[str] = (),
) -> dict[str, object] | None:
    """The good part of an object whose keys have these rules. A key known elsewhere is no slip of the pen."""
    good: dict[str, object] = {}
    for key, value in raw.items():
        below = join(path, key)
        if key not in rules:
            elsewhere = key in known_elsewhere
            report(below, f"{what} has no '{key}'" if elsewhere else unknown("key", key, rules))
        elif fits(value, rules[key], below, report):
            good[key] = value
    missing = [key for key, rule in rules.items() if rule.field.required and key not in raw]
    for key in missing:
        report(path, f"{what} needs '{key}'")
    complete = all(key in good for key, rule in rules.items() if rule.field.required)
    return good if complete else None


def fits(value: object, rule: Rule, path: str, report: Report) -> bool:
    """Whether a value is what its rule's annotation says; complained about when not."""
    try:
        msgspec.convert(value, rule.annotation)
    except (msgspec.ValidationError, UnicodeError):  # a key with half a surrogate pair
        pass
    else:
        return True
    if rule.nested is not None and isinstance(value, dict):
        repair(value, rule.nested, "it", path, report)
    elif isinstance(value, list) and rule.field.type == "addresses":
        for index, item in enumerate(value):
            if not isinstance(item, str):
                report(f"{path}[{index}]", f"must be an address in text, not {describe(item)}")
    else:
        report(path, f"must be {rule.expects}, not {describe(value)}")
    return False


def repair_link(raw: Mapping[str, object], shape: Shape, report: Report) -> dict[str, object] | None:
    """The good part of a link, its endpoints repaired one by one."""
    key = shape.ends_key
    what = f"{shape.kind.article} {shape.kind.name} link"
    ends: object = None
    if key in raw:
        ends = _repair_ends(raw[key], shape, report)
    others = {name: value for name, value in raw.items() if name != key}
    rules = {name: rule for name, rule in shape.link.items() if name != key}
    if key not in raw:
        report("", f"{what} needs '{key}'")
    # Its own keys are looked at even when the ends are past repair: all problems at once.
    good = repair(others, _with_hidden(rules, key), what, "", report, options_of_all_kinds())
    if good is None or ends is None:
        return None
    return {**good, key: ends}


def options_of_all_kinds() -> set[str]:
    """The fields that any kind adds to a link."""
    return {field.name for kind in KINDS.values() for field in kind.fields} | SUBNET_RULES.keys()


def _with_hidden(rules: Mapping[str, Rule], key: str) -> dict[str, Rule]:
    # The key of the ends is known too (as a suggestion for "endpoint"), required options are asked for by the builder.
    relaxed = {
        name: Rule(Field(name, rule.field.type, ""), rule.annotation, rule.expects, rule.parse, rule.nested)
        for name, rule in rules.items()
    }
    return {**relaxed, key: Rule(Field(key, "", ""), object, "")}


def _repair_ends(value: object, shape: Shape, report: Report) -> object:
    if shape.kind.ends == 1:
        return _repair_end(value, shape, "endpoint", report)
    count = shape.kind.ends
    if not isinstance(value, list):
        report("endpoints", f"must be a list of {count} endpoints, not {describe(value)}")
        return None
    ends = [_repair_end(end, shape, f"endpoints[{index}]", report) for index, end in enumerate(value)]
    if len(value) != count:
        report("endpoints", f"{shape.kind.article} {shape.kind.name} link has {count} ends, not {len(value)}")
        return None
    return None if None in ends else ends


def _repair_end(value: object, shape: Shape, path: str, report: Report) -> object:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        good = repair(value, shape.end, "an endpoint", path, report)
        is_named = good is not None and ("interface" in good or "interface" not in value)
        return good if is_named else None  # one whose name is wrong gets no other
    report(path, f"must be 'node', 'node:interface[:address,...]' or an object, not {describe(value)}")
    return None
