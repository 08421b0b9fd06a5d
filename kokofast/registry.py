"""A dict of items with a module each, imported at its first use: a single link needs one or two of them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Generic, TypeVar

    T = TypeVar("T")

    class _Items(dict[str, T], Generic[T]):
        """A dict by name."""
else:
    _Items, T = dict, None


class Registry(_Items[T]):
    """A dict by name, in the order of the names. The module PACKAGE.NAME has the item as its attribute."""

    def __init__(self, package: str, attribute: str, names: Iterable[str]) -> None:
        super().__init__(dict.fromkeys(names))  # type: ignore[arg-type]
        self._package = package
        self._attribute = attribute

    def __getitem__(self, name: str) -> T:
        item = dict.__getitem__(self, name)
        if item is None:
            module = __import__(f"{self._package}.{name}", fromlist=(self._attribute,))
            item = self[name] = getattr(module, self._attribute)
        return item

    def get(self, name: str, default: T | None = None) -> T | None:  # type: ignore[override]
        """Return the item of a name, or the default."""
        return self[name] if name in self else default  # noqa: SIM401 - this is get

    def values(self) -> list[T]:  # type: ignore[override]
        """Return the items."""
        return [self[name] for name in self]
