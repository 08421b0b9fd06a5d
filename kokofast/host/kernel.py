"""The kernel: requests to the network namespaces of a pool.

Blocking and thread-safe. The engine uses the protocol Kernel; tests replace LinuxKernel by a fake.
"""

from __future__ import annotations

import os

from kokofast.host.namespaces import NewNamespace, make_scratch, misled, named
from kokofast.host.pool import Handle as Handle  # exported: all methods take handles
from kokofast.host.pool import Pool, close_socket
from kokofast.wire.link import RTM_SETLINK
from kokofast.wire.message import KernelError, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import Protocol, TypeVar

    from kokofast.host.frames import Frames
    from kokofast.host.generic import GenericSocket
    from kokofast.host.netlink import Socket
    from kokofast.host.sysctls import NetSysctls, Sysctls
    from kokofast.host.watch import Watch
    from kokofast.wire.attributes import Resolve
    from kokofast.wire.message import Message

    T = TypeVar("T")

    class Trace(Protocol):
        """Records exchanges with the kernel, as engine.trace.Trace."""

        def span(self, name: str, category: str, **details: object) -> AbstractContextManager[None]: ...

    class Kernel(Protocol):
        """What the engine needs of a kernel. LinuxKernel documents the methods."""

        trace: Trace | None
        waits: Callable[[str], object] | None

        @property
        def capacity(self) -> int: ...
        def expect(self, namespaces: int) -> None: ...
        def boot_id(self) -> str: ...

        def open_all(self, paths: Sequence[str]) -> list[Handle | OSError]: ...
        def using(self, handles: Sequence[Handle], *, to_ask: bool = True) -> AbstractContextManager[None]: ...
        def rewind(self) -> None: ...
        def forget(self, handle: Handle) -> None: ...
        def close(self) -> None: ...

        def send(
            self, handle: Handle, requests: Sequence[Request], resolve: Resolve | None = None, *, whole: bool = False
        ) -> list[KernelError | None]: ...
        def dump(self, handle: Handle, request: Request) -> list[Message]: ...
        def ask(self, handle: Handle, request: Request) -> list[Message]: ...
        def send_generic(
            self, handle: Handle, requests: Sequence[Request], resolve: Resolve | None = None
        ) -> list[KernelError | None]: ...
        def dump_generic(self, handle: Handle, request: Request) -> list[Message]: ...
        def open_frames(self, handles: Sequence[Handle], program: bytes) -> Frames: ...
        def nsid(self, handle: Handle, other: Handle) -> int | None: ...
        def with_sysctls(self, handles: Sequence[Handle], job: Callable[[int, NetSysctls], T]) -> list[T | OSError]: ...
        def write_sysctl(self, handle: Handle, path: str, value: str) -> str: ...
        def load_ipv6(self) -> None: ...

        def scratch(self) -> Handle: ...
        def make(self, jobs: Sequence[tuple[str, str]]) -> list[Handle | OSError | KernelError]: ...
        def misled(self, handle: Handle) -> OSError | None: ...
        def remove(self, name: str, expected: tuple[int, int] | None) -> None: ...
        def give_name(self, name: str, handle: Handle, claim: str) -> None: ...

        def watch(self, handles: Sequence[Handle]) -> None: ...
        def watches(self, handle: Handle) -> bool: ...
        def reach(self, handle: Handle) -> None: ...
        def outlived(self, handles: Sequence[Handle], *, patient: bool = True) -> list[Handle]: ...


LOOPBACK_IFINDEX = 1  # include/net/net_namespace.h LOOPBACK_IFINDEX: the first device of every namespace


