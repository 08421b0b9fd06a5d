"""Operations as netlink requests. Pure; what is not known yet stays a typed reference in them."""

from __future__ import annotations

from kokofast.engine.observe import ADDRESS_PROTOCOL
from kokofast.plan.operations import CreateLink
from kokofast.wire.addr import AF_INET6, IFA_F_NODAD, RTM_DELADDR, RTM_NEWADDR
from kokofast.wire.link import IFF_UP, RTM_NEWLINK, RTM_SETLINK
from kokofast.wire.message import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.plan.operations import Change, ConfigureEnd, IfRef
    from kokofast.topology.model import Address


def requests_of(operation: CreateLink | ConfigureEnd) -> list[Request]:
    """The requests that an operation takes, in order."""
    if isinstance(operation, CreateLink):
        return [_creation(operation)]
    return requests_of_change(operation.interface, operation.change)


def _creation(operation: CreateLink) -> Request:
    attributes = dict(operation.attributes)
    header = attributes.pop("header")
    return Request(RTM_NEWLINK, header, attributes, NLM_F_CREATE | NLM_F_EXCL)  # type: ignore[arg-type]


def requests_of_change(reference: IfRef, change: Change) -> list[Request]:
    """The requests that a change takes: one RTM_SETLINK for all attributes, one for up, one message an address."""
    requests: list[Request] = []
    # In two messages, and up last: do_setlink() sets an interface up before it sets its queue length, and that, once it
    # is up, waits for RCU with the rtnl lock held (dev_qdisc_change_tx_queue_len()). Of an interface that is up it also
    # tells all of the kernel of a new alias (netdev_state_change()).
    if change.attributes:
        requests.append(Request(RTM_SETLINK, {"index": reference}, change.attributes))
    if change.up is not None:
        header = {"index": reference, "flags": IFF_UP if change.up else 0, "change": IFF_UP}
        requests.append(Request(RTM_SETLINK, header))
    for address in change.remove:
        # inet_rtm_deladdr() looks at the prefix length only where there is an IFA_ADDRESS: without, another address of
        # the same number, a user's perhaps, would go.
        requests.append(_address_request(RTM_DELADDR, reference, address, {"address": address.packed}, 0))
    for address in change.add:
        attributes: dict[str, object] = {"proto": ADDRESS_PROTOCOL}
        if address.family == AF_INET6:
            # On a link of our own making nobody else can have the address; DAD would keep it unusable for seconds.
            attributes["flags"] = IFA_F_NODAD
        requests.append(_address_request(RTM_NEWADDR, reference, address, attributes, NLM_F_CREATE | NLM_F_REPLACE))
    return requests


def _address_request(
    type: int, reference: IfRef, address: Address, attributes: dict[str, object], flags: int
) -> Request:
    header = {"family": address.family, "prefixlen": address.prefixlen, "index": reference}
    return Request(type, header, {"local": address.packed, **attributes}, flags)
