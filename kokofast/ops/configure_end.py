"""Set the ends of links: attributes, up or down, addresses."""

from __future__ import annotations

import errno

from kokofast.ends import ATTRIBUTES, CLOSER, ENDS, IN_PLACE, present
from kokofast.ops.dumps import ADDRESS_PROTOCOL
from kokofast.ops.journal import look, twice
from kokofast.plan.plan import UPDATE
from kokofast.wire.addr import AF_INET, AF_INET6, IFA_F_NODAD, RTM_DELADDR, RTM_NEWADDR
from kokofast.wire.link import IFF_UP, RTM_SETLINK
from kokofast.wire.message import GENERIC, NLM_F_CREATE, NLM_F_REPLACE, KernelError, Request, encode_body, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kokofast.host.kernel import Handle
    from kokofast.ops.executor import Executor, OperationError
    from kokofast.ops.journal import Applied
    from kokofast.plan.observed import Interface, Namespace
    from kokofast.plan.operations import Change, ConfigureEnd, IfRef, Setting
    from kokofast.plan.plan import Plan
    from kokofast.plan.step import FieldChange, Step
    from kokofast.topology.model import Address, End
    from kokofast.topology.problems import Problem

PROMOTE = "ipv4/conf/{}/promote_secondaries"
KEEP_ADDRESSES = "ipv6/conf/{}/keep_addr_on_down"
DISABLE_IPV6 = "ipv6/conf/{}/disable_ipv6"

# The sysctl does not exist, or /proc/sys is read-only: leave it.
NO_SYSCTL = (errno.ENOENT, errno.EROFS, errno.EACCES, errno.EPERM)


def execute(executor: Executor, operations: Sequence[ConfigureEnd]) -> list[OperationError | None]:
    """Change interfaces, with one send for each namespace; return the first refusal of each interface."""
    return _change(executor, [(operation.interface, operation.change) for operation in operations])


def encode_ahead(executor: Executor, operations: Sequence[ConfigureEnd]) -> None:
    """Encode ahead the requests of changes of existing interfaces, so that execute() has only to send them."""
    known: dict[int, bytes] = {}
    for operation in operations:
        is_new = operation.undo is None or any(executor.makes(ns) for ns in operation.namespaces)
        if is_new or operation.requires:
            continue
        requests = _requests_of(operation.interface, operation.change)
        for request in requests:
            request.body = encode_body(request, executor.resolve, known)
        executor.encoded[operation.change] = requests


def note(operation: ConfigureEnd, observed: Sequence[Namespace | None]) -> bool:
    """Update the observed namespaces after an operation; return False if only another look can show its effect."""
    change, namespace = operation.change, observed[operation.interface.ns]
    if change.attributes or change.up is not None or change.add or change.remove or operation.undo is None:
        return False
    if namespace is None or not all(one.name in IN_PLACE for one in change.properties):
        return False
    interface = namespace.interfaces[operation.interface.ifname]
    interface.more = {**interface.more, **{ATTRIBUTES[one.name]: one.value for one in change.properties}}
    return True


def _change(executor: Executor, changes: Sequence[tuple[IfRef, Change]]) -> list[OperationError | None]:
    results: list[OperationError | None] = [None] * len(changes)
    by_namespace: dict[int, list[int]] = {}
    for number, (reference, _) in enumerate(changes):
        by_namespace.setdefault(reference.ns, []).append(number)
    try:
        with executor.kernel.using([executor.handle(ns) for ns in by_namespace]):
            for ns, numbers in by_namespace.items():
                handle = executor.handle(ns)
                try:
                    # A look takes longer than most changes. Where the kernel compares, look only after a refusal.
                    guarded = {number for number in numbers if _is_guarded(changes[number][1])}
                    for number in numbers:
                        if number not in guarded:
                            results[number] = executor.replaced(handle, changes[number][0], ours=True)
                    chosen = [(number, *changes[number]) for number in numbers if results[number] is None]
                    if chosen:
                        _change_in(executor, handle, chosen, results)
                    for number in guarded:
                        if results[number] is not None:
                            replaced = executor.replaced(handle, changes[number][0], ours=True)
                            results[number] = replaced or results[number]
                except OSError as error:  # of this namespace's socket
                    for number in numbers:
                        results[number] = results[number] or error
    except OSError as error:
        return [error] * len(changes)
    return results


