"""What TLS a cluster speaks to each of its endpoints. Source: istiod's cluster_tls.go."""

from meshcar.rules.peer_authentication import MtlsModes
from meshcar.rules.policies import Destination, UpstreamTls
from meshcar.rules.registry import Instance, KnownService
from meshcar.rules.schema_client_tls import TlsRule

SYSTEM = "system"
"""As caCertificates: the machine's trust store, which is the default too."""
_TLS_LABEL = ("security.istio.io/tlsMode", "istio")


class PeerTls:
    """For one cluster; equal values are one."""

    def __init__(
        self, service: KnownService, destination: Destination, rule: TlsRule | None, modes: MtlsModes, trust_domain: str
    ) -> None:
        self._rule, self._modes, self._trust_domain = rule, modes, trust_domain
        self._external, self._identities = service.external, service.identities
        mesh_name = f"outbound_.{destination.port}_.{destination.subset}_.{destination.host}"
        self._mesh_sni = (rule.sni if rule and rule.sni else mesh_name).encode()
        self._originated = None if rule is None else originated(rule, destination.host, service.identities)
        self._known: dict[str | None, UpstreamTls] = {}

    def of(self, instance: Instance) -> UpstreamTls | None:
        """By the DestinationRule; without one mTLS for whoever has a sidecar that takes it, inside of the mesh."""
        rule = self._rule
        if rule is not None:
            return self._mesh(instance) if rule.mode == "ISTIO_MUTUAL" else self._originated
        has_sidecar = not self._external and instance.labels.get(_TLS_LABEL[0]) == _TLS_LABEL[1]
        if has_sidecar and self._modes.mode(instance.namespace, instance.labels, instance.port) != "DISABLE":
            return self._mesh(instance)
        return None

    def _mesh(self, instance: Instance) -> UpstreamTls:
        account = instance.service_account
        identity = None if account is None else f"spiffe://{self._trust_domain}/ns/{instance.namespace}/sa/{account}"
        if identity not in self._known:
            given = self._rule.subject_alt_names if self._rule else ()
            identities = frozenset(given or (*self._identities, *filter(None, (identity,))))
            self._known[identity] = UpstreamTls("ISTIO_MUTUAL", self._mesh_sni, identities)
        return self._known[identity]


def originated(rule: TlsRule, host: str, identities: tuple[str, ...] = ()) -> UpstreamTls | None:
    """Modes SIMPLE and MUTUAL; `identities` are the service's own, for a rule that has no subjectAltNames.

    Where no `sni` is given, it is the Host of each request; where no subjectAltNames are given either, the certificate must be for
    that name. Bytes that are no HTTP have the destination's host instead, unless that is a wildcard.
    """
    if rule.mode not in ("SIMPLE", "MUTUAL"):
        return None
    by_host = not rule.sni
    sni = rule.sni or ("" if host.startswith("*") else host)
    named = by_host and not rule.subject_alt_names and not rule.insecure_skip_verify
    mutual = rule.mode == "MUTUAL"
    return UpstreamTls(
        rule.mode, sni.encode(), frozenset(rule.subject_alt_names or identities),
        ca_file=None if rule.ca_certificates in (None, "", SYSTEM) else rule.ca_certificates,
        cert_file=rule.client_certificate if mutual else None,
        key_file=rule.private_key if mutual else None,
        crl_file=rule.ca_crl or None,
        insecure_skip_verify=rule.insecure_skip_verify,
        name=sni if named else "",
        by_host=by_host,
        named=named,
    )  # fmt: skip
