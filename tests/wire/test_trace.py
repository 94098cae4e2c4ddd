"""Tests of meshcar.wire.trace."""

import pytest

from meshcar.wire.head import Header, RequestHead
from meshcar.wire.trace import RandomIds, TraceContext, begin_or_continue, decide

TRACE, SPAN, PARENT = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331", b"00f067aa0ba902b7"
PLAIN: list[Header] = [(b"user-agent", b"curl"), (b"accept", b"*/*")]


class Counting:
    """Ids that say which they are: 1111..., 2222..., and so on."""

    def __init__(self) -> None:
        self.given = 0

    def __call__(self, digits: int, /) -> bytes:
        self.given += 1
        return b"%x" % self.given * digits


def request(*headers: Header) -> RequestHead:
    """A head that notes every header."""
    return RequestHead(b"GET", b"/", b"reviews", [*PLAIN, *headers], dict(headers))


def span(head: RequestHead, style: str = "b3", sample: bool = True) -> TraceContext:
    """The span of a head that is not malformed."""
    found = begin_or_continue(head, style, Counting(), sample)
    assert found is not None
    return found


def test_begin_b3() -> None:
    """A new trace: 128 bits, the span's id its low half, no parent, the decision of this sidecar."""
    for sample, flag in ((True, b"1"), (False, b"0")):
        assert span(request(), sample=sample).headers() == [
            (b"x-b3-traceid", b"1" * 32),
            (b"x-b3-spanid", b"1" * 16),
            (b"x-b3-sampled", flag),
        ]


def test_continue_b3() -> None:
    """Same trace, own span, the caller's span as parent, the caller's decision."""
    for flag in (b"0", b"1"):
        head = request((b"x-b3-traceid", TRACE), (b"x-b3-spanid", SPAN), (b"x-b3-parentspanid", PARENT), (b"x-b3-sampled", flag))
        assert span(head).headers() == [
            (b"x-b3-traceid", TRACE),
            (b"x-b3-spanid", b"1" * 16),
            (b"x-b3-parentspanid", SPAN),
            (b"x-b3-sampled", flag),
        ]


def test_continue_b3_odd_ids() -> None:
    """64 bits stay 64 bits, short ids are filled up, upper case is lowered, as Envoy does."""
    assert span(request((b"x-b3-traceid", SPAN), (b"x-b3-spanid", PARENT))).trace_id == SPAN
    odd = span(request((b"x-b3-traceid", b"ABC"), (b"x-b3-spanid", b"DEF1")))
    assert (odd.trace_id, odd.parent_id) == (b"0000000000000abc", b"000000000000def1")


@pytest.mark.parametrize("text, sampled", [(b"0", False), (b"1", True), (b"true", True), (b"d", True), (b"yes", False)])
def test_decision_without_trace(text: bytes, sampled: bool) -> None:
    """A decision that comes alone holds for the new trace."""
    assert span(request((b"x-b3-sampled", text)), sample=not sampled).sampled is sampled


@pytest.mark.parametrize(
    "text, out",
    [
        (b"%b-%b-1-%b" % (TRACE, SPAN, PARENT), b"%b-1111111111111111-1-%b" % (TRACE, SPAN)),
        (b"%b-%b-0" % (TRACE, SPAN), b"%b-1111111111111111-0-%b" % (TRACE, SPAN)),
        (b"%b-%b-d" % (TRACE, SPAN), b"%b-1111111111111111-1-%b" % (TRACE, SPAN)),
        (b"%b-%b" % (PARENT.upper(), SPAN), b"%b-1111111111111111-1-%b" % (PARENT, SPAN)),
        (b"0", b"%b-%b-0" % (b"1" * 32, b"1" * 16)),
        (b"d", b"%b-%b-1" % (b"1" * 32, b"1" * 16)),
    ],
)
def test_b3_single_header(text: bytes, out: bytes) -> None:
    """Who speaks the one-header form is answered in it."""
    assert span(request((b"b3", text))).headers() == [(b"b3", out)]


def test_begin_w3c() -> None:
    """A new trace, and an empty tracestate, as Envoy's OpenTelemetry sends it; one without a traceparent is dropped."""
    for head in (request(), request((b"tracestate", b"a=b"))):
        assert span(head, "w3c").headers() == [(b"traceparent", b"00-%b-%b-01" % (b"1" * 32, b"2" * 16)), (b"tracestate", b"")]


@pytest.mark.parametrize("flags, out", [(b"00", b"00"), (b"01", b"01"), (b"03", b"01"), (b"02", b"00")])
def test_continue_w3c(flags: bytes, out: bytes) -> None:
    """The caller's decision and state are kept; several tracestate lines become one."""
    head = request((b"traceparent", b"00-%b-%b-%b" % (TRACE, SPAN, flags)), (b"tracestate", b"a=b"), (b"tracestate", b"c=d"))
    assert span(head, "w3c").headers() == [
        (b"traceparent", b"00-%b-%b-%b" % (TRACE, b"1" * 16, out)),
        (b"tracestate", b"a=b,c=d"),
    ]