def _change_in(
    executor: Executor,
    handle: Handle,
    changes: Sequence[tuple[int, IfRef, Change]],
    results: list[OperationError | None],
) -> None:
    requests: list[Request] = []
    owners: list[tuple[int, IfRef]] = []
    for number, reference, change in changes:
        wanted = executor.encoded.get(change) or _requests_of(reference, change)
        requests += wanted
        owners += [(number, reference)] * len(wanted)
    # Prevent side effects of the kernel, also on a user's addresses.
    guarded = [
        (number, ref, PROMOTE) for number, ref, change in changes if any(one.family == AF_INET for one in change.remove)
    ]
    guarded += [(number, ref, KEEP_ADDRESSES) for number, ref, change in changes if _goes_down(change)]
    for _, reference, path in guarded:
        _guard(executor, handle, reference, path)
    try:
        answers = _send(executor, handle, requests)
    finally:
        for number, reference, path in guarded:
            refusal = _set_back(executor, handle, reference, path) and _set_back(executor, handle, reference, path)
            results[number] = results[number] or refusal
    for request, (number, reference), answer in zip(requests, owners, answers, strict=True):
        if answer is not None and request.type == RTM_DELADDR and answer.errno == errno.EADDRNOTAVAIL:
            answer = None  # the address is gone already
        if answer is not None and request.type == RTM_NEWADDR and request.header.get("family") == AF_INET6:
            answer = _enable_ipv6(executor, handle, reference, request, answer)
        if answer is not None and results[number] is None:
            answer.request = request
            results[number] = answer


def _send(executor: Executor, handle: Handle, requests: Sequence[Request]) -> list[KernelError | None]:
    """Send requests, those of ethtool first: an end comes up with its features."""
    if all(request.type < GENERIC for request in requests):
        return executor.kernel.send(handle, requests, executor.resolve)
    generic = [request for request in requests if request.type >= GENERIC]
    others = [request for request in requests if request.type < GENERIC]
    first = iter(executor.kernel.send_generic(handle, generic, executor.resolve))
    then = iter(executor.kernel.send(handle, others, executor.resolve) if others else ())
    return [next(first if request.type >= GENERIC else then) for request in requests]


def _is_guarded(change: Change) -> bool:
    """Whether the kernel refuses all of a change on an interface that has taken the place of ours."""
    if change.attributes or change.up is not None or change.add or change.remove:
        return False
    return all(ENDS[one.name].is_guarded(one.value, one.before) for one in change.properties)


def _goes_down(change: Change) -> bool:
    return change.up is False or any(one.restarts for one in change.properties)


def _set_sysctls_back(executor: Executor, reference: IfRef) -> OperationError | None:
    """Restore the sysctls of an interface that this run has changed."""
    handle = executor.handle(reference.ns)
    try:
        with executor.kernel.using([handle]):
            for path in list(executor.sysctls.get((reference.ns, reference.ifname), ())):
                refusal = _set_back(executor, handle, reference, path)
                if refusal is not None:
                    return refusal
    except OSError as error:
        return error
    return None


def _set(executor: Executor, handle: Handle, reference: IfRef, path: str, value: str) -> None:
    before = executor.kernel.write_sysctl(handle, path.format(reference.ifname), value)
    executor.sysctls.setdefault((reference.ns, reference.ifname), {}).setdefault(path, before)


def _set_back(executor: Executor, handle: Handle, reference: IfRef, path: str) -> OSError | None:
    changed = executor.sysctls.get((reference.ns, reference.ifname), {})
    if path in changed:
        try:
            executor.kernel.write_sysctl(handle, path.format(reference.ifname), changed[path])
        except OSError as error:
            if error.errno != errno.ENOENT:  # the interface is gone, or its IPv6
                return error
        del changed[path]
    return None


