"""What the demo's answers and logs must show, asked of what really came."""

import json
import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from meshcar.cli.demo_shell import DemoFailed, wait_for

_SPAN, _TRACE = "[0-9a-f]{16}", "([0-9a-f]{16}){1,2}"
_LOGGED = re.compile(r'"GET /headers HTTP/1\.1" 200 (?P<size>\d+) .* Host: (?P<host>\S+)$')


def check_headers(answer: str, token: str, identity: str, certificate: Path) -> str:
    """httpbin's /headers has the token, the trace, and who called: by `certificate`, as `identity`. Says what was found."""
    try:
        headers = json.loads(answer)["headers"]
    except (ValueError, KeyError, TypeError):
        raise DemoFailed(f"httpbin's answer is not its JSON: {answer[:200]!r}") from None
    digest = x509.load_pem_x509_certificate(certificate.read_bytes()).fingerprint(SHA256()).hex()
    expected = {
        "Host": re.escape("httpbin:8000"),
        "User-Agent": re.escape(token),
        "X-B3-Traceid": _TRACE,
        "X-B3-Spanid": _SPAN,
        "X-B3-Parentspanid": _SPAN,
        "X-B3-Sampled": "[01]",
        "X-Envoy-Attempt-Count": "1",
        "X-Forwarded-Client-Cert": re.escape(f'By={identity};Hash={digest};Subject="";URI={identity}'),
    }
    for name, pattern in expected.items():
        if not re.fullmatch(pattern, value := headers.get(name, "")):
            raise DemoFailed(f"{name}: {value!r} came at httpbin, not {pattern!r}")
    return f"the token {token} came through; Hash is the SHA-256 of the certificate in {certificate}"


def logged(log: Path, token: str) -> tuple[int, str]:
    """Size of the answer and Host of the one request with this token in gunicorn's log, waited for. Raises DemoFailed."""
    wait_for(lambda: bool(_lines(log, token)))
    lines = _lines(log, token)
    found = _LOGGED.search(lines[0]) if len(lines) == 1 else None
    if found is None:
        raise DemoFailed(f"{log} must hold one request {token} answered with 200, and has {lines or 'none'}")
    return int(found["size"]), found["host"]


def check_count(log: Path, token: str, count: int) -> None:
    """gunicorn's log has so many requests with this token, and no more half a second later. Raises DemoFailed."""
    wait_for(lambda: len(_lines(log, token)) >= max(count, 1), seconds=10.0 if count else 0.0)
    wait_for(lambda: len(_lines(log, token)) > count, seconds=0.5)
    if (found := len(_lines(log, token))) != count:
        raise DemoFailed(f"{log} has {found} requests {token}, not {count}")


def _lines(log: Path, token: str) -> list[str]:
    return [line for line in log.read_text().splitlines() if token in line]
