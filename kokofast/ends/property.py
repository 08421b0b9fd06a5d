"""The interface of an end property to the other packages."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    from kokofast.kinds.fields import Field
    from kokofast.topology.model import End, Link
    from kokofast.wire.message import Request

    class View(Protocol):
        """The namespace of an end, as it will be."""

        def reference(self, ifname: str) -> object:
            """Return a typed reference to the ifindex of an interface."""

        def index_of(self, reference: object) -> int | None:
            """Return the ifindex of an existing interface; None for a new one."""

        def kind_of(self, ifname: str) -> str | None:
            """Return the kind of an interface, "" for none; None if it does not exist."""

        def owner_of(self, name: str) -> str | None:
            """Return another interface that has the name already, also as an altname; None if there is none."""

        def present(self, name: str) -> Any:
            """Return the present value of a property of the end; None for a new end."""

        def given(self, name: str) -> Any:
            """Return the value that the file gives for another property of the end; None for none."""

        def name_of(self, index: object) -> str:
            """Return the interface of an ifindex, or of a reference; "" for none."""

        def is_up(self) -> bool:
            """Whether the end exists and is up."""

        def mtu(self) -> int:
            """Return the MTU that the end will have, unless a mirror lowers it."""

        def root_handle(self) -> int:
            """Return the handle of the lab's root qdiscs."""

        def command(self, name: str) -> str:
            """Return a command of iproute2 with the option for the namespace of the end."""


# The stage of a change of an existing end: with all that can be undone, or after that, as it cannot be undone exactly
# (the kernel may drop routes).
NOW, LAST = range(2)


class Property:
    """A property of ends. Each module of this package has a subclass, and an instance of it as PROPERTY.

    A value is that of the field; a setting is that of the kernel, in a form that can be compared.

    Attributes:
        field: Its field in the file.
        fields: Its fields, if it has several. A value is then a mapping of those that are given.
        nothing: The setting of a new interface.
        stage: NOW or LAST.
        leaves: Whether the setting is removed when the field has left the file. The value is then an empty mapping.
        has_columns: Whether its fields are columns of CSV, for both ends.
        kinds: The link kinds whose ends may have it; empty for all.
        is_of_kind: Whether its field is one of a link kind that names it in Kind.several.
    """

    field: Field
    fields: tuple[Field, ...] = ()
    nothing: object = None
    stage = NOW
    leaves = False
    has_columns = False
    kinds: tuple[str, ...] = ()
    is_of_kind = False

    def all_fields(self) -> tuple[Field, ...]:
        """Return its fields, or its only one."""
        return self.fields or (self.field,)

    def contradiction(self, end: End, value: Any) -> tuple[str, str] | None:
        """Return (field, sentence) of a mistake that the file alone shows; None if there is none."""
        return None

    def names(self, value: Any) -> tuple[str, ...]:
        """Return the names that the end uses in its namespace, apart from its own."""
        return ()

    def needs(self, value: Any) -> tuple[str, ...]:
        """Return the interfaces in the end's namespace that it needs."""
        return ()

    def problems(self, link: Link, end: End, value: Any, view: View) -> Iterator[tuple[str, str]]:
        """Yield (field, fact and cure) of reasons why the value cannot be set. The caller adds the place."""
        return iter(())

    def is_fixed(self, value: Any, present: Any) -> bool:
        """Return whether an existing end with this setting cannot get the value, for a field of a link kind."""
        return False

    def restarts(self, value: Any, view: View) -> bool:
        """Whether the kernel sets an interface down and up again when the value is set."""
        return False

    def present(self, shown: Any) -> Any:
        """Return the setting that an interface's attribute shows; shown is None if it has no such attribute."""
        raise NotImplementedError

    def wanted(self, value: Any, view: View) -> Any:
        """Return the setting of a value. It may be a reference to an interface."""
        raise NotImplementedError

    def requests(self, index: object, new: Any, before: Any) -> list[Request]:
        """Return the messages that change the setting of an interface, given a reference to it."""
        raise NotImplementedError

    def is_guarded(self, new: Any, before: Any) -> bool:
        """Whether the kernel refuses requests() on an interface without what the lab has set before."""
        return False

    def is_set(self, present: Any, setting: Any, other: Any) -> bool:
        """Return whether a setting is in place. The other one is the setting before or after the change."""
        return bool(present == setting)

    def blamed(self, request: Request, value: Any) -> str:
        """Return the field from which a refused request came; "" if it is not of this property."""
        return ""

    def cure(self, request: Request, code: int) -> str:
        """Return a cure for a request that was refused with this errno; "" if there is none."""
        return ""

    def shown(self, setting: Any, name_of: Callable[[Any], str]) -> object:
        """Return a setting as a value of the file, None for no value. With several fields it is a mapping.

        name_of() returns the interface of an ifindex, or of a reference.
        """
        raise NotImplementedError
