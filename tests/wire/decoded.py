"""Messages that were decoded, as the rows of a dump."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kokofast.wire.message import Message, format_of
from kokofast.wire.rows import Rows

if TYPE_CHECKING:
    from kokofast.wire import message


def row_of(rows: message.Rows | None, message: Message) -> Any:
    assert isinstance(rows, Rows)
    header, _ = format_of(rows.type)
    return (*(message.header.get(name, 0) for name in header.fields), *map(message.attributes.get, rows.names))
