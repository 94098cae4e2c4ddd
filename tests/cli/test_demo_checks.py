"""The demo believes nothing that it does not see."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from meshcar.cli.demo_checks import check_count, check_headers, logged
from meshcar.cli.demo_shell import DemoFailed
from meshcar.identity.issue import Authority

ME = "spiffe://cluster.local/ns/default/sa/default"
LINE = '127.0.0.6 - - [22/Nov/2026:21:15:11 +0000] "GET /headers HTTP/1.1" 200 523 "-" "curl-1" Host: httpbin:8000\n'


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("certs") / "cert-chain.pem"
    path.write_bytes(Authority.new("cluster.local", datetime.now(UTC), timedelta(days=1)).pem)
    return path


def headers(certificate: Path, **changed: str | None) -> str:
    digest = x509.load_pem_x509_certificate(certificate.read_bytes()).fingerprint(SHA256()).hex()
    right = {
        "Host": "httpbin:8000", "User-Agent": "curl-1", "X-B3-Traceid": "a" * 32, "X-B3-Spanid": "b" * 16, "X-B3-Parentspanid": "c" * 16,
        "X-B3-Sampled": "0", "X-Envoy-Attempt-Count": "1", "X-Forwarded-Client-Cert": f'By={ME};Hash={digest};Subject="";URI={ME}'}
    found = right | {name.replace("_", "-"): value for name, value in changed.items()}
    return json.dumps({"headers": {name: value for name, value in found.items() if value is not None}})


def test_headers(certificate: Path) -> None:
    """What a mesh gives passes."""
    assert "curl-1" in check_headers(headers(certificate), "curl-1", ME, certificate)


@pytest.mark.parametrize("changed", [
    {"Host": "httpbin"},
    {"User_Agent": "curl-2"},
    {"X_B3_Traceid": None},
    {"X_B3_Sampled": "2"},
    {"X_Envoy_Attempt_Count": "2"},
    {"X_Forwarded_Client_Cert": None},
    {"X_Forwarded_Client_Cert": f'By={ME};Hash={"0" * 64};Subject="";URI={ME}'},
])
def test_wrong_headers(certificate: Path, changed: dict[str, str | None]) -> None:
    """One header that is missing or other ends the demo."""
    with pytest.raises(DemoFailed):
        check_headers(headers(certificate, **changed), "curl-1", ME, certificate)


@pytest.mark.parametrize("answer", ["", "no healthy upstream", "[]", "{}"])
def test_no_json(certificate: Path, answer: str) -> None:
    """An error page is not httpbin's answer."""
    with pytest.raises(DemoFailed, match="not its JSON"):
        check_headers(answer, "curl-1", ME, certificate)


def test_logged(tmp_path: Path) -> None:
    """Size and Host come out of gunicorn's line."""
    (tmp_path / "log").write_text("[INFO] Listening\n" + LINE)
    assert logged(tmp_path / "log", "curl-1") == (523, "httpbin:8000")


@pytest.mark.parametrize("text", [LINE * 2, LINE.replace("200 523", "503 95")])
def test_logged_wrong(tmp_path: Path, text: str) -> None:
    """Twice is once too often, and an error is no answer."""
    (tmp_path / "log").write_text(text)
    with pytest.raises(DemoFailed):
        logged(tmp_path / "log", "curl-1")


def test_count(tmp_path: Path) -> None:
    """Neither fewer nor more."""
    (tmp_path / "log").write_text(LINE * 3)
    check_count(tmp_path / "log", "curl-1", 3)
    for wrong in (0, 2):
        with pytest.raises(DemoFailed, match="has 3 requests"):
            check_count(tmp_path / "log", "curl-1", wrong)
