"""koko's command line, carried out: argv -> exit code. All or nothing, for a single link as well."""

from __future__ import annotations

# The C part of signal alone: its enums would cost 2 ms.
import _signal  # type: ignore[import-not-found]

from kokofast import __version__
from kokofast.cli.output import complain, lacking, say, sentence_of, tell_of_wait, with_streams
from kokofast.koko.grammar import HELP, Create, Show, UsageError, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.engine.applied import Applied
    from kokofast.engine.execute import Refusal
    from kokofast.engine.seen import Survey
    from kokofast.host.kernel import Kernel
    from kokofast.host.lock import LabLock
    from kokofast.plan.plan import Plan
    from kokofast.topology.model import Topology
    from kokofast.topology.problems import Problem

OK, FAILED, INVALID, PARTIAL = 0, 1, 2, 3


class _PartlyDone(Exception):
    """Something failed (the cause), and not all could be taken back."""


# Two namespaces, the caller's, and one to send from: a link needs no more, whatever the limit on open files.
DESCRIPTORS = 32
POLL_SECONDS = 0.05
POLLS_UNTIL_TOLD = 10


def run(argv: Sequence[str]) -> int:
    """Runs a command line in koko's grammar and returns the exit code. Prints errors; never raises for the user's
    doing."""
    return with_streams(lambda: _run(list(argv)))


def _run(argv: list[str]) -> int:
    try:
        action = parse(argv)
    except UsageError as error:
        complain(f"kokofast: {error}; see kokofast -h")
        return INVALID
    if isinstance(action, Show):
        return _show(action)
    missing = _missing_capabilities()
    if missing:
        complain(f"kokofast: {lacking(missing)}")
        return FAILED
    from kokofast.host.kernel import Kernel
    from kokofast.wire.message import KernelError

    kernel = Kernel(DESCRIPTORS)
    locks: list[LabLock] = []
    try:
        if isinstance(action, Create):
            locks.append(_lock(action.topology.name))
            return _create(kernel, action.topology, is_alone=not locks[0].refusal)
        from kokofast.koko.delete import delete

        problems, refusal = delete(kernel, action, lambda lab: locks.append(_lock(lab)), _hold_signals)
        if refusal is not None:
            complain(f"kokofast: {action.place}: {action.ifname} cannot be deleted: {refusal}")
            return FAILED
        return _complain_of(problems)
    except KeyboardInterrupt:
        complain("kokofast: interrupted")
        return FAILED
    except _PartlyDone as error:
        complain(f"kokofast: {sentence_of(error.__cause__ or error)}")
        return PARTIAL
    except (OSError, KernelError, MemoryError) as error:
        complain(f"kokofast: {sentence_of(error)}")
        return FAILED
    finally:
        kernel.close()
        for lock in locks:
            lock.release()


def _lock(lab: str | None) -> LabLock:
    """Keeps other runs off the lab, or off all labs; waits for one that has it."""
    from time import sleep

    from kokofast.host.lock import LabLock

    lock = LabLock(lab)
    polls = 0
    while not lock.acquire():
        if polls == POLLS_UNTIL_TOLD and (tell := tell_of_wait(lab, quiet=False)) is not None:
            tell()
        polls += 1
        sleep(POLL_SECONDS)
    for note in lock.notes():
        complain(f"kokofast: {note}")
    return lock


def _show(action: Show) -> int:
    if action.what == HELP:
        from kokofast.koko import help

        for line in help.HELP.splitlines():
            say(line)
    else:
        say(f"kokofast {__version__}")
    return OK


def _missing_capabilities() -> list[str]:
    from kokofast.host.limits import missing_capabilities

    return missing_capabilities()


def _complain_of(problems: Sequence[Problem]) -> int:
    for problem in problems:
        complain(f"kokofast: {problem}")
    return INVALID if problems else OK


def _create(kernel: Kernel, topology: Topology, *, is_alone: bool) -> int:
    from kokofast.engine.applied import Applied
    from kokofast.engine.execute import Executor
    from kokofast.koko.look import look_at
    from kokofast.plan.plan import Situation, nodes_of
    from kokofast.plan.planner import make_plan

    mirrors = any(end.mirror is not None for end in topology.links[0].ends)
    survey = look_at(kernel, nodes_of(topology).values(), mirrors=mirrors)
    if survey.problems:
        return _complain_of(survey.problems)
    taken = _taken(kernel, topology, survey)
    if taken:
        if _is_there(kernel, topology):
            complain(f"kokofast: {topology.links[0].title()} is there already; nothing to do")
            return OK
        return _complain_of(taken)
    situation = Situation(survey.places, survey.observed, kernel.boot_id())
    plan = make_plan(topology, situation)
    if plan.problems:
        return _complain_of(plan.problems)
    _choose_sender(plan, survey)
    applied = Applied(topology, plan, Executor(kernel, survey.handles, survey.observed, is_alone=is_alone))
    interrupted = _carry_out(applied)
    return _report(applied, interrupted)


