"""What operators, probes and scrapes are told of the process."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from meshcar.admin.operator import ClusterStatus, EndpointStatus
from meshcar.app.settings import Settings
from meshcar.identity.credentials import Credentials
from meshcar.identity.spiffe import SpiffeId
from meshcar.net.listen import Port
from meshcar.observe.counters import Counters
from meshcar.observe.names import ACTIVE, CONNECTIONS, REFUSED
from meshcar.rules.localities import place
from meshcar.rules.snapshot import ClusterConfig
from meshcar.upstream.cluster import Cluster
from meshcar.upstream.endpoint import Endpoint


def not_ready(leaving: str | None, generation: int, credentials: Credentials | None, seconds: float) -> str | None:
    """Why a request should not come here now, or None. `seconds` since the epoch."""
    if leaving:
        return leaving
    if not generation:
        return "no rules"
    return None if credentials is None else credentials.trouble(datetime.fromtimestamp(seconds, UTC))


def remarks(settings: Settings, credentials: Credentials | None) -> list[str]:
    """What people should know besides, a line each: that this workload shows no identity, or not the one it was told it has."""
    if credentials is None:
        return ["no certificates: plaintext only"]
    told = SpiffeId.of_workload(settings.trust_domain, settings.namespace, settings.service_account)
    if credentials.spiffe_id == told:
        return []
    return [f"certificates: {credentials.spiffe_id}, but --trust-domain, --namespace and --service-account say {told}"]


def cluster_status(cluster: Cluster, config: ClusterConfig) -> ClusterStatus:
    """One cluster, as /clusters shows it. `config` has its limits as the rules say them, of which this process may hold a part."""
    endpoints = tuple(map(_endpoint_status, cluster.everyone()))
    limits = {
        "max_connections": config.max_connections,
        "max_pending_requests": config.max_pending_requests,
        "max_requests": config.max_requests,
        "max_retries": config.max_retries,
    }
    return ClusterStatus(cluster.name, endpoints, limits)


def joined(clusters: Iterable[ClusterStatus], others: Iterable[Sequence[Any]]) -> Iterator[ClusterStatus]:
    """The same with what further processes have to say, as app.worker.endpoint_rows tells it: counts are added up, and an endpoint is
    healthy where no process has ejected it."""
    told: dict[str, list[Sequence[Any]]] = {}
    for name, *row in others:
        told.setdefault(name, []).append(row)
    for cluster in clusters:
        yield _joined(cluster, told.pop(cluster.name)) if cluster.name in told else cluster
    for name, rows in told.items():
        yield _joined(ClusterStatus(name, ()), rows)


def _joined(cluster: ClusterStatus, rows: Iterable[Sequence[Any]]) -> ClusterStatus:
    ends = {(end.address, end.port): end for end in cluster.endpoints}
    for address, port, healthy, counts in rows:
        known = ends.get((address, port)) or EndpointStatus(address, port, counts=dict.fromkeys(counts, 0))
        total = {name: count + counts.get(name, 0) for name, count in known.counts.items()}
        ends[address, port] = attrs.evolve(known, healthy=known.healthy and healthy, counts=total)
    return attrs.evolve(cluster, endpoints=tuple(ends.values()))


def _endpoint_status(end: Endpoint) -> EndpointStatus:
    config, counts = end.config, {"cx_active": end.open, "rq_active": end.active}
    return EndpointStatus(
        config.address, config.port, not end.ejected, counts, config.weight, place(config.locality), config.priority
    )


def configuration(settings: Settings) -> Mapping[str, Any]:
    """The options in force, without secrets, as JSON can say them."""
    names = (field.name for field in attrs.fields(Settings) if field.name not in ("admin_token", "origins", "texts"))
    return {name: _plain(getattr(settings, name)) for name in names}


def measure_ports(counters: Counters, ports: Mapping[str, Port]) -> None:
    """Binds the metrics of connections, which are asked for and not kept."""
    for name, port in ports.items():
        counters.measure(ACTIVE, _reading(port, "open"), name)
        counters.measure(CONNECTIONS, _reading(port, "accepted"), name)
        counters.measure(REFUSED, _reading(port, "refused"), name, "limit")


def _reading(port: Port, attribute: str) -> Callable[[], float]:
    return lambda: float(getattr(port, attribute))


def _plain(value: Any) -> Any:
    if isinstance(value, Sequence | frozenset) and not isinstance(value, str):
        return sorted(map(str, value))
    return value if value is None or isinstance(value, bool | int | float | str | dict) else str(value)
