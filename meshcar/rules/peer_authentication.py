"""Which mTLS mode a workload demands of its callers: the narrowest PeerAuthentication that speaks of it."""

from collections.abc import Iterable, Mapping

from meshcar.rules.read import Resource
from meshcar.rules.schema_services import PeerAuthentication
from meshcar.rules.workload import selects

ROOT_NAMESPACE = "istio-system"


class MtlsModes:
    """The PeerAuthentications by namespace, oldest first. Source: Istio's PeerAuthentication; UNSET means the wider one's mode."""

    def __init__(self, resources: Iterable[Resource], default: str) -> None:
        self._default = default
        self._selected: dict[str, list[PeerAuthentication]] = {}
        self._wide: dict[str, PeerAuthentication] = {}
        ours = (one for one in resources if isinstance(one.spec, PeerAuthentication))
        for resource in sorted(ours, key=lambda one: one.metadata.creation_timestamp):
            policy: PeerAuthentication = resource.spec
            if policy.selector and policy.selector.match_labels:
                self._selected.setdefault(resource.namespace, []).append(policy)
            else:
                self._wide.setdefault(resource.namespace, policy)

    def mode(self, namespace: str, labels: Mapping[str, str], port: int | None = None) -> str:
        """STRICT, PERMISSIVE or DISABLE for a workload; of one of its own ports, or of those that no policy names."""
        for policy in self._selected.get(namespace, ()):
            if policy.selector is not None and selects(policy.selector.match_labels, labels):
                of_port = policy.port_level_mtls.get(port) if port is not None else None
                for rule in (of_port, policy.mtls):
                    if rule is not None and rule.mode != "UNSET":
                        return rule.mode
                break
        for wide in (self._wide.get(namespace), self._wide.get(ROOT_NAMESPACE)):
            if wide is not None and wide.mtls is not None and wide.mtls.mode != "UNSET":
                return wide.mtls.mode
        return self._default

    def ports(self, namespace: str, labels: Mapping[str, str]) -> frozenset[int]:
        """The ports of a workload that a policy names."""
        for policy in self._selected.get(namespace, ()):
            if policy.selector is not None and selects(policy.selector.match_labels, labels):
                return frozenset(policy.port_level_mtls)
        return frozenset()