def _guard(executor: Executor, handle: Handle, reference: IfRef, path: str) -> None:
    # With an IPv4 address the kernel removes all later ones of its subnet unless promote_secondaries is set; with an
    # interface that goes down its IPv6 addresses unless keep_addr_on_down is set.
    try:
        _set(executor, handle, reference, path, "1")
    except OSError as error:
        if error.errno not in NO_SYSCTL:
            raise


def _enable_ipv6(
    executor: Executor, handle: Handle, reference: IfRef, request: Request, refusal: KernelError
) -> KernelError | None:
    try:
        if refusal.errno == errno.EACCES:
            # inet6_addr_add(): disable_ipv6 is set, Docker's default in containers. The file gives an IPv6 address, so
            # switch IPv6 on, for this interface only.
            _set(executor, handle, reference, DISABLE_IPV6, "0")
        elif refusal.errno == errno.EOPNOTSUPP:
            executor.kernel.load_ipv6()
        else:
            return refusal
    except OSError as error:
        why = error.strerror or str(error)
        return KernelError(error.errno or errno.EIO, f"IPv6 is off there and cannot be switched on: {why}")
    return executor.kernel.send(handle, [request], executor.resolve)[0]


def _requests_of(reference: IfRef, change: Change) -> list[Request]:
    """Return one RTM_SETLINK for all attributes, those of properties, one for up, and one for each address."""
    requests: list[Request] = []
    # While a new interface is still down: a new qdisc of one that is up waits for RCU. And before the queue length,
    # which it may change.
    for one in change.properties:
        requests += ENDS[one.name].requests(reference, one.value, one.before)
    # Up comes last, in a message of its own: do_setlink() sets an interface up before its queue length, which then
    # waits for RCU with the rtnl lock held (dev_qdisc_change_tx_queue_len()). For an interface that is up a new alias
    # also calls all notifiers (netdev_state_change()).
    if change.attributes:
        wanted = change.attributes
        if requests and "master" in requests[-1].attributes:  # one request takes less than two
            wanted = {**requests.pop().attributes, **wanted}
        requests.append(Request(RTM_SETLINK, {"index": reference}, wanted))
    if change.up is not None:
        header = {"index": reference, "flags": IFF_UP if change.up else 0, "change": IFF_UP}
        requests.append(Request(RTM_SETLINK, header))
    for address in change.remove:
        # inet_rtm_deladdr() compares the prefix length only if IFA_ADDRESS is given. Without it the same address with
        # another length, perhaps a user's, could go.
        requests.append(_address_request(RTM_DELADDR, reference, address, {"address": address.packed}, 0))
    for address in change.add:
        attributes: dict[str, object] = {"proto": ADDRESS_PROTOCOL}
        if address.family == AF_INET6:
            # DAD would make the address unusable for seconds, and nobody else on a link of ours can have it.
            attributes["flags"] = IFA_F_NODAD
        requests.append(_address_request(RTM_NEWADDR, reference, address, attributes, NLM_F_CREATE | NLM_F_REPLACE))
    return requests


def _address_request(
    type: int, reference: IfRef, address: Address, attributes: dict[str, object], flags: int
) -> Request:
    header = {"family": address.family, "prefixlen": address.prefixlen, "index": reference}
    return Request(type, header, {"local": address.packed, **attributes}, flags)


def undo(applied: Applied, numbers: Sequence[int]) -> list[str]:
    """Restore existing interfaces, also those whose change failed half-way."""
    left: list[str] = []
    executor = applied.executor
    for number in numbers:
        operation: ConfigureEnd = applied.operation(number)
        if operation.undo is None:
            continue
        reference = operation.interface
        refusal = set_back(executor, reference, operation.undo)
        refusal = refusal or twice(lambda there=reference: _set_sysctls_back(executor, there))  # type: ignore[misc]
        if refusal is not None:
            end = applied.topology.links[operation.link].ends[operation.end]
            left.append(f"{end.node}:{end.ifname}: {words_of(refusal)}")
    return left


def set_back(executor: Executor, reference: IfRef, undo: Change) -> OperationError | None:
    """Restore an interface; return a refusal only if it is not as before."""
    refusal = twice(lambda: _change(executor, [(reference, undo)])[0])
    return None if refusal is not None and _is_back(executor, reference, undo) else refusal


