"""The first epoch of NetSatBench in a file of its own: its ``links-add`` are the links."""

from __future__ import annotations

from kokofast.importers.importer import Draft, Imported, Importer, Options, Source
from kokofast.timeline.netsatbench import LISTS, epoch_of, is_epoch
from kokofast.topology.document import describe
from kokofast.topology.problems import Problem, TopologyError

ADD = next(key for key, name in LISTS.items() if name == "add")


def recognise(source: Source) -> bool:
    """Whether it is an object that adds links, and is not ours."""
    return isinstance(source.tree, dict) and "links" not in source.tree and ADD in source.tree and is_epoch(source.tree)


def read(source: Source, options: Options) -> Imported:
    """Make a topology of the links that the epoch adds."""
    if not isinstance(source.tree, dict):
        raise TopologyError([Problem("$" if source.tree else source.title, f"must be an object with '{ADD}'")])
    if options.runtime is not None:
        words = f"the names of containers are not in an epoch of NetSatBench: leave --runtime {options.runtime} out"
        raise TopologyError([Problem("$", words)])
    if not isinstance(source.tree.get(ADD), list):
        raise TopologyError([Problem("$", f"must have a list '{ADD}', not {describe(source.tree.get(ADD))}")])
    draft = Draft()
    draft.tree["defaults"] = {"create": True}
    for number, entry in enumerate(source.tree[ADD]):
        place = f"$.{ADD}[{number}]"
        problems: list[Problem] = []
        for link in epoch_of({ADD: [entry]}, None, "", problems).changes["add"]:
            assert isinstance(link, dict)
            draft.add_link(link, place)
        for problem in problems:
            draft.refuse(place + problem.place.removeprefix(f" {ADD}[0]"), problem.message)
    lost = [key for key in source.tree if key in LISTS and key != ADD] + ["run"] * ("run" in source.tree)
    for key in lost:
        draft.note(f"$.{key}", "is not done: kokofast play does what the epochs of a timeline say")
    return draft.imported()


IMPORTER = Importer("netsatbench", "an epoch of NetSatBench", recognise, read)
