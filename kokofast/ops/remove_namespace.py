"""Remove namespaces of ours, unless another lab has links in them."""

from __future__ import annotations

import errno

from kokofast.ops.dumps import observe_marks
from kokofast.plan.ownership import lab_of, namespace_alias

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.host.kernel import Handle
    from kokofast.ops.dumps import Patience
    from kokofast.ops.executor import Executor
    from kokofast.plan.operations import RemoveNamespace


def execute(executor: Executor, operation: RemoveNamespace) -> OSError | None:
    """Remove the name of a namespace held by using(); return the error of two attempts."""
    error = _execute(executor, operation)
    return error if error is None or _execute(executor, operation) is not None else None


def _execute(executor: Executor, operation: RemoveNamespace) -> OSError | None:
    try:
        executor.kernel.remove(operation.name, executor.handle(operation.ns).identity)
    except OSError as error:
        return error
    return None


def give_back_if_used(executor: Executor, operation: RemoveNamespace, lab: str, patience: Patience) -> OSError | None:
    """Restore the name of a namespace that was just removed if another lab has links in it; return why.

    used_by_others() has looked before. This look finds links made since then; a run that makes some later notices at
    its end that the name is gone.
    """
    handle = executor.handle(operation.ns)
    try:
        with executor.kernel.using([handle], to_ask=not executor.kernel.watches(handle)):
            executor.kernel.reach(handle)
            reason = used_by_others(executor, handle, lab, patience)
            if reason is not None and reason.errno == errno.ENODEV:  # it has ended
                return None
            if reason is not None:
                executor.kernel.give_name(operation.name, handle, namespace_alias(lab))
            return reason
    except OSError as error:
        return error


def used_by_others(executor: Executor, handle: Handle, lab: str, patience: Patience) -> OSError | None:
    """Return why a namespace, held by using(), must keep its name: another lab has links in it, or it cannot be read.

    ENODEV: the namespace has ended.
    """
    try:
        seen = observe_marks(executor.kernel, handle, lambda _: True, patience)
    except OSError as error:
        return error
    labs = {lab_of(interface, seen, executor.boot, lab) for interface in seen.interfaces.values()} - {None, lab}
    if not labs:
        return None
    named = sorted(filter(None, labs))
    whose = f"the lab {named[0]}" if named else "another lab"
    return OSError(errno.EBUSY, f"links of {whose} are in it")
