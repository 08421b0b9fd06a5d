"""Which end of a link is which, as inspect shows it."""

from __future__ import annotations

from kokofast.engine.inspect import SeenEnd, SeenLink
from kokofast.engine.names import name_ends
from kokofast.plan.observed import Interface


def seen(title: str, *ends: tuple[int, str]) -> SeenLink:
    """A veth whose alias has this title, and its ends as they are found: (namespace, name of the interface)."""
    found = [SeenEnd(ns, f"pid:{ns}", Interface(1, ifname, alias=f"kokofast:lab:{title}")) for ns, ifname in ends]
    return SeenLink("lab", "veth", found)


def names(link: SeenLink) -> list[str]:
    return [end.node for end in link.ends]


def test_one_link_that_can_be_told_tells_all_that_hang_on_it() -> None:
    links = [seen(f"c{i}:x{i}--c{i + 1}:x{i}", (i + 1, f"x{i}"), (i, f"x{i}")) for i in range(2000)]
    links.append(seen("c2000:x--c2001:y", (2001, "y"), (2000, "x")))
    name_ends(links)
    assert [names(link) for link in links] == [[f"c{i}", f"c{i + 1}"] for i in range(2001)]


def test_what_nothing_tells_stays_as_the_machine_has_it() -> None:
    link = seen("a:e0--b:e0", (2, "e0"), (1, "e0"))
    alone = seen("a:e0--b:e0", (3, "e0"))
    digest = seen("#0123456789abcdef", (5, "e1"), (4, "e0"))
    name_ends([link, alone, digest])
    assert [names(one) for one in (link, alone, digest)] == [["pid:2", "pid:1"], ["pid:3"], ["pid:5", "pid:4"]]


def test_an_end_that_is_alone_is_told_by_its_name() -> None:
    link = seen("a:e0--b:e1", (7, "e1"))
    name_ends([link])
    assert names(link) == ["b"]
