"""One process's part of a limit."""

import attrs
import pytest

from meshcar.policy.shares import cluster_share, share
from meshcar.rules.policies import Destination, RetryBudget
from meshcar.rules.snapshot import ClusterConfig

PLAIN = ClusterConfig("c", Destination("c", "", 80), ())


@pytest.mark.parametrize(("limit", "processes", "part"), [(100, 4, 25), (100, 3, 34), (1, 8, 1), (0, 8, 0), (7, 1, 7)])
def test_share(limit: int, processes: int, part: int) -> None:
    """Rounded up, so that nobody has none of what there is; nobody has a part of nothing."""
    assert share(limit, processes) == part


def test_cluster() -> None:
    """Limits on what all do together are shared out; those on one connection are everybody's own."""
    whole = attrs.evolve(
        PLAIN, max_connections=10, max_pending_requests=1, max_requests=1024, max_requests_per_connection=5,
        retry_budget=RetryBudget(20.0, 3, None),
    )
    assert cluster_share(whole, 2) == attrs.evolve(whole, max_connections=5, max_requests=512, retry_budget=RetryBudget(20.0, 2, None))


def test_no_limits() -> None:
    """Then the configuration is the same object."""
    assert cluster_share(PLAIN, 2) is PLAIN
