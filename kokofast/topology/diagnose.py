"""The slow path, for objects that their msgspec struct refused.

Check every key by its rule, report every failure, and return the valid part, or None when a required key is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from kokofast.ends import ENDS
from kokofast.kinds import KINDS
from kokofast.kinds.fields import Field
from kokofast.topology.document import describe
from kokofast.topology.locations import join
from kokofast.topology.problems import step, unknown
from kokofast.topology.rules import Report, Rule
from kokofast.topology.shapes import SUBNET_RULES, Shape


def repair(
    raw: Mapping[str, object],
    rules: Mapping[str, Rule],
    what: str,
    path: str,
    report: Report,
    known_elsewhere: Collection[str] = (),
) -> dict[str, object] | None:
    """Return the valid part of an object whose keys have these rules. A key known elsewhere gets no suggestion."""
    good: dict[str, object] = {}
    for key, value in raw.items():
        below = join(path, key)
        if key not in rules:
            elsewhere = key in known_elsewhere
            report(below, f"{what} has no '{key}'" if elsewhere else _not_known(key, rules))
        elif fits(value, rules[key], below, report):
            good[key] = value
    missing = [key for key, rule in rules.items() if rule.field.required and key not in raw]
    for key in missing:
        report(path, f"{what} needs '{key}'")
    complete = all(key in good for key, rule in rules.items() if rule.field.required)
    return good if complete else None


def _not_known(key: str, rules: Mapping[str, Rule]) -> str:
    kinds = next((found.kinds for found in ENDS.values() if key in [one.name for one in found.all_fields()]), ())
    if kinds:
        return f"only ends of {' or '.join(kinds)} links have '{key}'; leave it out here"
    return unknown("key", key, rules)


def fits(value: object, rule: Rule, path: str, report: Report) -> bool:
    """Whether a value fits its rule's annotation; if not, report it."""
    try:
        msgspec.convert(value, rule.annotation)
    except (msgspec.ValidationError, UnicodeError):  # a key with half a surrogate pair
        pass
    else:
        return True
    if rule.nested is not None and isinstance(value, dict) and rule.field.type != "routes":
        repair(value, rule.nested, "it", path, report)
    elif isinstance(value, list) and rule.field.type == "routes":
        assert rule.nested is not None
        for index, item in enumerate(value):
            if isinstance(item, dict):
                repair(item, rule.nested, "it", f"{path}[{index}]", report)
            else:
                report(f"{path}[{index}]", f"must be an object, not {describe(item)}")
    elif isinstance(value, dict) and rule.field.type in ("sysctls", "tags"):
        is_tags = rule.field.type == "tags"
        for key, item in value.items():
            if isinstance(item, bool) or not isinstance(item, str if is_tags else int | str):
                report(path + step(key), f"must be {'' if is_tags else 'a number or '}text, not {describe(item)}")
    elif isinstance(value, list) and rule.field.type in ("addresses", "ips", "texts"):
        what = "text" if rule.field.type == "texts" else "an address in text"
        for index, item in enumerate(value):
            if not isinstance(item, str):
                report(f"{path}[{index}]", f"must be {what}, not {describe(item)}")
    else:
        report(path, f"must be {rule.expects}, not {describe(value)}")
    return False


def repair_link(raw: Mapping[str, object], shape: Shape, report: Report) -> dict[str, object] | None:
    """Return the valid part of a link, its endpoints repaired one by one."""
    key = shape.ends_key
    what = f"{shape.kind.article} {shape.kind.name} link"
    ends: object = None
    if key in raw:
        ends = _repair_ends(raw[key], shape, report)
    others = {name: value for name, value in raw.items() if name != key}
    rules = {name: rule for name, rule in shape.link.items() if name != key}
    if key not in raw:
        report("", f"{what} needs '{key}'")
    # Check the other keys even when the ends are invalid, to report all problems.
    good = repair(others, _with_hidden(rules, key), what, "", report, options_of_all_kinds())
    if good is None or ends is None:
        return None
    return {**good, key: ends}


def options_of_all_kinds() -> set[str]:
    """Return the names of all fields that some kind adds to a link."""
    return {field.name for kind in KINDS.values() for field in kind.fields} | SUBNET_RULES.keys()


def _with_hidden(rules: Mapping[str, Rule], key: str) -> dict[str, Rule]:
    # Add the key of the ends, to suggest it for "endpoint". The builder checks for required options.
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
