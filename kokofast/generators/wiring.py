"""Make a topology of a shape: number the interfaces, give the links addresses and fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any, TypeVar

from kokofast.generators.shape import REQUIRED, Edge, Shape
from kokofast.generators.shapes import SHAPES
from kokofast.topology.document import LINKS_MAX
from kokofast.topology.problems import unknown
from kokofast.topology.subnets import addresses_of_pair, parse_subnet
from kokofast.topology.units import parse_rate, parse_time
from kokofast.topology.values import check_prefix, quote

T = TypeVar("T")

DEFAULT_SUBNET = "10.0.0.0/8"


def generate(
    shape: str,
    *,
    subnet: str | None = DEFAULT_SUBNET,
    delay: str | None = None,
    rate: str | None = None,
    prefix: str = "",
    **sizes: int,
) -> dict[str, Any]:
    """Make a topology as a file has it: ``generate("fat-tree", k=4)``.

    Args:
        shape: As `kokofast generate` names it.
        subnet: Each link gets a /31 (IPv6: a /127) of it; None is for no addresses.
        delay: Of all links, such as "10ms".
        rate: Of all links, such as "1gbit".
        prefix: Begins the name of each node.
        sizes: Those of the shape; see `kokofast generate SHAPE --help`.

    Raises:
        ValueError: A value makes no sense, or the subnet is too small.
        TypeError: A size is missing, or not one of the shape, or a value has another type.
    """
    topology = generate_lazily(shape, subnet=subnet, delay=delay, rate=rate, prefix=prefix, **sizes)
    return {**topology, "links": list(topology["links"])}


def generate_lazily(
    shape: str, *, subnet: str | None, delay: str | None, rate: str | None, prefix: str, **sizes: int
) -> dict[str, Any]:
    """Make a topology whose links come from an iterator. All arguments are checked at once; see generate()."""
    if argument("shape", str, shape) not in SHAPES:
        raise ValueError(unknown("shape", shape, SHAPES))
    found = SHAPES[shape]
    sizes = _checked(shape, found, sizes)
    links = found.count(**sizes)
    check_links(links)
    argument("prefix", check_prefix, prefix)
    addresses = pairs_of(links, subnet)
    topology: dict[str, Any] = {"name": shape}
    if defaults := {name: text for name, text in (("delay", delay), ("rate", rate)) if text is not None}:
        for name, parse in (("delay", parse_time), ("rate", parse_rate)):
            if name in defaults:
                argument(name, parse, defaults[name])
        topology["defaults"] = defaults
    return {**topology, "links": _links(found.edges(**sizes), addresses, prefix)}


def argument(name: str, parse: Callable[[str], T], value: object) -> T:
    """Return what parse() makes of a text; its errors, and those of another type, name the argument."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is a text, not {quote(value)}")
    try:
        return parse(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def check_links(links: int) -> None:
    """Raise ValueError when a file may not have this many links."""
    if links > LINKS_MAX:
        raise ValueError(f"{links} links are more than a file may have, {LINKS_MAX}")


def _checked(name: str, shape: Shape, given: dict[str, int]) -> dict[str, int]:
    """Return all sizes of a shape."""
    known = [size.name for size in shape.sizes]
    for other in given:
        if other not in known:
            raise TypeError(f"{name}: {unknown('size', other, known)}")
    sizes = {}
    for size in shape.sizes:
        value = given.get(size.name, size.default)
        if value is None:  # the shape's own default
            continue
        if size.name not in given and value == REQUIRED:
            raise TypeError(f"{name} needs a size '{size.name}': {size.help}")
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name}: the size '{size.name}' is a whole number, not {value!r}")
        if value < size.lowest:
            raise ValueError(f"{size.name} must be at least {size.lowest}, not {value}")
        sizes[size.name] = value
    return sizes


def _links(
    edges: Iterable[Edge], addresses: Iterator[tuple[str | None, str | None]], prefix: str
) -> Iterator[dict[str, Any]]:
    numbers: dict[str, int] = {}

    def named(end: str) -> str:
        if ":" in end:
            return prefix + end
        number = numbers.get(end, 0)
        numbers[end] = number + 1
        return f"{prefix}{end}:eth{number}"

    for (a, b), (left, right) in zip(edges, addresses, strict=True):
        yield {"endpoints": [endpoint(named(a), left), endpoint(named(b), right)]}


def endpoint(end: str, address: str | None) -> str:
    """Return an endpoint in its short form."""
    return end if address is None else f"{end}:{address}"


def pairs_of(links: int, subnet: str | None) -> Iterator[tuple[str | None, str | None]]:
    """Return the addresses of the two ends of each link, None for no subnet. Raises ValueError when it is too small."""
    if subnet is None:
        return repeat((None, None), links)
    network = argument("subnet", parse_subnet, subnet)
    if links > network.pairs:
        raise ValueError(f"{links} links need {links} times two addresses, {subnet} has them for {network.pairs}")
    pairs = (addresses_of_pair(network.family, network.first + number) for number in range(links))
    return ((one.text, two.text) for one, two in pairs)
