"""What operators and probes are told."""

from datetime import UTC, datetime, timedelta

import pytest

from meshcar.admin.operator import ClusterStatus, EndpointStatus
from meshcar.app.settings import read_settings
from meshcar.app.status import joined, not_ready, remarks
from meshcar.identity.credentials import Credentials
from meshcar.identity.issue import Authority
from meshcar.identity.spiffe import SpiffeId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ROOT = Authority.new("cluster.local", NOW, 10 * DAY)


def credentials(namespace: str = "default", account: str = "default") -> Credentials:
    issued = ROOT.issue(SpiffeId.of_workload("cluster.local", namespace, account), NOW, DAY)
    return Credentials.load(issued.chain, issued.key, ROOT.pem)


@pytest.mark.parametrize(("leaving", "generation", "reason"), [("draining", 1, "draining"), (None, 0, "no rules"), (None, 1, None)])
def test_not_ready(leaving: str | None, generation: int, reason: str | None) -> None:
    """The first reason counts."""
    assert not_ready(leaving, generation, credentials(), NOW.timestamp()) == reason


def test_no_certificates() -> None:
    """Plaintext is remarked upon."""
    assert remarks(read_settings(["a"], {}), None) == ["no certificates: plaintext only"]


@pytest.mark.parametrize(("texts", "told"), [
    ({}, "cluster.local/ns/default/sa/default"),
    ({"namespace": "front", "service_account": "web", "trust_domain": "other"}, "other/ns/front/sa/web"),
    ({"namespace": "front"}, "cluster.local/ns/front/sa/default"),
])
def test_another_identity(texts: dict[str, str], told: str) -> None:
    """So is one that is not that of the options: both are named."""
    (line,) = remarks(read_settings(["a"], texts), credentials("front", "web"))
    assert line.startswith("certificates: spiffe://cluster.local/ns/front/sa/web, but ") and line.endswith(f" say spiffe://{told}")


def test_own_identity() -> None:
    """The one that it should be is not worth a word."""
    assert remarks(read_settings(["a"], {"namespace": "front", "service_account": "web"}), credentials("front", "web")) == []


def test_joined() -> None:
    """What further processes say of endpoints is added; what only they know stands behind."""
    own = [ClusterStatus("a", (EndpointStatus("10.0.0.1", 80, counts={"cx_active": 1, "rq_active": 0}, weight=3),), {"max_connections": 7})]
    told = [
        ["a", "10.0.0.1", 80, True, {"cx_active": 2, "rq_active": 1}],
        ["a", "10.0.0.1", 80, False, {"cx_active": 0, "rq_active": 0}],
        ["a", "10.0.0.2", 80, True, {"cx_active": 5, "rq_active": 0}],
        ["b", "10.0.0.3", 80, True, {"cx_active": 1, "rq_active": 1}],
    ]
    one, other = joined(own, told)
    first = EndpointStatus("10.0.0.1", 80, healthy=False, counts={"cx_active": 3, "rq_active": 1}, weight=3)
    second = EndpointStatus("10.0.0.2", 80, counts={"cx_active": 5, "rq_active": 0})
    assert one == ClusterStatus("a", (first, second), {"max_connections": 7})
    assert other == ClusterStatus("b", (EndpointStatus("10.0.0.3", 80, counts={"cx_active": 1, "rq_active": 1}),))
    assert [*joined(own, [])] == own
