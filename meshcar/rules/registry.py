"""What is known of services: who answers on which port, under which names and addresses; and what a host name means."""

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from meshcar.rules.read import Resource

CLUSTER_DOMAIN = "svc.cluster.local"
NO_ALIASES: Mapping[str, str] = MappingProxyType({})


@attrs.frozen
class Instance:
    """One who answers for a port of a service. `service_account` is None where nothing tells it.

    `address` is an IP address or, where a service is resolved by DNS, a name. `locality` is `region/zone/subzone` or empty, `weight` a
    share among the instances.
    """

    address: str
    port: int
    namespace: str
    labels: Mapping[str, str] = attrs.field(factory=dict)
    service_account: str | None = None
    locality: str = ""
    weight: int = 1


@attrs.frozen
class ServedPort:
    """A port of a service; `protocol` is http, tcp or auto. `target` is the workloads' port unless they have it by name (None).

    `application` is the word that said the protocol, such as `https` or `mongo`, or one that said nothing.
    """

    number: int
    protocol: str
    target: int | None
    instances: tuple[Instance, ...]
    application: str = ""


@attrs.frozen(kw_only=True)
class KnownService:
    """A service. `names` are what it is called besides `host`, wildcard or not; `addresses` its virtual IPs, some with a prefix.

    `resolution` is a ServiceEntry's; a Service has STATIC, a headless one NONE. `external`: outside the mesh, so that nobody there speaks
    our mutual TLS. `identities` may be shown besides those of the instances' accounts. `selector` is None where nothing selects workloads.
    `visible`: our namespace may call it, and `public`: any may; one that is not still serves its own workloads. `imported`: requests are
    routed by its host; else only rules lead to it. `source` declares it.
    Where two want the same connections, the one whose `age` sorts first has them: when it was created, its name (a ServiceEntry's host),
    its namespace. `alias_of` is the host that a Service of the type ExternalName stands for: nobody answers for the alias itself, and its
    ports say only where rules for it count.
    """

    host: str
    namespace: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    ports: tuple[ServedPort, ...]
    source: Resource = attrs.field(eq=False, repr=False)
    selector: Mapping[str, str] | None = None
    resolution: str = "STATIC"
    external: bool = False
    identities: tuple[str, ...] = ()
    visible: bool = True
    public: bool = True
    imported: bool = True
    age: tuple[str, str, str] = ("", "", "")
    alias_of: str = ""

    @property
    def kubernetes(self) -> bool:
        """Whether a Service declares it, which goes before a ServiceEntry."""
        return self.source.kind == "Service"

    @property
    def anywhere(self) -> bool:
        """Whether it answers at every address, having none of its own, as a ServiceEntry without addresses does; each pod of a headless
        Service is meant by itself."""
        return not self.addresses and not (self.kubernetes and self.resolution == "NONE")

    @property
    def full_names(self) -> tuple[str, ...]:
        """Its host, and those of its aliases."""
        return (self.host, *(name for name in self.names if name.endswith(f".{CLUSTER_DOMAIN}")))

    def port(self, number: int) -> ServedPort | None:
        """The port of that number, if the service has it."""
        return next((one for one in self.ports if one.number == number), None)

    def speaks_http(self, number: int) -> bool:
        """Whether a port of that number speaks HTTP, or may."""
        return any(one.number == number and one.protocol != "tcp" for one in self.ports)


def aliases(services: Mapping[str, KnownService]) -> Mapping[str, str]:
    """The hosts of aliases, and what they stand for."""
    return {one.host: one.alias_of for one in services.values() if one.alias_of}


def full_name(host: str, namespace: str) -> str:
    """A host name as the rules of a namespace mean it: a name without a dot is a Service there."""
    return host if "." in host or host == "*" else f"{host}.{namespace}.{CLUSTER_DOMAIN}"


def short_names(host: str, home: str) -> tuple[str, ...]:
    """What else a host of the cluster is called; its first label alone only in its own namespace, `home`."""
    name, _, rest = host.partition(".")
    namespace = rest.removesuffix("." + CLUSTER_DOMAIN)
    if namespace == rest:
        return ()
    names = (f"{name}.{namespace}.svc", f"{name}.{namespace}")
    return (*names, name) if namespace == home and name != "*" else names
