"""One process's part of a limit, where several processes serve together."""

from typing import Any

import attrs

from meshcar.rules.snapshot import ClusterConfig

_LIMITS = ("max_connections", "max_pending_requests", "max_requests", "max_retries")


def share(limit: int, processes: int) -> int:
    """1/N of a limit, rounded up: at least 1, unless the limit is 0."""
    return -(-limit // processes)


def cluster_share(config: ClusterConfig, processes: int) -> ClusterConfig:
    """The same cluster with one process's part of each limit. What is a limit of one connection, or a share itself, stays."""
    limits: dict[str, Any] = {name: share(limit, processes) for name in _LIMITS if (limit := getattr(config, name)) is not None}
    budget = config.retry_budget
    if budget is not None:
        limits["retry_budget"] = attrs.evolve(budget, least=share(budget.least, processes))
    return attrs.evolve(config, **limits) if limits else config