@pytest.mark.parametrize(
    "style, headers",
    [
        ("b3", [(b"b3", b"junk")]),
        ("b3", [(b"x-b3-traceid", b"zz"), (b"x-b3-spanid", SPAN)]),
        ("b3", [(b"x-b3-traceid", TRACE), (b"x-b3-spanid", TRACE)]),
        ("b3", [(b"x-b3-traceid", b""), (b"x-b3-spanid", SPAN)]),
        ("w3c", [(b"traceparent", b"junk")]),
        ("w3c", [(b"traceparent", b"00-%b-%b-01-more" % (TRACE, SPAN))]),
        ("w3c", [(b"traceparent", b"00-%b-%b-01" % (b"0" * 32, SPAN))]),
        ("w3c", [(b"traceparent", b"00-%b-%b-01" % (TRACE, b"0" * 16))]),
    ],
)
def test_malformed(style: str, headers: list[Header]) -> None:
    """What can not be read is left alone."""
    assert begin_or_continue(request(*headers), style, Counting(), True) is None


@pytest.mark.parametrize("style", ["b3", "w3c"])
def test_copy(style: str) -> None:
    """A mirrored copy: same trace, own id, the primary's span as parent, never sampled."""
    ids = Counting()
    primary = begin_or_continue(request(), style, ids, True)
    assert primary is not None
    copy = primary.child(ids)
    assert (copy.trace_id, copy.parent_id, copy.sampled) == (primary.trace_id, primary.span_id, False)
    assert copy.span_id != primary.span_id
    assert copy.headers()[0][0] == primary.headers()[0][0]


def test_write() -> None:
    """The span stands at the end, once; headers of the other kinds pass."""
    head = request((b"x-b3-traceid", TRACE), (b"x-b3-spanid", SPAN), (b"traceparent", b"x"))
    written = span(head).write(head.headers, head.noted)
    assert [name for name, _ in written] == [
        *(b"user-agent accept traceparent x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled".split()),
    ]
    assert head.headers[2] == (b"x-b3-traceid", TRACE)
    assert span(request()).write(PLAIN, {})[:2] == PLAIN


def test_random_ids() -> None:
    """Digits of a block are given out once, in order; a new block is fetched when one is used up."""
    blocks = iter([bytes([1]) * 2048, bytes([2]) * 2048])
    ids = RandomIds(lambda count: next(blocks))
    assert ids(32) == b"01" * 16
    assert {ids(16) for _ in range((4096 - 32) // 16)} == {b"01" * 8}
    assert ids(16) == b"02" * 8


UUID = b"11111111-2222-4333-8444-555555555555"


@pytest.mark.parametrize(
    ("request_id", "more", "percent", "sampled", "digit"),
    [
        (UUID, {}, 100.0, True, b"9"),
        (UUID, {}, 0.0, False, b"4"),
        (UUID.replace(b"-4", b"-9"), {}, 0.0, True, b"9"),
        (UUID, {b"x-client-trace-id": b"c"}, 0.0, True, b"b"),
        (UUID, {b"x-envoy-force-trace": b"1"}, 0.0, False, b"4"),
        (UUID, {b"x-envoy-force-trace": b"1", b"x-envoy-internal": b"true"}, 0.0, True, b"a"),
        (b"mine", {b"x-client-trace-id": b"c"}, 100.0, False, b""),
        (b"deadbeefzz", {}, 100.0, True, b""),
        (b"+1111111" + UUID[8:], {}, 100.0, False, b"4"),
        (b"0000270f" + UUID[8:], {}, 99.99, False, b"4"),
        (b"0000270e" + UUID[8:], {}, 99.99, True, b"9"),
    ],
)
def test_decide(request_id: bytes, more: dict[bytes, bytes], percent: float, sampled: bool, digit: bytes) -> None:
    """The id decides, and says what was decided to whoever sees it next."""
    found = decide({b"x-request-id": request_id, **more}, percent)
    assert found[0] is sampled and found[1][14:15] == digit and len(found[1]) == len(request_id)
    assert decide({b"x-request-id": found[1]}, 0.0)[0] is (sampled and digit != b"")


def test_share_of_ids() -> None:
    """Of many ids, as many are sampled as the percentage says."""
    ids = [b"%08x-2222-4333-8444-555555555555" % (number * 2654435761 % (1 << 32)) for number in range(10_000)]
    assert 950 < sum(decide({b"x-request-id": one}, 10.0)[0] for one in ids) < 1050
