"""The parts of the process that the data path uses, handed to it once."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from meshcar.current import Current
from meshcar.net.splice import Pipes
from meshcar.net.timeouts import Timeouts
from meshcar.net.tls import TlsContexts
from meshcar.observe.accesslog import AccessLog
from meshcar.observe.counters import Counters
from meshcar.observe.traffic import Party
from meshcar.rules.host_names import Network
from meshcar.rules.snapshot import Snapshot
from meshcar.upstream.clusters import Clusters
from meshcar.wire.trace import Ids


@attrs.frozen(kw_only=True)
class Manner:
    """How the sidecar treats requests: the options that the data path obeys. Percentages run from 0 to 100."""

    intercept: str
    path_normalization: str
    internal_addresses: tuple[Network, ...]
    tracing: str
    trace_sampling: float
    outbound_allow_any: bool
    shadow_suffix: bool
    mirror_limit: int
    mirror_window: int
    forward_client_cert: str
    client_cert_details: frozenset[str]
    app_address: str | None
    app_port: int | None
    namespace: str
    labels: Mapping[str, str]
    own_uri: Callable[[], str]
    hostname: str = "-"

    def party(self) -> Party:
        """This workload, as metrics name it."""
        return Party(self.namespace, self.own_uri(), self.labels)


@attrs.frozen(kw_only=True)
class Parts:
    """Made by the process. `clock` is an IReactorTime, `roll` gives chance in [0, 1), `is_own` knows our own listeners."""

    reactor: Any
    timeouts: Timeouts
    roll: Callable[[], float]
    ids: Ids
    snapshot: Current[Snapshot]
    contexts: Current[TlsContexts]
    clusters: Clusters
    log: AccessLog
    counters: Counters
    pipes: Pipes
    manner: Manner
    is_own: Callable[[str, int], bool]
