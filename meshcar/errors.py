"""What may fail on purpose, and what a client is told of it."""


class MeshError(Exception):
    """Raised on purpose. The class says what the client gets, the message what happened.

    `status` is the HTTP status of the local reply, `flag` Envoy's response flag for the access log,
    `details` Envoy's %RESPONSE_CODE_DETAILS%, `body` the text of the local reply.
    """

    status: int = 503
    flag: str = "-"
    details: str = "internal_error"
    body: bytes = b""


class BadMessage(MeshError):
    """A peer broke HTTP framing (RFC 9112); its connection is of no use any more."""

    status, flag, details, body = 400, "DPE", "http1.codec_error", b"Bad Request"

    def __init__(
        self, why: str, status: int = 400, details: str = "http1.codec_error", body: bytes | None = None, flag: str = "DPE"
    ) -> None:
        super().__init__(why)
        self.status = status
        self.flag = flag
        self.details = details
        self.body = body if body is not None else REASONS.get(status, b"Bad Request")


class IdentityMismatch(MeshError):
    """The peer proved an identity that is not the one expected, or none that can be used. `reason` is the word counted."""

    flag, details = "UF", "upstream_reset_before_response_started{remote_connection_failure}"

    def __init__(self, why: str, reason: str) -> None:
        super().__init__(why)
        self.reason = reason


class SettingsError(MeshError):
    """An option, a file or a certificate cannot be used; the process does not start. One line, for people."""


REASONS: dict[int, bytes] = {
    400: b"Bad Request",
    426: b"Upgrade Required",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
}


class TryFailed(MeshError):
    """One try on one endpoint ended without a usable response.

    `condition` is the word of retryOn that it meets (connect-failure, reset-before-request, reset, timeout, none); `reason` Envoy's
    words for it ("remote connection failure"); `cause` the text of %UPSTREAM_TRANSPORT_FAILURE_REASON%; `endpoint` who failed.
    """

    def __init__(self, reason: str, flag: str, condition: str, *, status: int = 503, cause: str = "", endpoint: str = "") -> None:
        super().__init__(reason if not cause else f"{reason}: {cause}")
        self.status, self.flag = status, flag
        self.reason, self.condition, self.cause, self.endpoint = reason, condition, cause, endpoint

    @property
    def details(self) -> str:  # type: ignore[override]
        """Envoy's %RESPONSE_CODE_DETAILS%."""
        words = self.reason.replace(" ", "_") + (f"|{self.cause}" if self.cause else "")
        return f"upstream_reset_before_response_started{{{words}}}"

    def text(self, retried: bool) -> bytes:
        """The body of the local reply."""
        how = "retried and the latest reset reason" if retried else "reset reason"
        return f"upstream connect error or disconnect/reset before headers. {how}: {self.reason}".encode()


class NoHealthyUpstream(MeshError):
    """A cluster has nobody to send to."""

    flag, details, body = "UH", "no_healthy_upstream", b"no healthy upstream"


class Overflow(TryFailed):
    """A circuit breaker of the cluster is open. `endpoint` had a connection for the request; none: it was not even to wait for one."""

    def __init__(self, endpoint: str = "") -> None:
        super().__init__("overflow", "UO", "none", endpoint=endpoint)
