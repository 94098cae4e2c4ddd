"""What a TLS client remembers of its peers: sessions it may resume, laid aside by connections that have ended their first exchange and
handed out once each; and which peer takes no key exchange but a post-quantum one."""

from collections import deque
from collections.abc import Hashable

import attrs
from OpenSSL import SSL

from meshcar.latest import Latest

SESSION_SECONDS = 3600
"""How long after a full handshake its session, or one that was resumed from it, may be resumed; then the chain is looked at again."""

_EACH = 16  # sessions of one peer: as many connections as are opened at a time
_PEERS = 256


class Sessions:
    """Those of one OpenSSL context; made with it and ended with it, so that no session outlives a certificate or a trust bundle.

    Of the many peers that there may be, those that have been called last are remembered.
    """

    def __init__(self) -> None:
        self._shelves: Latest[Hashable, Shelf] = Latest(_PEERS)

    def offer(self, connection: SSL.Connection, peer: Hashable, now: float) -> bool:
        """Lets a connection, before its handshake, resume a session of `peer` if there is one. `now` in seconds.

        True: the peer refused what a connection offered before, and is to be offered every key exchange.
        """
        shelf = self._shelves.get(peer)
        if shelf is None:
            shelf = Shelf()
            self._shelves.put(peer, shelf)
        connection.set_app_data(shelf.lend(connection, now))
        return shelf.refused


@attrs.define(eq=False)
class Shelf:
    """The sessions of one peer, the newest last. TLS 1.3 wants each used once (RFC 8446, appendix C.4).

    `usable` ends with the first handshake that failed over a session: some servers can resume none, and fail instead of ignoring it.
    `refused` begins with the first that the peer ended because nothing that was offered would do (alert handshake_failure).
    """

    usable: bool = True
    refused: bool = False
    _kept: "deque[tuple[SSL.Session, float]]" = attrs.Factory(lambda: deque(maxlen=_EACH))

    def lend(self, connection: SSL.Connection, now: float) -> "Loan":
        """Gives the newest session that is not too old."""
        while self.usable and self._kept:
            session, since = self._kept.pop()
            if now - since < SESSION_SECONDS:
                connection.set_session(session)
                return Loan(self, since, True)
        return Loan(self, now, False)

    def put(self, session: SSL.Session, since: float) -> None:
        """Lays a session aside; `since` when the peer's chain was looked at, in seconds."""
        if self.usable:
            self._kept.append((session, since))


@attrs.frozen(eq=False)
class Loan:
    """What a connection knows of its session; rides on it as its app data. `since`: see Shelf.put; `resumes`: it was lent one."""

    shelf: Shelf
    since: float
    resumes: bool


def keep(connection: SSL.Connection) -> None:
    """Lays a client's session aside, once; to be called when something was read, as tickets come with that. A server's end has none."""
    loan = connection.get_app_data()
    if loan is not None:
        connection.set_app_data(None)
        session = connection.get_session()
        if session is not None:
            loan.shelf.put(session, loan.since)


def spoil(connection: SSL.Connection, error: Exception | None = None) -> None:
    """The handshake or the check failed: nothing is laid aside, and if TLS failed over a resumed session, nothing lent any more."""
    loan = connection.get_app_data()
    if loan is not None:
        connection.set_app_data(None)
        if isinstance(error, SSL.Error) and not isinstance(error, SSL.SysCallError):
            if loan.resumes:
                loan.shelf.usable = False
            if "alert handshake failure" in str(error):
                loan.shelf.refused = True
