"""Trace headers, B3 and W3C: a trace is continued where one comes in, or begun."""

import re
from collections.abc import Callable, Mapping
from typing import Protocol

from meshcar.wire.head import Header, RequestHead

STYLES = ("b3", "w3c")
"""What `begin_or_continue` knows, as `--tracing` names them."""

B3_MANY = frozenset((b"x-b3-traceid", b"x-b3-spanid", b"x-b3-parentspanid", b"x-b3-sampled"))
B3_ONE = frozenset((b"b3",))
W3C = frozenset((b"traceparent", b"tracestate"))

_B3 = re.compile(rb"([0-9a-f]{16}(?:[0-9a-f]{16})?)-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?")
_HEX = b"0123456789abcdef"
_HEX_IN_ANY_CASE = _HEX + b"ABCDEF"
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]([0-9a-f])")
_UUID_LENGTH = 36
_BY_CHANCE, _FORCED, _ASKED = b"9", b"a", b"b"
_SAMPLED = frozenset((_BY_CHANCE, _FORCED, _ASKED))
_DECISIONS = {b"0": False, b"1": True, b"d": True, b"true": True}


class Ids(Protocol):
    """A source of chance: so many random hexadecimal digits, in lower case."""

    def __call__(self, digits: int, /) -> bytes: ...


