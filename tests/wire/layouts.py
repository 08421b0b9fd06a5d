"""What the decoder remembers, for tests that want to read bytes as if for the first time."""

from __future__ import annotations

import functools

from kokofast.wire.attributes import Table


@functools.cache  # a fuzzer asks a million times
def tables_of(table: Table) -> list[Table]:
    """The table and all that can stand inside of it, each once."""
    found = [table]
    for one in found:
        for attr in one.rows.values():
            inside = [attr.table, *(attr.tables or {}).values()]
            found += [inner for inner in dict.fromkeys(inside) if inner is not None and inner not in found]
    return found


def forget(table: Table) -> None:
    """Nothing is known of bytes of this table."""
    for one in tables_of(table):
        one.layouts.clear()
