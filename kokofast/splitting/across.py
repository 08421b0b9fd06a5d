"""What verify on each host has to know of the other ends of links between hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kokofast.splitting.split import Split

# Seconds until a host that has begun may be heard: Ansible starts it on one after the other.
START_SECONDS, START_SECONDS_A_HOST = 20.0, 1.0


def across(whole: Split, nonce: bytes) -> dict[str, dict[str, Any]]:
    """Return what `kokofast verify --across` reads, by host. The nonce is the random number of the run."""
    within = START_SECONDS + START_SECONDS_A_HOST * len(whole.parts)
    found: dict[str, dict[str, Any]] = {
        host: {"nonce": nonce.hex(), "within": within, "links": []} for host in whole.parts
    }
    for number, joint in enumerate(whole.joints.values()):
        for side, host in enumerate(joint.hosts):
            here, there = joint.link.ends[side], joint.link.ends[1 - side]
            found[host.name]["links"].append(
                {
                    "end": f"{here.node}:{here.ifname}",
                    "number": number,
                    "side": side,
                    "host": joint.hosts[1 - side].name,
                    "far": f"{there.node}:{there.ifname}",
                    "addresses": [address.text for address in there.addresses],
                }
            )
    return found
