"""Header rules of a route and of its destination merged into one list of operations, in Envoy's order."""

from collections.abc import Iterator, Mapping

from meshcar.rules.policies import HeaderChange, Operation
from meshcar.rules.schema_headers import HeaderOperations, is_authority, is_internal
from meshcar.wire.formats import Format, spelled


def header_change(route: HeaderOperations | None, destination: HeaderOperations | None, weighted: bool, host: bool) -> HeaderChange | None:
    """The changes for what goes to one destination; None if there are none. `host`: whether they may change the Host.

    Removes come first, then sets, then adds. With one destination its operations follow the route's, each kind in turn; of several
    weighted ones a destination's stand before all of the route's. Values that are empty do nothing. The Host comes last: it is
    rewritten, by text without operators. Source: Envoy's header parsers as istiod fills them.
    """
    levels = [level for level in (route, destination) if level is not None]
    operations: list[Operation] = []
    for group in [[level] for level in reversed(levels)] if weighted else [levels]:
        operations += _ordered(group)
    if host:
        operations += _host_change(route, destination, weighted)
    return HeaderChange(tuple(operations)) if operations else None


def _ordered(levels: list[HeaderOperations]) -> Iterator[Operation]:
    for level in levels:
        yield from (("remove", name.lower().encode(), ()) for name in level.remove if not is_internal(name))
    for level in levels:
        yield from (("set", name.lower().encode(), level.set[name]) for name in sorted(level.set) if _counts(name, level.set))
    for level in levels:
        yield from (("add", name.lower().encode(), level.add[name]) for name in sorted(level.add) if _counts(name, level.add))


def _host_change(route: HeaderOperations | None, destination: HeaderOperations | None, weighted: bool) -> list[Operation]:
    """A Host that the rules set or add: the route's, else the destination's. Istio makes both a host rewrite; of one for one of several
    destinations, `host` here, Envoy does not tell what the Host was."""
    for level, name in ((route, b":authority"), (destination, b"host" if weighted else b":authority")):
        for values in (level.set, level.add) if level is not None else ():
            for header, value in values.items():
                if is_authority(header) and value:
                    return [("set", name, (spelled(value).encode(),))]
    return []


def _counts(name: str, values: Mapping[str, Format]) -> bool:
    return bool(values[name]) and not is_internal(name)
