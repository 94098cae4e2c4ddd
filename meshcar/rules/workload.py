"""Who this sidecar stands beside: what decides which rules are meant for it."""

from collections.abc import Mapping

import attrs

ROOT_NAMESPACE = "istio-system"
"""Whose rules hold for the whole mesh."""


@attrs.frozen
class Workload:
    """The workload's own identity and labels. `default_mtls` holds where no PeerAuthentication says otherwise."""

    trust_domain: str = "cluster.local"
    namespace: str = "default"
    service_account: str = "default"
    labels: Mapping[str, str] = attrs.field(factory=dict)
    default_mtls: str = "PERMISSIVE"


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether labels hold everything that a selector asks for."""
    return all(labels.get(name) == value for name, value in selector.items())
