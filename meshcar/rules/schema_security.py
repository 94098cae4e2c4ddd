"""Istio's PeerAuthentication and AuthorizationPolicy as frozen values, field by field.

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import attrs

from meshcar.rules import authz_values, host_names, units
from meshcar.rules.problems import Fault, at_most, shorten

# Source of these limits: Istio's CustomResourceDefinitions
_LONGEST_LABEL = 63
_LONGEST_NAME = 253
_MOST_LABELS = 4096
_MOST_RULES = 512
_MOST_SOURCES = 512
_MOST_TARGETS = 16


@attrs.frozen
class LabelSelector:
    """Which workloads, by labels that they must have. Source: WorkloadSelector of istio.type."""

    match_labels: Mapping[str, str] = attrs.field(factory=dict)

    def faults(self) -> Iterator[Fault]:
        for name, value in self.match_labels.items():
            where = ("matchLabels", name)
            if not name:
                yield Fault(where, "INVALID_VALUE", "a label's name must not be empty", at_key=True)
            if "*" in name or "*" in value:
                yield Fault(where, "INVALID_VALUE", f"{shorten(name)}={shorten(value)}: a selector knows no wildcards")
            if len(value) > _LONGEST_LABEL:
                yield Fault(where, "INVALID_VALUE", f"a label's value has at most {_LONGEST_LABEL} characters, not {len(value)}")
        yield from at_most(self.match_labels, "matchLabels", _MOST_LABELS)
        if not self.match_labels:
            yield Fault((), "NO_EFFECT", "a selector without labels selects every workload, as no selector does")


@attrs.frozen
class MutualTls:
    """Source: PeerAuthentication.MutualTLS."""

    mode: Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"] = "UNSET"


@attrs.frozen
class PeerAuthentication:
    """Which mTLS mode workloads demand of their callers: of the mesh, a namespace, or those that `selector` chooses."""

    selector: LabelSelector | None = None
    mtls: MutualTls | None = None
    port_level_mtls: Mapping[Annotated[int, units.port_key], MutualTls] | None = None

    def faults(self) -> Iterator[Fault]:
        if self.port_level_mtls is None:
            return
        if not self.port_level_mtls:
            yield Fault(("portLevelMtls",), "REQUIRED", "portLevelMtls names no port; leave it out")
        if not (self.selector and self.selector.match_labels):
            yield Fault(("portLevelMtls",), "CONFLICT", "portLevelMtls needs a selector with labels")


# -- AuthorizationPolicy

Texts = tuple[Annotated[str, authz_values.some_text], ...]
Accounts = tuple[Annotated[str, authz_values.account], ...]
Domains = tuple[Annotated[str, authz_values.trust_domain], ...]
Blocks = tuple[Annotated[host_names.Network, authz_values.block], ...]
Ports = tuple[Annotated[int, authz_values.port], ...]
Paths = tuple[Annotated[str, authz_values.path], ...]


@attrs.frozen
class Source:
    """Who asks; all that is given must hold, and of a list one. Requests have no principal of their own without RequestAuthentication."""

    REFUSED: ClassVar = frozenset({"requestPrincipals", "notRequestPrincipals"})

    principals: Texts = ()
    not_principals: Texts = ()
    namespaces: Texts = ()
    not_namespaces: Texts = ()
    service_accounts: Accounts = ()
    not_service_accounts: Accounts = ()
    trust_domains: Domains = ()
    not_trust_domains: Domains = ()
    ip_blocks: Blocks = ()
    not_ip_blocks: Blocks = ()
    remote_ip_blocks: Blocks = ()
    not_remote_ip_blocks: Blocks = ()

    def faults(self) -> Iterator[Fault]:
        if self == Source():
            yield Fault((), "REQUIRED", "source says nothing; for any source leave from out")
        accounts = (("serviceAccounts", self.service_accounts), ("notServiceAccounts", self.not_service_accounts))
        for field, given in accounts:
            if given and (self.principals or self.not_principals or self.namespaces or self.not_namespaces):
                yield Fault((field,), "CONFLICT", f"{field} cannot stand beside principals or namespaces")
            yield from at_most(given, field, authz_values.MAX_ACCOUNTS)


@attrs.frozen
class From:
    """One of the sources that a rule speaks of."""

    source: Source


@attrs.frozen
class Operation:
    """What is asked for; all that is given must hold, and of a list one. All but the ports are HTTP's."""

    hosts: Texts = ()
    not_hosts: Texts = ()
    ports: Ports = ()
    not_ports: Ports = ()
    methods: Texts = ()
    not_methods: Texts = ()
    paths: Paths = ()
    not_paths: Paths = ()

    def faults(self) -> Iterator[Fault]:
        if self == Operation():
            yield Fault((), "REQUIRED", "operation says nothing; for any operation leave to out")


