"""How a request gets to an endpoint: a try, the wait for a connection, time limits, and the next try."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from meshcar.errors import MeshError, TryFailed
from meshcar.net.timeouts import Timeout
from meshcar.policy.balance_hash import Hashing
from meshcar.policy.retry import backoff, retries_failure, tried_priorities
from meshcar.rules.policies import RetryPolicy
from meshcar.wire.head import Header, RequestHead
from meshcar.wire.hops import put
from meshcar.wire.http1_write import LAST_CHUNK, chunk, field_lines, request_head, with_more

if TYPE_CHECKING:
    from meshcar.proxy.session import Session
    from meshcar.upstream.cluster import Cluster
    from meshcar.upstream.endpoint import Endpoint

REPLAY_BYTES = 1 << 20
"""How much of a request's body is kept for a further try, as Envoy does where nothing else is said."""
REPLAY_TOTAL = 64 << 20
"""How much is kept for all requests of a side together; who comes when it is used up is sent on, and not tried again."""


_SMALL = 4096


def gather(pieces: list[bytes | bytearray], data: bytes) -> None:
    """Adds to the pieces of a body: as it is, for to copy 1 MiB costs 350 µs; small ones joined, lest each costs an object."""
    last = pieces[-1] if pieces else None
    if len(data) >= _SMALL:
        pieces.append(data)
    elif isinstance(last, bytearray) and len(last) < _SMALL:
        last += data
    else:
        pieces.append(bytearray(data))


