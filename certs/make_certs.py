"""Makes a throw-away CA and the certificates, good and bad, on which tests and experiments try a sidecar.

    python certs/make_certs.py DIR

Each subfolder of DIR holds Istio's three files, cert-chain.pem, key.pem and root-cert.pem; see certs/README.md for the list.
Nothing here is for production: whoever has DIR can be anybody in that mesh.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from meshcar.identity.issue import Authority, Issued

TRUST_DOMAIN = "cluster.local"
DAY = timedelta(days=1)


def certificates(root: Authority, now: datetime) -> Iterator[tuple[str, Issued]]:
    """Every folder's name, and what stands in it. All but `foreign-ca` lead to `root`."""
    mine = _uri("default")
    yield "default", root.sign([mine], now, now + DAY)
    yield "sleep", root.sign([_uri("sleep")], now, now + DAY)
    yield "intermediate", root.subordinate("intermediate", now, DAY).sign([mine], now, now + DAY)
    yield (
        "several-names",
        root.sign(
            [mine, x509.DNSName("sleep.default.svc"), x509.UniformResourceIdentifier("spiffe://other.example/ns/x/sa/y")], now, now + DAY
        ),
    )
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, 'Acme, "Mesh"; Inc'), x509.NameAttribute(NameOID.COMMON_NAME, "é")])
    yield "subject", root.sign([mine], now, now + DAY, subject)
    yield "no-name", root.sign([], now, now + DAY, subject)
    yield "expired", root.sign([mine], now - 2 * DAY, now - DAY)
    yield "not-yet-valid", root.sign([mine], now + DAY, now + 2 * DAY)
    yield "foreign-ca", Authority.new(TRUST_DOMAIN, now, DAY).sign([mine], now, now + DAY)
    yield (
        "foreign-trust-domain",
        root.sign([x509.UniformResourceIdentifier("spiffe://other.example/ns/default/sa/default")], now, now + DAY),
    )
    yield "odd-uri", root.sign([x509.UniformResourceIdentifier(f'spiffe://{TRUST_DOMAIN}/ns/a;b/sa/c,d"e=f')], now, now + DAY)


def make(folder: Path, now: datetime) -> None:
    """Writes them all below `folder`, which may exist."""
    root = Authority.new(TRUST_DOMAIN, now, 30 * DAY)
    for name, issued in certificates(root, now):
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "cert-chain.pem").write_bytes(issued.chain)
        (place / "root-cert.pem").write_bytes(root.pem)
        key = place / "key.pem"
        key.touch(mode=0o600)
        key.write_bytes(issued.key)


def _uri(service_account: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(f"spiffe://{TRUST_DOMAIN}/ns/default/sa/{service_account}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_certs.py DIR")
    make(Path(sys.argv[1]), datetime.now(UTC))
