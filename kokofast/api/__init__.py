"""The library: load a topology, apply, inspect and destroy it, or deploy it around a block of code.

>>> async with kokofast.deployed(topology) as result: ...
"""

from kokofast.api.calls import ApplyError, DestroyError
from kokofast.api.keeping import watch
from kokofast.api.labs import apply, confirm, deployed, destroy
from kokofast.api.loading import load, loads
from kokofast.api.looks import draw, inspect, verify
from kokofast.api.sandboxes.client import Sandbox, sandbox
from kokofast.api.sandboxes.process import Process
from kokofast.api.sessions import Session, session
from kokofast.engine.inspect import SeenLink
from kokofast.engine.result import Failure, Result
from kokofast.engine.result_types import Progress, Status
from kokofast.generators.wiring import generate
from kokofast.host.sandbox import SandboxError
from kokofast.plan.step import Step
from kokofast.topology import Problem, TopologyError
from kokofast.topology.code import Endpoint, Link, Node, Topology
from kokofast.verification.ports import CheckedLink
from kokofast.watching.events import Event

__all__ = [
    "ApplyError",
    "CheckedLink",
    "DestroyError",
    "Endpoint",
    "Event",
    "Failure",
    "Link",
    "Node",
    "Problem",
    "Process",
    "Progress",
    "Result",
    "Sandbox",
    "SandboxError",
    "SeenLink",
    "Session",
    "Status",
    "Step",
    "Topology",
    "TopologyError",
    "apply",
    "confirm",
    "deployed",
    "destroy",
    "draw",
    "generate",
    "inspect",
    "load",
    "loads",
    "sandbox",
    "session",
    "verify",
    "watch",
]