class Tries(ABC):
    """The request's half of an Exchange, and the Waiter for its connections. The other half answers.

    `hashing` and `original` say more of where a request goes whose cluster is not plain: by a hash, or to an address and port.

    `tail` are headers that come behind all others: tracing, then framing. `lines` are the others as they were sent, for the copies.
    """

    # defaults stand on the class, so that making one, for each request, costs little
    hashing: Hashing | None = None
    original: tuple[str, int] | None = None
    upgrade = False
    cluster: "Cluster | None" = None
    retries: RetryPolicy | None = None
    timeout: float | None = None
    attempts = 0
    received = 0
    request_ended = False
    responded = False
    finished = False
    flags = ""
    lines = b""
    failure = ""
    upstream_name = ""
    upstream_local = ""
    _connection: Any = None
    _early = b""
    _kept: list[bytes | bytearray] | None = None
    _kept_size = 0
    _pause: Any = None
    _priorities: tuple[int, ...] = ()
    _retrying = False
    _tried: tuple[str, ...] = ()
    _try_timeout: Timeout | None = None
    _waiting_at: "Endpoint | None" = None

    def __init__(self, session: "Session", head: RequestHead) -> None:
        self.session = session
        self.side = session.side
        self.head = head
        self.tail: list[Header] = []

    # -- the other half

    @abstractmethod
    def fail(self, error: MeshError) -> None:
        """Answers an error."""

    @abstractmethod
    def time_out(self, details: str) -> None:
        """Answers that the endpoint took too long."""

    @property
    def early(self) -> bytes:
        """What has come of the body of a request that is held back."""
        return self._early

    # -- a try

    def start_try(self, without: frozenset[int] = frozenset()) -> None:
        """Chooses an endpoint, of none of some priorities, and sends the request, now or when a connection is there. Raises MeshError."""
        cluster = self.cluster
        assert cluster is not None
        endpoint = cluster.choose(self._tried, None, without) if cluster.plain else self._directed(cluster, without)
        if cluster.apart:
            endpoint = endpoint.apart(self.head.authority, (self.session.remote, self.session.local))
        self.attempts += 1
        self.upstream_name = endpoint.name
        self.upstream_local = ""
        if self.retries is not None and self._kept is None and self.attempts == 1 and self.received <= REPLAY_BYTES:
            self._kept = []
            self._keep(self._early)
        connection = cluster.acquire(endpoint, self)
        if connection is not None:
            self._send(connection)
        else:
            self._waiting_at = endpoint
            if not self.request_ended:  # else reading goes on, so that a client who leaves is noticed
                self.session.hold_for_upstream()

    def _directed(self, cluster: "Cluster", without: frozenset[int]) -> "Endpoint":
        """The endpoint that the request itself decides on: by its hash, or by the address that it was meant for."""
        if self.original is not None:
            return cluster.at(*self.original)
        return cluster.choose(self._tried, None if self.hashing is None else self.hashing.key(self.head), without)

    def on_connection(self, connection: Any) -> None:
        """See Waiter."""
        self._waiting_at = None
        self._send(connection)
        self.session.release_for_upstream()

    def on_connect_failed(self, error: TryFailed) -> None:
        """See Waiter."""
        self._waiting_at = None
        self.session.release_for_upstream()
        self.try_failed(error)

    def _send(self, connection: Any) -> None:
        """Writes the head and what has come of the body, in one piece."""
        self._connection = connection
        head = self.head
        headers = head.headers
        if self.attempts > 1 and self.side.counts_attempts:
            put(headers, b"x-envoy-attempt-count", b"%d" % self.attempts)
        self.lines = field_lines(headers)
        first = request_head(head.method, head.target, head.authority, with_more(self.lines, self.tail))
        chunked = b"transfer-encoding" in head.noted
        body = b""
        if not self.upgrade:  # what follows an upgrade waits for the 101: an endpoint that does not switch would take it for a request
            body, self._early = self._early, b""
        if chunked:
            first += (chunk(body) if body else b"") + (LAST_CHUNK if self.request_ended else b"")
        elif body:
            first += body
        self.upstream_local = connection.local_name
        connection.send(first, self, head.method, chunked, None if self.request_ended else self.session, self.upgrade)
        if self.request_ended and self.retries is not None and self.retries.per_try_timeout:
            self._time_try(self.retries.per_try_timeout)

    def _time_try(self, limit: float) -> None:
        """A try is timed from when all of the request is on its way; not at all where the whole request's limit is no longer."""
        if not self.timeout or limit < self.timeout:
            self._try_timeout = self.side.timeouts.after(limit, self._try_timed_out)

    def send_body(self, data: bytes, ended: bool) -> None:
        """More of the request's body, to the try at hand or to the next."""
        if ended:
            self.request_ended = True
        if data:
            self._keep(data)
        connection = self._connection
        if connection is None:
            self._early += data
            return
        connection.write(data, ended)
        if ended and self.retries is not None and self.retries.per_try_timeout:
            self._time_try(self.retries.per_try_timeout)

    def _keep(self, data: bytes) -> None:
        """Notes a part of the body for a further try, if there may be one; not where too much is kept already."""
        if data and self._kept is not None:
            if self.received > REPLAY_BYTES or self.side.kept + len(data) > REPLAY_TOTAL:
                self.forget_body()
            else:
                gather(self._kept, data)
                self._kept_size += len(data)
                self.side.kept += len(data)

    def forget_body(self) -> None:
        """There will be no further try."""
        if self._kept_size:
            self.side.kept -= self._kept_size
            self._kept_size = 0
        self._kept = None

    def drop_try(self) -> None:
        """Gives up the try at hand, whatever its state."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._try_timeout is not None:
            self._try_timeout.cancel()
            self._try_timeout = None
        if self._waiting_at is not None:
            self._waiting_at.withdraw(self)
            self._waiting_at = None
            self.session.release_for_upstream()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    # -- the next try

    def try_failed(self, error: TryFailed) -> None:
        """The try at hand ended without a response."""
        self.failure = error.cause
        policy = self.retries
        if policy is None or not retries_failure(policy, error.condition) or not self.try_again():
            self.fail(error)

    def try_again(self) -> bool:
        """Begins a further try after a back-off; False if none is left or the cluster allows none, or the body is not here any more."""
        policy = self.retries
        if policy is None or self._kept is None:
            return False
        if self.attempts > policy.attempts:
            self.add_flag("URX")
            return False
        if not self._retrying:
            assert self.cluster is not None
            if not self.cluster.begin_retry():
                self.add_flag("UO")
                return False
            self._retrying = True
        if self._try_timeout is not None:
            self._try_timeout.cancel()
        if policy.spread:
            self._tried += (self.upstream_name,)
        if policy.remote:
            self._priorities += (self._priority(),)
        if not self.upgrade:
            self._early = b"".join(self._kept)
        self.session.hold_for_upstream()
        self.session.resumeProducing()  # the connection that held it back is gone
        wait = backoff(policy, self.attempts, self.side.roll())
        self._pause = self.side.clock.callLater(wait, self._retry)
        return True

    def _priority(self) -> int:
        """That of the endpoint which was tried last."""
        assert self.cluster is not None
        return next((one.config.priority for one in self.cluster.endpoints if one.name == self.upstream_name), 0)

    def _retry(self) -> None:
        self._pause = None
        try:
            self.start_try(tried_priorities(self._priorities))
        except MeshError as e:
            self.fail(e)
        if self._waiting_at is None:
            self.session.release_for_upstream()

    def _try_timed_out(self) -> None:
        if self.finished or self.responded:
            return
        self.blame_endpoint()
        self.drop_try()
        if self.retries is not None and retries_failure(self.retries, "timeout") and self.try_again():
            return
        self.time_out("upstream_per_try_timeout")

    def blame_endpoint(self) -> None:
        """The endpoint of the try at hand, if it has got the request, took too long."""
        if self._connection is not None:
            self._connection.overdue()

    def end_tries(self) -> None:
        """The exchange is over."""
        if self._try_timeout is not None:
            self._try_timeout.cancel()
        self.forget_body()
        if self._retrying:
            assert self.cluster is not None
            self.cluster.end_retry()

    def add_flag(self, flag: str) -> None:
        """One of Envoy's response flags."""
        if flag != "-" and flag not in self.flags.split(","):
            self.flags = f"{self.flags},{flag}" if self.flags else flag
