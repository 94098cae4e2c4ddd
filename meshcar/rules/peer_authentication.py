"""Which mTLS mode a workload demands of its callers: the narrowest PeerAuthentication that speaks of it."""

from collections.abc import Iterable, Mapping

from meshcar.rules.problems import Fault, Problem
from meshcar.rules.read import Resource
from meshcar.rules.schema_security import MutualTls, PeerAuthentication
from meshcar.rules.workload import ROOT_NAMESPACE, selects

_Labels = Mapping[str, str]
_Ports = Mapping[int, MutualTls]


class MtlsModes:
    """The PeerAuthentications by namespace, oldest first. UNSET means the wider one's mode.

    In the root namespace only one without labels counts, for the whole mesh. Source: Istio's PeerAuthentication, and how istiod
    composes several. `problems` are those that count for nothing.
    """

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.problems: list[Problem] = []
        self._selected: dict[str, list[tuple[_Labels, str, _Ports]]] = {}
        self._wide: dict[str, tuple[Resource, str]] = {}
        for resource in sorted((one for one in resources if isinstance(one.spec, PeerAuthentication)), key=lambda one: one.age):
            self._add(resource)

    def _add(self, resource: Resource) -> None:
        policy: PeerAuthentication = resource.spec
        namespace, mode = resource.namespace, _mode(policy.mtls)
        if policy.selector is None or not policy.selector.match_labels:
            older, _ = self._wide.setdefault(namespace, (resource, mode))
            if older is not resource:
                message = f"{older.key} ({older.source}) speaks for the whole namespace already; it counts"
                self.problems += resource.problems([Fault(("metadata", "name"), "NO_EFFECT", message)])
        elif namespace == ROOT_NAMESPACE:
            message = f"in {ROOT_NAMESPACE} only a PeerAuthentication without a selector counts, for the whole mesh"
            self.problems += resource.problems([Fault(("spec", "selector"), "NO_EFFECT", message)])
        else:
            self._selected.setdefault(namespace, []).append((policy.selector.match_labels, mode, policy.port_level_mtls or {}))

    def mode(self, namespace: str, labels: _Labels, port: int | None = None, default: str = "PERMISSIVE") -> str:
        """STRICT, PERMISSIVE or DISABLE for a workload; of one of its own ports, or of those that no policy names."""
        selected, ports = self._of_workload(namespace, labels)
        of_port = _mode(ports.get(port)) if port is not None else ""
        return of_port or selected or self._of_place(namespace) or self._of_place(ROOT_NAMESPACE) or default

    def ports(self, namespace: str, labels: _Labels) -> frozenset[int]:
        """The ports of a workload that a policy names."""
        return frozenset(self._of_workload(namespace, labels)[1])

    def _of_workload(self, namespace: str, labels: _Labels) -> tuple[str, _Ports]:
        """Of several that select a workload the oldest counts."""
        for selector, mode, ports in self._selected.get(namespace, ()):
            if selects(selector, labels):
                return mode, ports
        return "", {}

    def _of_place(self, namespace: str) -> str:
        return self._wide[namespace][1] if namespace in self._wide else ""


def _mode(rule: MutualTls | None) -> str:
    return "" if rule is None or rule.mode == "UNSET" else rule.mode
