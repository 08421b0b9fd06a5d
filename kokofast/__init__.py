"""kokofast wires network namespaces and containers together, thousands of links at a time.

    topology = kokofast.load("links.json")          what a file asks for; TopologyError has every problem of it
    topology = kokofast.loads({"name": ...})        the same of a text, a dict or a list
    topology = kokofast.loads(kokofast.generate("ring", nodes=8))   a shape, as `kokofast generate` prints it
    topology = kokofast.Topology("lab", links=[kokofast.Link("a:eth0", "b:eth0", mtu=9000)])
    result = await kokofast.apply(topology)         make the kernel match it, all or nothing
    await kokofast.apply(topology, confirm_within=60)   taken back unless another program does kokofast.confirm("lab")
    links = await kokofast.inspect(topology.name)   what is there, read from the kernel
    links = await kokofast.verify(topology.name)    does every link carry frames? each with its problems
    picture = await kokofast.draw(topology)         a picture with the states of its links: svg, html, dot, mmd, drawio
    await kokofast.destroy(topology)                remove what carries the lab's mark
    async with kokofast.deployed(topology): ...     all of it around a block
    async with kokofast.session(topology) as lab:   keep it open: await lab.apply(changes)
    with kokofast.sandbox() as box: ...             labs without root: box.up(topology), box.run("a", ["ping", ...])
    await kokofast.watch("links.json", report=...)  keep the kernel at what the file says

The asynchronous functions run under trio; ``kokofast.sync`` has the same for programs without an event loop:
``kokofast.sync.apply(topology)``, from asyncio ``await asyncio.to_thread(kokofast.sync.apply, topology)``. The names in
``kokofast.__all__`` and ``kokofast.sync.__all__`` are the library; docs/library.md says what is stable. All other
modules are internal.
"""

# Names are imported from kokofast.api at their first use: the command line avoids importing trio.

from __future__ import annotations

__version__ = "0.1.0"

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
    "__version__",
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
    "sync",
    "verify",
    "watch",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast import sync
    from kokofast.api import (
        ApplyError,
        CheckedLink,
        DestroyError,
        Endpoint,
        Event,
        Failure,
        Link,
        Node,
        Problem,
        Process,
        Progress,
        Result,
        Sandbox,
        SandboxError,
        SeenLink,
        Session,
        Status,
        Step,
        Topology,
        TopologyError,
        apply,
        confirm,
        deployed,
        destroy,
        draw,
        generate,
        inspect,
        load,
        loads,
        sandbox,
        session,
        verify,
        watch,
    )
else:  # hidden from type checkers, which would accept any name

    def __getattr__(name: str) -> object:
        if name == "sync":
            from importlib import import_module

            return import_module("kokofast.sync")
        if name in __all__:
            from kokofast import api

            return getattr(api, name)
        raise AttributeError(f"module 'kokofast' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
