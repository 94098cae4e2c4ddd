"""Which HTTPRoutes belong to which services: the parents that they name."""

from collections.abc import Iterable, Iterator, Mapping

import attrs

from meshcar.rules.problems import Path
from meshcar.rules.read import Resource
from meshcar.rules.registry import CLUSTER_DOMAIN
from meshcar.rules.schema_gateway import HTTPRoute, ParentRef
from meshcar.rules.schema_kubernetes import Service
from meshcar.rules.schema_services import ServiceEntry

Owner = tuple[str, str, str]
"""Kind, namespace and name of a Service or ServiceEntry."""


@attrs.frozen
class Attachment:
    """An HTTPRoute at a service of a namespace. `port` None is every port; `path` leads to the parentRef."""

    resource: Resource
    namespace: str
    port: int | None
    path: Path


def attachments(resources: Iterable[Resource]) -> Mapping[str, list[Attachment]]:
    """By the host of the service, oldest first, then by namespace and name."""
    resources = tuple(resources)
    routes = [one for one in resources if isinstance(one.spec, HTTPRoute)]
    hosts = parent_hosts(resources) if routes else {}
    found: dict[str, list[Attachment]] = {}
    for resource in sorted(routes, key=lambda one: (one.metadata.creation_timestamp, one.namespace, one.name)):
        for index, ref in enumerate(resource.spec.parent_refs):
            owner = owner_of(ref, resource.namespace)
            if ref.in_mesh:
                for host in hosts.get(owner, ()):
                    found.setdefault(host, []).append(Attachment(resource, owner[1], ref.port, ("spec", "parentRefs", index)))
    return found


def owner_of(ref: ParentRef, namespace: str) -> Owner:
    """What a parentRef of a route in a namespace names."""
    return (ref.kind, ref.namespace or namespace, ref.name)


def parent_hosts(resources: Iterable[Resource]) -> Mapping[Owner, tuple[str, ...]]:
    """The hosts of everything that can be a parent. A wildcard host cannot: Istio makes no routes for it."""
    return {(one.kind, one.namespace, one.name): tuple(_hosts(one)) for one in resources if isinstance(one.spec, (Service, ServiceEntry))}


def _hosts(resource: Resource) -> Iterator[str]:
    if isinstance(resource.spec, Service):
        yield f"{resource.name}.{resource.namespace}.{CLUSTER_DOMAIN}"
    else:
        yield from (host for host in resource.spec.hosts if not host.startswith("*"))
