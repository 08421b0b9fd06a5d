"""A dict of items with a module each, imported at its first use: a single link needs one or two of them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, KeysView
    from typing import Generic, TypeVar

    T = TypeVar("T")

    class _Items(dict[str, T], Generic[T]):
        """A dict by name."""
else:
    _Items, T = dict, None


class Registry(_Items[T]):
    """A dict by name, in the order of the names. The module PACKAGE.NAME has the item as its attribute."""

    def __init__(self, package: str, attribute: str, names: Iterable[str]) -> None:
        super().__init__()
        self._names = dict.fromkeys(names)
        self._package = package
        self._attribute = attribute

    def __missing__(self, name: str) -> T:
        # Only the first use of an item comes here: the next ones are plain lookups, thousands for each batch.
        if name not in self._names:
            raise KeyError(name)
        module = __import__(f"{self._package}.{name}", fromlist=(self._attribute,))
        item: T = getattr(module, self._attribute)
        self[name] = item
        return item

    def __setitem__(self, name: str, item: T) -> None:
        self._names[name] = None
        super().__setitem__(name, item)

    def __delitem__(self, name: str) -> None:
        del self._names[name]
        self.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """Return the names."""
        return self._names.keys()

    def get(self, name: str, default: T | None = None) -> T | None:  # type: ignore[override]
        """Return the item of a name, or the default."""
        return self[name] if name in self._names else default

    def values(self) -> list[T]:  # type: ignore[override]
        """Return the items."""
        return [self[name] for name in self._names]

    def items(self) -> list[tuple[str, T]]:  # type: ignore[override]
        """Return the names and items."""
        return [(name, self[name]) for name in self._names]