def _taken(kernel: Kernel, topology: Topology, survey: Survey) -> list[Problem]:
    """Interfaces that are there already, even as ours: koko's command line makes links, it does not complete them."""
    from kokofast.plan.ownership import lab_of
    from kokofast.plan.planner import deletion
    from kokofast.topology.problems import Problem

    problems: list[Problem] = []
    for end in topology.links[0].ends:
        namespace = survey.observed[survey.places[end.node]]
        if namespace is not None and end.ifname in namespace.interfaces:
            lab = lab_of(namespace.interfaces[end.ifname], namespace, kernel.boot_id())
            command = deletion(topology.nodes[end.node], end.ifname) if lab is not None else ""
            ours = "of a link that differs" if lab == topology.name else f"of the lab {lab}"
            whose = "not ours" if lab is None else ours
            cure = f"delete it ({command})" if command else "delete it"
            text = f"there is an interface {end.ifname} already, {whose}; {cure} or take another name"
            problems.append(Problem(end.place, text))
    return problems


def _is_there(kernel: Kernel, topology: Topology) -> bool:
    """Whether the link is there as ours, and in nothing different from what is asked for."""
    from kokofast.engine.groundwork import plan_of
    from kokofast.koko.look import look_at
    from kokofast.plan.plan import nodes_of

    survey = look_at(kernel, nodes_of(topology).values(), mirrors=True)  # it may have one that is not asked for
    plan = plan_of(topology, survey, kernel)
    return not plan.problems and not plan.operations


def _choose_sender(plan: Plan, survey: Survey) -> None:
    """Has a link without parent sent from its first end's namespace when that has no interface of either name, which
    is all that an empty namespace is good for; to make one and to end it again takes longer than the link."""
    from kokofast.plan.operations import CreateLink

    for operation in plan.operations:
        if isinstance(operation, CreateLink) and operation.sender is None:
            first = operation.ends[0].ns
            namespace = survey.observed[first]
            if namespace is not None and not any(end.ifname in namespace.interfaces for end in operation.ends):
                operation.sender = first


def _carry_out(applied: Applied) -> bool:
    """Carries out the plan up to the first refusal; returns whether a signal stopped it before its end.

    Every step takes a millisecond: a signal is looked at between two steps, so that none is left in the dark.
    """
    caught = _hold_signals()
    try:
        for number, operation in enumerate(applied.plan.operations):
            if caught:
                return True
            answer: Refusal | None = applied.executor.execute([operation])[0]
            if answer is not None:
                applied.failures[number] = answer
                return False
            applied.done.add(number)
        from kokofast.engine.recheck import fail_the_misled

        fail_the_misled(applied)
    except BaseException as error:
        if _take_back(applied):
            raise _PartlyDone from error
        raise
    return False


def _hold_signals() -> list[int]:
    """From now on signals only put their number in this list."""
    caught: list[int] = []
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
        if _signal.getsignal(number) is not _signal.SIG_IGN:  # nohup
            _signal.signal(number, lambda signum, _: caught.append(signum))
    return caught


def _report(applied: Applied, interrupted: bool) -> int:
    if not applied.failures and not interrupted:
        for note in applied.plan.notes:
            complain(f"kokofast: {note}")
        return OK
    is_partly_done = _take_back(applied)
    if interrupted:
        complain("kokofast: interrupted; what was made has been taken back")
    if applied.failures:
        from kokofast.engine.failures import failures_of

        for failure in failures_of(applied):
            complain(f"kokofast: {failure}")
    return PARTIAL if is_partly_done else FAILED


def _take_back(applied: Applied) -> bool:
    """Takes all back; whether something is left, which is told."""
    from kokofast.engine.at_once import AtOnce, drive  # only who has to delete pays
    from kokofast.engine.rollback import take_back
    from kokofast.wire.message import KernelError

    try:
        left = drive(take_back(applied, None, AtOnce()))
    except (OSError, KernelError, MemoryError) as error:
        left = [f"{sentence_of(error)}; 'kokofast destroy --name {applied.topology.name}' removes what is left"]
    for line in left:
        complain(f"kokofast: could not be taken back: {line}")
    return bool(left)