def _is_back(executor: Executor, reference: IfRef, undo: Change) -> bool:
    """Whether an interface is as before: a refused change may not have been made at all."""
    try:
        namespace = look(executor, reference.ns, closer=CLOSER.intersection(one.name for one in undo.properties))
    except OSError:
        return False
    interface = namespace.interfaces.get(reference.ifname) if namespace is not None else None
    if interface is None or interface.ifindex != executor.indexes.of(reference):
        return True
    return (
        all(_value(interface, name) == value for name, value in undo.attributes.items() if name != "af_spec")
        and all(_is_set(interface, one) for one in undo.properties)
        and undo.up in (None, interface.up)
        and all(address in interface.addresses for address in undo.add)
        and not any(address in interface.addresses for address in undo.remove)
    )


def _is_set(interface: Interface, setting: Setting) -> bool:
    return ENDS[setting.name].is_set(present(setting.name, interface.more), setting.value, setting.before)


def _value(interface: Interface, attribute: str) -> object:
    named = {"ifalias": interface.alias, "address": interface.mac}
    return named[attribute] if attribute in named else getattr(interface, attribute)


def locate(applied: Applied, operation: ConfigureEnd, refusal: OperationError, obstacle: tuple[str, str]) -> Problem:
    """Find the field of the end, or its address, that was refused."""
    from kokofast.ops.refusals import FIELDS, path_of, problem_of_end

    link = applied.topology.links[operation.link]
    end, path = link.ends[operation.end], path_of(refusal)
    place = end.where(FIELDS[path[-1]]) if path and path[-1] in FIELDS else end.place
    if isinstance(refusal, KernelError) and refusal.request is not None and "local" in refusal.request.attributes:
        place = _address_place(end, refusal.request)
    elif isinstance(refusal, KernelError) and refusal.request is not None and place == end.place:
        fields = [name for name in end.properties if ATTRIBUTES[name] in refusal.request.attributes]
        fields += [ENDS[name].blamed(refusal.request, value) for name, value in end.properties.items()]
        fields += ["dad"] if "af_spec" in refusal.request.attributes else []
        place = end.where(next(filter(None, fields), ""))
    return problem_of_end(link, end, place, refusal)


def _address_place(end: End, request: Request) -> str:
    packed, prefixlen = request.attributes["local"], request.header["prefixlen"]
    for number, address in enumerate(end.addresses):
        if (address.packed, address.prefixlen) == (packed, prefixlen):
            return end.where(f"addresses[{number}]")
    return end.where("addresses" if end.addresses or end.dad is None else "dad")


def describe(plan: Plan, operation: ConfigureEnd) -> Step | None:
    """Describe the change of an existing interface; "" for a new one."""
    from kokofast.plan.step import Step

    if plan.actions[operation.link] != UPDATE:
        return None
    link = plan.topology.links[operation.link]
    end = link.ends[operation.end]
    changes = tuple(_changes(operation))
    source = end.where(changes[0][0]) if len(changes) == 1 else end.place
    return Step("update", "end", link, name=f"{end.node}:{end.ifname}", source=source, changes=changes)


def _changes(operation: ConfigureEnd) -> Iterator[FieldChange]:
    change = operation.change
    before = operation.undo.attributes if operation.undo is not None else {}
    for name, value in change.attributes.items():
        yield _SHOWN.get(name, name), _shown(before.get(name)), _shown(value)
    for one in change.properties:
        yield from one.changes()
    if change.up is not None:
        yield "up", not change.up, change.up
    for address in change.add:
        yield "addresses", None, _text(address)
    for address in change.remove:
        yield "addresses", _text(address), None


# As the file has them, or ip-link(8).
_SHOWN = {"address": "mac", "ifalias": "alias", "af_spec": "addrgenmode"}
_ADDRGENMODES = ("eui64", "none")


def _shown(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex(":")
    return _ADDRGENMODES[value["inet6"]["addr_gen_mode"]] if isinstance(value, dict) else value


def _text(address: Address) -> str:
    import ipaddress

    return f"{ipaddress.ip_address(address.packed)}/{address.prefixlen}"