@attrs.frozen
class To:
    """One of the operations that a rule speaks of."""

    operation: Operation


_HEADER_KEY = re.compile(r"request\.headers\[(:?[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256})\]")
_KEYS: Mapping[str, Callable[[object], Any]] = {
    "source.ip": authz_values.block,
    "remote.ip": authz_values.block,
    "source.namespace": authz_values.some_text,
    "source.principal": authz_values.some_text,
    "source.serviceAccount": authz_values.account,
    "source.trustDomain": authz_values.starred,
    "destination.ip": authz_values.block,
    "destination.port": authz_values.port,
    "connection.sni": authz_values.some_text,
}
"""Keys of a condition, and what their values may be. Source: Istio, Authorization Policy Conditions."""
_REFUSED_KEYS: Mapping[str, str] = {
    "request.auth.": "needs RequestAuthentication, which is not supported",
    "experimental.envoy.filters.": "speaks of filters that meshcar does not have",
}


@attrs.frozen
class When:
    """One more condition of a rule, on what the key names: `source.ip` and the like, or `request.headers[NAME]`."""

    key: Annotated[str, authz_values.some_text]
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()

    def made(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Values and notValues as what the key makes of them."""
        make = _KEYS.get(self.key, authz_values.some_text)
        return tuple(map(make, self.values)), tuple(map(make, self.not_values))

    @property
    def header(self) -> str | None:
        """The header that the key names, in lower case; None for another key."""
        match = _HEADER_KEY.fullmatch(self.key)
        return match[1].lower() if match else None

    def faults(self) -> Iterator[Fault]:
        refused = next((why for start, why in _REFUSED_KEYS.items() if self.key.startswith(start)), None)
        if refused is not None:
            yield Fault(("key",), "UNSUPPORTED_FIELD", f"the key {shorten(self.key)} {refused}")
            return
        if self.key not in _KEYS and self.header is None:
            yield Fault(("key",), "INVALID_VALUE", f"key {shorten(self.key)}: must be one of {', '.join(_KEYS)}, request.headers[NAME]")
        if not self.values and not self.not_values:
            yield Fault((), "REQUIRED", "at least one of values and notValues is needed")
        make = _KEYS.get(self.key, authz_values.some_text)
        for field, given in (("values", self.values), ("notValues", self.not_values)):
            for index, one in enumerate(given):
                try:
                    make(one)
                except ValueError as why:
                    yield Fault((field, index), "INVALID_VALUE", f"a value of {self.key} {shorten(repr(one))}: {why}")
            if self.key == "source.serviceAccount":
                yield from at_most(given, field, authz_values.MAX_ACCOUNTS)


@attrs.frozen
class AuthorizationRule:
    """Matches what comes from one of the sources, asks for one of the operations, and meets all conditions. Empty: everything."""

    SPELLINGS: ClassVar = {"sources": ("from",), "operations": ("to",), "conditions": ("when",)}

    sources: tuple[From, ...] | None = None
    operations: tuple[To, ...] | None = None
    conditions: tuple[When, ...] = ()

    def faults(self) -> Iterator[Fault]:
        for field, given in (("from", self.sources), ("to", self.operations)):
            if given == ():
                yield Fault((field,), "REQUIRED", f"{field} names nothing; leave it out if anything will do")
        yield from at_most(self.sources, "from", _MOST_SOURCES)

    def is_wider_on_tcp(self) -> bool:
        """Whether a DENY may refuse connections without HTTP that nobody thought of, as it names no port. Source: istiod's validation."""
        operations = [one.operation for one in self.operations or ()]
        by_port = any(one.ports or one.not_ports for one in operations) or any(one.key == "destination.port" for one in self.conditions)
        only_headers = bool(self.conditions) and all(one.header is not None for one in self.conditions)
        return not by_port and (bool(operations) or (only_headers and not self.sources))


_GATEWAY_API = "gateway.networking.k8s.io"
_TARGETS = frozenset({
    ("", "Service"), ("core", "Service"), ("networking.istio.io", "ServiceEntry"), (_GATEWAY_API, "Gateway"),
    (_GATEWAY_API, "GatewayClass"),
})  # fmt: skip


@attrs.frozen
class TargetReference:
    """Source: PolicyTargetReference of istio.type."""

    kind: str
    name: Annotated[str, authz_values.some_text]
    group: str = ""
    namespace: str = ""

    def faults(self) -> Iterator[Fault]:
        if len(self.name) > _LONGEST_NAME:
            yield Fault(("name",), "INVALID_VALUE", f"a name has at most {_LONGEST_NAME} characters, not {len(self.name)}")
        if self.namespace:
            yield Fault(("namespace",), "INVALID_VALUE", "a target is in the policy's own namespace; leave namespace out")
        if (self.group, self.kind) not in _TARGETS:
            known = ", ".join(f"{group or 'core'}/{kind}" for group, kind in sorted(_TARGETS) if group != "core")
            yield Fault(("kind",), "INVALID_VALUE", f"{shorten(self.group)}/{shorten(self.kind)}: a target is one of {known}")


@attrs.frozen
class AuthorizationPolicy:
    """Who may do what with workloads of its namespace, or of the mesh if that is the root's. One with targets is not for sidecars."""

    REFUSED: ClassVar = frozenset({"provider"})

    selector: LabelSelector | None = None
    target_ref: TargetReference | None = None
    target_refs: tuple[TargetReference, ...] = ()
    action: Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"] = "ALLOW"
    rules: tuple[AuthorizationRule, ...] = ()

    def faults(self) -> Iterator[Fault]:
        if self.action == "CUSTOM":
            yield Fault(("action",), "UNSUPPORTED_FIELD", "the action CUSTOM, which asks an external authorizer, is not supported")
        if self.action == "DENY" and not self.rules:
            yield Fault(("rules",), "REQUIRED", "DENY without rules would never refuse anything; a rule {} refuses everything")
        yield from at_most(self.rules, "rules", _MOST_RULES)
        yield from at_most(self.target_refs, "targetRefs", _MOST_TARGETS)
        chosen = [("selector", self.selector), ("targetRef", self.target_ref), ("targetRefs", self.target_refs or None)]
        given = [field for field, value in chosen if value is not None]
        if len(given) > 1:
            yield Fault((given[-1],), "CONFLICT", f"only one of {' and '.join(given)} may be given")
        elif given and given[0] != "selector":
            message = f"a policy with {given[0]} is for gateways and waypoints; sidecars pass it over, as in Istio"
            yield Fault((given[0],), "NO_EFFECT", message)
        for index, rule in enumerate(self.rules if self.action == "DENY" else ()):
            if rule.is_wider_on_tcp():
                message = "connections that are not HTTP are refused whatever it asks of HTTP; say the ports that it is for"
                yield Fault(("rules", index), "DENIES_TCP", message)
