"""The functions of the library for programs without an event loop: they block until they are done.

``result = kokofast.sync.apply(topology)``: they take the arguments of the functions of the same name in kokofast,
return the same, and raise the same; RuntimeError in a thread that runs an event loop. Ctrl-C takes back what was made,
and is raised afterwards. From asyncio: ``await asyncio.to_thread(kokofast.sync.apply, topology)``.
"""

from __future__ import annotations

from kokofast.api.blocking import apply, confirm, deployed, destroy, draw, inspect, session, verify, watch

__all__ = ["apply", "confirm", "deployed", "destroy", "draw", "inspect", "session", "verify", "watch"]
