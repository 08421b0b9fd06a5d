"""A lab.conf of Kathara or Netkit: which interfaces of devices are in which collision domain."""

from __future__ import annotations

import re

from kokofast.importers.importer import Draft, Imported, Importer, Options, Source
from kokofast.topology.document import LINKS_MAX, NUMBER_DIGITS, refuse_too_many
from kokofast.topology.problems import Problem, TopologyError, step
from kokofast.topology.values import quote

_DEVICE = r"[\w.-]+\[\w+\]\s*="
_BEGINNING = re.compile(rf"(LAB_[A-Z]+=.*\n|\s|#.*\n)*({_DEVICE}|LAB_[A-Z]+=)", re.ASCII)
# NAME[OPTION]=VALUE, the value in quotes or not, and a comment.
_LINE = re.compile(
    r"""(?P<device>[\w.-]+)\[(?P<option>\w+)\][ \t]{0,9}=[ \t]{0,9}"""
    r"""(?:(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)')\s*|(?P<plain>[^"'#]*))(?:\#.*)?""",
    re.ASCII,
)
_METADATA = re.compile(r"LAB_(?P<key>[A-Z]+)=(?P<value>.*)")
_NAME = re.compile(r"\w+", re.ASCII)
_INTERFACE_MAX = 9999
_TRUTH = {"true": True, "false": False}
# Options that are wiring, and what is not made of them.
_LOST = {
    "bridged": "the interface to Docker's own bridge is not made ([bridged])",
    "port": "no port of the host leads to a device ([port])",
}

End = tuple[str, str, dict[str, object]]  # the collision domain, its place, the end


def recognise(source: Source) -> bool:
    """Whether it begins as a lab.conf."""
    return _BEGINNING.match(source.text) is not None


def read(source: Source, options: Options) -> Imported:
    """Make a topology: a veth for a collision domain of two interfaces, a segment for any other."""
    if options.runtime is not None:
        words = "the names of Kathara's containers are not in its lab.conf: leave --runtime out, for network namespaces"
        raise TopologyError([Problem(source.title, words)])
    lab = _Lab(source.title)
    for number, line in enumerate(source.text.split("\n"), 1):
        lab.take(line.strip(), f"{source.title}:{number}")
    lab.make_links()
    if lab.draft.links:
        lab.draft.note(
            source.title, "addresses and routes are in the .startup files of the devices, which are not read"
        )
    elif not lab.draft.problems:
        lab.draft.refuse(source.title, "no device has an interface: there is no line such as pc1[0]=A")
    return lab.draft.imported()


class _Lab:
    def __init__(self, title: str) -> None:
        self.draft = Draft()
        self._title = title
        self._nodes: dict[str, dict[str, object]] = {}
        self._domains: dict[str, list[End]] = {}
        self._ends: dict[tuple[str, int], str] = {}  # each with its place

    def take(self, line: str, place: str) -> None:
        """Read a line."""
        if not line or line.startswith("#"):
            return
        found = _LINE.fullmatch(line)
        if found is None:
            self._take_metadata(line, place)
            return
        device, option = found["device"], found["option"]
        value = next(text for text in (found["double"], found["single"], found["plain"]) if text is not None).strip()
        if device not in self._nodes:
            self._nodes[device] = {"netns": device, "create": True}
            self.draft.add_node(device, self._nodes[device], place)
        if option.isdecimal():
            self._take_interface(device, option, value, place)
        elif option == "sysctl":
            self._take_sysctl(device, value, place)
        elif option == "ipv6":
            self._take_ipv6(self._nodes[device], value, place)
        elif option in _LOST and value.lower() != "false":
            self.draft.note(place, _LOST[option])

    def _take_metadata(self, line: str, place: str) -> None:
        found = _METADATA.fullmatch(line)
        if found is None:
            self.draft.refuse(
                place, f"must be a line such as pc1[0]=A, pc1[image]=NAME or LAB_NAME=TEXT, not {quote(line)}"
            )
        elif found["key"] == "NAME":
            self.draft.name_lab(found["value"].strip().strip("\"'"), place)

    def _take_interface(self, device: str, option: str, value: str, place: str) -> None:
        domain, slash, mac = value.partition("/")
        if len(option) > NUMBER_DIGITS or int(option) > _INTERFACE_MAX:
            self.draft.refuse(place, f"the interface's number must be at most {_INTERFACE_MAX}")
            return
        if not _NAME.fullmatch(domain):
            self.draft.refuse(place, f"{quote(domain)} cannot be a collision domain: letters, digits and '_'")
            return
        number = int(option)
        first = self._ends.setdefault((device, number), place)
        if first is not place:
            self.draft.refuse(place, f"the interface {number} of {device} is there already at {first}")
            return
        if len(self._ends) > LINKS_MAX:
            raise refuse_too_many(self._title)
        end: dict[str, object] = {"node": device, "interface": f"eth{number}"}
        if slash:
            end["mac"] = mac
        self._domains.setdefault(domain, []).append((domain, place, end))

    def _take_sysctl(self, device: str, value: str, place: str) -> None:
        name, equals, setting = value.partition("=")
        sysctls = self._nodes[device].setdefault("sysctls", {})
        if not equals or not isinstance(sysctls, dict):
            self.draft.refuse(
                place, f"must be a sysctl and its value such as net.ipv4.ip_forward=1, not {quote(value)}"
            )
        else:
            sysctls[name.strip()] = setting.strip()
            self.draft.place_in_node(device, f"sysctls{step(name.strip())}", place)

    def _take_ipv6(self, node: dict[str, object], value: str, place: str) -> None:
        truth = _TRUTH.get(value.lower())
        if truth is None:
            self.draft.refuse(place, f"must be true or false, not {quote(value)}")
        else:
            node["ipv6"] = truth

    def make_links(self) -> None:
        """Make a link of each collision domain."""
        for found in self._domains.values():
            ends = [end for _, _, end in found]
            short = [f"{end['node']}:{end['interface']}" if len(end) == 2 else end for end in ends]
            link: dict[str, object] = {"endpoints": short}
            if len(ends) != 2:
                link = {"type": "bridge", **link}
            places = [place for _, place, _ in found]
            self.draft.add_link(link, places[0], places)


IMPORTER = Importer("kathara", "a lab.conf of Kathara or Netkit", recognise, read)
