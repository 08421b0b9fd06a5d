"""Where a waiting batch is told whether to keep what it made: a socket beside the lab's lock.

The one that asks sends a line of one word, and reads until the batch closes the connection. Who may connect is decided
by the rights of the socket (unix(7)) and of its directory, which are those of the lock.
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress

from kokofast.host import lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

KEEP, REVERT, LOOK = "keep", "revert", "look"
WORDS = {f"{word}\n".encode(): word for word in (KEEP, REVERT, LOOK)}
LONGEST = max(map(len, WORDS))
# So many clients may say nothing at the same time. Then the first one has to go.
CLIENTS = 64
_SO_SNDBUFFORCE = 32  # socket(7), not in Python's module


class Inlet:
    """The socket of a run, which holds the lab's lock.

    Connections are refused before listen(), and from remove() on.
    """

    def __init__(self, lab: str) -> None:
        """Make the socket, in the place of one that a killed run has left. Raises OSError."""
        self._clients: dict[int, _Client] = {}
        self._path = path_of(lab)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._epoll = select.epoll()
        try:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
            # bind(2) gives the file the mode of the socket, less the umask (unix_bind_bsd()): nobody can be faster.
            os.fchmod(self._listener.fileno(), 0o600)
            self._listener.bind(self._path)
            self._identity = _identity(self._path)
            self._epoll.register(self._listener, select.EPOLLIN)
        except BaseException:
            self.close()
            raise

    def listen(self) -> None:
        """Accept connections from now on."""
        self._listener.listen(CLIENTS)

    def fileno(self) -> int:
        """Return the descriptor to wait for: it can be read when a client has connected, or said something."""
        return self._epoll.fileno()

    def receive(self) -> Iterator[tuple[int, str]]:
        """Yield (client, word) of those who have said one. Others than the known words end the connection.

        Raises OSError at the end when a client cannot be accepted, for want of descriptors or memory.
        """
        # First, so that the word of one that has just come is heard before the time is over.
        refusal = None
        try:
            self._accept()
        except OSError as error:
            refusal = error
        ready = {fd for fd, _ in self._epoll.poll(0)}
        for fd in ready & self._clients.keys():
            client = self._clients[fd]
            word = client.hear()
            if word == "":
                self._drop(fd)
            elif word is not None:
                # It says no more: its end would be reported again and again.
                self._epoll.unregister(fd)
                client.has_asked = True
                yield fd, word
        if refusal is not None:
            raise refusal

    def _accept(self) -> None:
        while True:
            silent = [fd for fd, client in self._clients.items() if not client.has_asked]
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError:
                if not silent:
                    raise
                self._drop(silent[0])  # its descriptor may be what is missing
                continue
            connection.setblocking(False)
            if len(silent) >= CLIENTS:
                self._drop(silent[0])
            self._clients[connection.fileno()] = _Client(connection)
            self._epoll.register(connection, select.EPOLLIN)

    def answer(self, client: int, text: str) -> None:
        """Answer a client, and end its connection."""
        self._clients.pop(client).answer(text.encode())

    def answer_all(self, text: str) -> None:
        """Answer all who have connected, also those that were not heard any more."""
        with suppress(OSError):
            self._accept()
        for client in list(self._clients):
            self.answer(client, text)

    def _drop(self, fd: int) -> None:
        self._clients.pop(fd).connection.close()

    def remove(self) -> None:
        """Remove the file of the socket, while the run still holds the lock."""
        with suppress(OSError):  # it is gone, or not permitted
            if _identity(self._path) == self._identity:
                os.unlink(self._path)

    def close(self) -> None:
        """End all connections."""
        for fd in list(self._clients):
            self._drop(fd)
        self._listener.close()
        self._epoll.close()


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.has_asked = False
        self._said = b""

    def hear(self) -> str | None:
        """Return the word of the client, None if it is not complete yet, "" if there will be none."""
        try:
            part = self.connection.recv(LONGEST + 1 - len(self._said))
        except BlockingIOError:
            return None
        except OSError:
            return ""
        self._said += part
        if self._said in WORDS:
            return WORDS[self._said]
        return None if part and any(word.startswith(self._said) for word in WORDS) else ""

    def answer(self, text: bytes) -> None:
        """Send the answer, as far as it can be sent without waiting, and close the connection."""
        with self.connection as connection, suppress(OSError):
            # A client that does not read must not hold up the run. The kernel counts its own structures, too.
            # Closed with something unread, the client would get an error instead.
            connection.shutdown(socket.SHUT_RD)
            while connection.recv(1 << 16):
                pass
            connection.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 2 * len(text) + (1 << 16))
            connection.sendall(text)


def connect(lab: str) -> socket.socket:
    """Return a connection to the run of the lab that waits. Raises OSError: ENOENT or ECONNREFUSED if none does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.connect(path_of(lab))
    except BaseException:
        connection.close()
        raise
    return connection


def path_of(lab: str) -> str:
    """Return the path of the socket."""
    # 107 bytes are the most that an address takes; a lab's name has 64 at most.
    return f"{lock.LOCK_DIR}/{lab}{lock.CONFIRM_SUFFIX}"


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino
