"""Why a container does not resolve, in one sentence, from whatever library."""

from __future__ import annotations

import errno
import os

from kokofast.topology.values import printable

SENTENCE_CHARACTERS = 300  # longer messages of a daemon are cut


class ResolveError(Exception):
    """A container could not be resolved, or its daemon could not be asked. The text is a sentence without a place."""


def words(text: object) -> str:
    """Make a daemon's message fit into a sentence: one short line without control characters."""
    line = " ".join(str(text)[: 9 * SENTENCE_CHARACTERS].split()).rstrip(".")
    safe = printable(line)
    return safe if len(safe) <= SENTENCE_CHARACTERS else safe[:SENTENCE_CHARACTERS] + "..."


def unreachable(title: str, error: OSError, hint: str = "") -> ResolveError:
    """Return the ResolveError for a socket that cannot be connected to."""
    if error.errno == errno.ENOENT:
        reason = "there is no such socket; is it running?"
    elif error.errno == errno.ECONNREFUSED:
        reason = "nobody listens on it; is it running?"
    elif error.errno in (errno.EACCES, errno.EPERM):
        return ResolveError(f"no permission to use {title}: run this as root, or as a user who may open its socket")
    elif error.errno in (errno.ECONNRESET, errno.EPIPE):
        reason = "it closed the connection without an answer"
    else:
        reason = words(os.strerror(error.errno) if error.errno else error)
    return ResolveError(f"{title} cannot be reached: {reason}{f' ({hint})' if hint else ''}")