class RandomIds:
    """Ids out of a source of random bytes (`os.urandom`), fetched in blocks because each fetch is a system call.

    Owned by one process: a fork must make its own.
    """

    __slots__ = ("_at", "_block", "_read")

    BLOCK = 2048
    """Bytes fetched at once."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._block = b""
        self._at = 0

    def __call__(self, digits: int, /) -> bytes:
        """At most 2 * BLOCK digits."""
        end = self._at + digits
        if end > len(self._block):
            self._block = self._read(self.BLOCK).hex().encode()
            end = digits
        self._at = end
        return self._block[end - digits : end]


class TraceContext:
    """One span of a trace, as it goes upstream. Ids are hexadecimal in lower case; `parent_id` is empty for a root.

    `names` are the headers that carry it: B3_MANY, B3_ONE or W3C. Source: B3 propagation; W3C Trace Context.
    """

    __slots__ = ("names", "parent_id", "sampled", "span_id", "state", "trace_id")

    def __init__(
        self, names: frozenset[bytes], trace_id: bytes, span_id: bytes, parent_id: bytes, sampled: bool, state: bytes = b""
    ) -> None:
        self.names = names
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.sampled = sampled
        self.state = state

    def child(self, ids: Ids) -> "TraceContext":
        """The span of a mirrored copy: same trace, own id, this span as parent, never sampled (Istio's trace_sampled: false)."""
        return TraceContext(self.names, self.trace_id, ids(16), self.span_id, False, self.state)

    def headers(self) -> list[Header]:
        """The headers to send, in Envoy's order; tracestate even when it is empty, as Envoy's OpenTelemetry does."""
        flag = b"1" if self.sampled else b"0"
        if self.names is B3_MANY:
            headers = [(b"x-b3-traceid", self.trace_id), (b"x-b3-spanid", self.span_id), (b"x-b3-sampled", flag)]
            if self.parent_id:
                headers.insert(2, (b"x-b3-parentspanid", self.parent_id))
            return headers
        if self.names is W3C:
            return [(b"traceparent", b"00-%b-%b-0%b" % (self.trace_id, self.span_id, flag)), (b"tracestate", self.state)]
        parts = (self.trace_id, self.span_id, flag, self.parent_id) if self.parent_id else (self.trace_id, self.span_id, flag)
        return [(b"b3", b"-".join(parts))]

    def write(self, headers: list[Header], noted: Mapping[bytes, bytes]) -> list[Header]:
        """`headers` with this span at their end and no other of its kind; `noted` says what the request brought."""
        if not self.names.isdisjoint(noted):
            headers = [header for header in headers if header[0] not in self.names]
        return headers + self.headers()


def decide(noted: Mapping[bytes, bytes], percent: float) -> tuple[bool, bytes]:
    """Whether a trace that begins with a request is sampled, and the request's id with that decision in it.

    The id decides, so that all who see it decide alike: its first eight digits say which of ten thousand it is, and one of which they
    are no number is never sampled. In a UUID the decision that was made is the digit behind the second dash, where the version stands.
    A client that brings x-client-trace-id asks to be sampled, an internal one by x-envoy-force-trace.
    Source: Envoy's UUID request id extension, with Istio's client sampling of 100 %.
    """
    request_id = noted[b"x-request-id"]
    number = request_id[:8]
    if len(number) < 8 or number.translate(None, _HEX_IN_ANY_CASE):
        return False, request_id
    is_uuid = len(request_id) == _UUID_LENGTH
    if is_uuid and request_id[14:15] in _SAMPLED:
        return True, request_id
    if b"x-envoy-force-trace" in noted and b"x-envoy-internal" in noted:
        reason = _FORCED
    elif b"x-client-trace-id" in noted:
        reason = _ASKED
    elif percent and int(number, 16) % 10_000 < percent * 100:
        reason = _BY_CHANCE
    else:
        return False, request_id
    return True, request_id[:14] + reason + request_id[15:] if is_uuid else request_id


def begin_or_continue(head: RequestHead, style: str, ids: Ids, sample: bool) -> TraceContext | None:
    """The span for a request: a child of what came in, else the root of a new trace, sampled if `sample` says so.

    `style` is one of STYLES. A decision that came in is kept. None: what came in is malformed, and goes on as it came, as with Envoy.
    """
    noted = head.noted
    if style == "w3c":
        return _continue_w3c(head, ids) if b"traceparent" in noted else _begin(W3C, ids, sample)
    if b"b3" in noted:
        return _continue_b3(noted[b"b3"], ids, sample)
    if b"x-b3-traceid" in noted and b"x-b3-spanid" in noted:
        return _continue_b3_many(noted, ids, sample)
    return _begin(B3_MANY, ids, _decision(noted.get(b"x-b3-sampled"), sample))


def _begin(names: frozenset[bytes], ids: Ids, sample: bool) -> TraceContext:
    """With B3 a root's span id is the low half of its trace id, as Envoy's zipkin does."""
    trace_id = ids(32)
    return TraceContext(names, trace_id, ids(16) if names is W3C else trace_id[16:], b"", sample)


def _decision(text: bytes | None, sample: bool) -> bool:
    return sample if text is None else _DECISIONS.get(text, False)


def _continue_b3(text: bytes, ids: Ids, sample: bool) -> TraceContext | None:
    """A lone decision (`b3: 0`) begins a trace with it."""
    text = text.lower()
    if text in (b"0", b"1", b"d"):
        return _begin(B3_ONE, ids, text != b"0")
    match = _B3.fullmatch(text)
    if match is None:
        return None
    trace_id, span_id, decision = match.groups()
    return TraceContext(B3_ONE, trace_id, ids(16), span_id, _decision(decision, sample))


def _continue_b3_many(noted: Mapping[bytes, bytes], ids: Ids, sample: bool) -> TraceContext | None:
    """Short ids are filled up with zeros on the left, as Envoy does."""
    trace_id, span_id = noted[b"x-b3-traceid"].lower(), noted[b"x-b3-spanid"].lower()
    if (trace_id + span_id).translate(None, _HEX) or not 0 < len(trace_id) <= 32 or not 0 < len(span_id) <= 16:
        return None
    trace_id = trace_id.rjust(32 if len(trace_id) > 16 else 16, b"0")
    return TraceContext(B3_MANY, trace_id, ids(16), span_id.rjust(16, b"0"), _decision(noted.get(b"x-b3-sampled"), sample))


def _continue_w3c(head: RequestHead, ids: Ids) -> TraceContext | None:
    match = _TRACEPARENT.fullmatch(head.noted[b"traceparent"].lower())
    if match is None or not match[1].strip(b"0") or not match[2].strip(b"0"):
        return None
    state = b",".join(head.get_all(b"tracestate")) if b"tracestate" in head.noted else b""
    return TraceContext(W3C, match[1], ids(16), match[2], bool(int(match[3], 16) & 1), state)