class LinuxKernel(Pool):
    """The kernel of this machine.

    Args:
        budget: As for Pool.
    """

    trace: Trace | None = None
    waits: Callable[[str], object] | None = None  # called with the reason when a wait takes half a second

    def __init__(self, budget: int | None = None) -> None:
        super().__init__(budget)
        self._scratch: Handle | None = None
        self._prepared = False
        self._boot_id = ""
        self._watch: Watch | None = None
        self._sysctls: Sysctls | None = None
        self._family: int | None = None  # of ethtool, once it is known

    def boot_id(self) -> str:
        """Return the kernel's random name for this boot; random(4)."""
        if not self._boot_id:
            with open("/proc/sys/kernel/random/boot_id", "rb") as file:
                self._boot_id = file.read().decode().strip()
        return self._boot_id

    def watch(self, handles: Sequence[Handle]) -> None:
        """Watch these namespaces, held by using(), for outlived(), and close the sockets in them.

        The kernel releases a socket's namespace only after an RCU grace period. Raises OSError, KernelError.
        """
        with self._lock:
            if self._watch is None:
                from kokofast.host.watch import Watch  # needed to remove namespaces only

                self._watch = Watch()
            watch = self._watch
        watch.add([(handle.identity, handle.fd) for handle in handles if handle.fd is not None])
        for handle in handles:
            close_socket(handle)

    def watches(self, handle: Handle) -> bool:
        """Return whether this namespace is watched."""
        return self._watch is not None and self._watch.knows(handle.identity)

    def reach(self, handle: Handle) -> None:
        """Reach the links of a watched namespace, held by using(), without the socket in it that watch() closed."""
        if handle.socket is None and self._watch is not None and self._watch.knows(handle.identity):
            handle.remote = self._watch.remote(handle.identity)

    def outlived(self, handles: Sequence[Handle], *, patient: bool = True) -> list[Handle]:
        """Return the namespaces that something else keeps alive. Their links can still be dumped and deleted.

        Args:
            handles: Watched namespaces, without a name, after forget().
            patient: Wait for those that are about to end.
        """
        if self._watch is None:
            return []
        by_identity = {handle.identity: handle for handle in handles}
        ask = self._watch.wait if patient else self._watch.living
        living = [by_identity[found] for found in ask(by_identity)]
        for handle in living:
            handle.remote = self._watch.remote(handle.identity)
        return living

    def send(
        self, handle: Handle, requests: Sequence[Request], resolve: Resolve | None = None, *, whole: bool = False
    ) -> list[KernelError | None]:
        """Send requests in a namespace held by using(); see Socket.send()."""
        socket = handle.remote or handle.socket
        assert socket is not None
        if self.trace is not None:
            with handle.lock, self.trace.span("send", "netlink", namespace=handle.path, messages=len(requests)):
                return socket.send(requests, resolve, whole=whole)
        with handle.lock:
            return socket.send(requests, resolve, whole=whole)

    def dump(self, handle: Handle, request: Request) -> list[Message]:
        """Return a dump in a namespace held by using(); see Socket.dump()."""
        socket = handle.remote or handle.socket
        assert socket is not None
        if self.trace is not None:
            with handle.lock, self.trace.span("dump", "netlink", namespace=handle.path):
                return socket.dump(request)
        with handle.lock:
            return socket.dump(request)

    def ask(self, handle: Handle, request: Request) -> list[Message]:
        """Return the answer to a request that is no dump, in a namespace held by using(); see Socket.ask()."""
        socket = handle.remote or handle.socket
        assert socket is not None
        with handle.lock:
            return socket.ask(request)

    def send_generic(
        self, handle: Handle, requests: Sequence[Request], resolve: Resolve | None = None
    ) -> list[KernelError | None]:
        """Send requests of ethtool in a namespace held by using(), as send(). Raises OSError."""
        try:
            socket = self._generic(handle)
        except KernelError as error:
            return [KernelError(error.errno, error.message) for _ in requests]
        try:
            return socket.send(requests, resolve)
        finally:
            socket.close()

    def dump_generic(self, handle: Handle, request: Request) -> list[Message]:
        """Return a dump of ethtool in a namespace held by using(), as dump(). Raises KernelError, OSError."""
        # Ask for the family first, though it is known: the kernel makes the messages of a dump as long as what was
        # received before, 4 KiB on a new socket (netlink_dump()), and one interface may need more.
        self._family = None
        socket = self._generic(handle)
        try:
            return socket.dump(request)
        finally:
            socket.close()

    def _generic(self, handle: Handle) -> GenericSocket:
        # Few files need it, so the pool does not keep it: open it for one exchange.
        from kokofast.host.generic import open_generic

        assert handle.fd is not None
        socket = open_generic(handle.fd, self._family)
        self._family = socket.family
        return socket

    def open_frames(self, handles: Sequence[Handle], program: bytes) -> Frames:
        """Open packet sockets in namespaces held by using(); see frames.Frames.

        They take the descriptors of the netlink sockets there, which are opened again at the next use.
        """
        from kokofast.host.frames import Frames  # only verify needs it

        for handle in handles:
            close_socket(handle)
        return Frames([handle.fd for handle in handles if handle.fd is not None], program)

    def nsid(self, handle: Handle, other: Handle) -> int | None:
        """Return the nsid of a namespace in another one, both held by using(); None if it has none.

        Raises KernelError, OSError.
        """
        from kokofast.wire.netns import NETNSA_NSID_NOT_ASSIGNED, RTM_GETNSID  # rarely needed

        assert other.fd is not None
        (answer,) = self.ask(handle, Request(RTM_GETNSID, {}, {"fd": other.fd}))
        found: int = answer.attributes["nsid"]
        return None if found == NETNSA_NSID_NOT_ASSIGNED else found

    def with_sysctls(self, handles: Sequence[Handle], job: Callable[[int, NetSysctls], T]) -> list[T | OSError]:
        """Call job with the place and the sysctls of each of these namespaces, held by using(), in another thread.

        Returns what it returned, or the OSError of that namespace. Raises OSError when no thread can be started.
        """
        with self._lock:
            if self._sysctls is None:
                from kokofast.host.sysctls import Sysctls  # rarely needed

                self._sysctls = Sysctls()
            sysctls = self._sysctls
        fds: list[int] = []
        for handle in handles:
            assert handle.fd is not None
            fds.append(handle.fd)
        return sysctls.run(fds, job)

    def write_sysctl(self, handle: Handle, path: str, value: str) -> str:
        """Write /proc/sys/net/PATH in a namespace held by using(); return the value before. Raises OSError.

        Does nothing if the value is there already.
        """
        return _only(self.with_sysctls([handle], lambda _, net: net.write(path, value)))

    def load_ipv6(self) -> None:
        """Load the kernel's IPv6 module, by opening an IPv6 socket. Raises OSError when there is none."""
        import socket

        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC).close()

    def scratch(self) -> Handle:
        """Return an empty namespace without a name, to send creations from; it ends with the process.

        Kernels before 6.15 refuse a link whose name exists in the sender's namespace.
        """
        with self._lock:
            if self._scratch is None:
                made = make_scratch()
                self._scratch = Handle("(scratch)", made.identity, made.fd, made.socket)
                self._open += 1
            return self._scratch

    def make(self, jobs: Sequence[tuple[str, str]]) -> list[Handle | OSError | KernelError]:
        """Make named namespaces from (name, alias), with the alias and the loopback up before they have their names.

        Return one result each, in order. Raises DirectoryLockedError: try again.
        """
        from kokofast.host.netns_dir import make_namespaces, prepare_directory  # few runs make namespaces

        with self._lock:
            if not self._prepared:
                prepare_directory()
                self._prepared = True
        try:  # noqa: SIM105 - see threads.py: no contextlib
            # Links need it, so make it before the last namespaces that a limit allows are used up.
            self.scratch()
        except OSError:  # reported when a link needs it
            pass
        self._reserve(len(jobs))
        results: list[Handle | OSError | KernelError] = []
        ready: list[Handle] = []
        try:
            for (name, _), item in zip(jobs, make_namespaces(jobs, _mark), strict=True):
                if not isinstance(item, NewNamespace):
                    results.append(item)
                    continue
                ready.append(handle := Handle(named(name), item.identity, item.fd, item.socket))
                results.append(handle)
        finally:
            self._settle(len(jobs), ready)
        return results

    def misled(self, handle: Handle) -> OSError | None:
        """Return why the path of a namespace no longer leads to it; None if it does."""
        return misled(handle.path, handle.identity)

    def remove(self, name: str, expected: tuple[int, int] | None) -> None:
        """Remove a named namespace; see netns_dir.remove_namespace()."""
        from kokofast.host.netns_dir import remove_namespace

        remove_namespace(name, expected)

    def give_name(self, name: str, handle: Handle, claim: str) -> None:
        """Give a namespace held by using() a name; see netns_dir.name_namespace()."""
        from kokofast.host.netns_dir import name_namespace

        assert handle.fd is not None
        name_namespace(name, handle.fd, claim)

    def close(self) -> None:
        """Close everything that is open."""
        super().close()
        with self._lock:
            if self._scratch is not None:
                scratch, self._scratch = self._scratch, None
                self._open -= 1
                if scratch.fd is not None:
                    os.close(scratch.fd)
                if scratch.socket is not None:
                    scratch.socket.close()
            if self._watch is not None:
                self._watch.close()
                self._watch = None
            if self._sysctls is not None:
                self._sysctls.close()


def _only(results: list[T | OSError]) -> T:
    (result,) = results
    if isinstance(result, OSError):
        raise result
    return result


def kernel_for(namespaces: int) -> LinuxKernel:
    """Return a kernel with room for this many namespaces. Call it while there is one thread only: see make_room()."""
    kernel = LinuxKernel()
    kernel.expect(namespaces)
    return kernel


def _mark(socket: Socket, alias: str) -> None:
    # Also up: without its loopback a namespace cannot reach its own addresses.
    request = Request(RTM_SETLINK, {"index": LOOPBACK_IFINDEX, "flags": 1, "change": 1}, {"ifalias": alias})
    (refusal,) = socket.send([request])
    if refusal is not None:
        raise refusal
