"""Header rules of a route and of its destination merged into one list of operations, in Envoy's order."""

from collections.abc import Iterator

from meshcar.rules.policies import HeaderChange
from meshcar.rules.schema_routes import HeaderOperations
from meshcar.wire.formats import Format

_HOST = (":authority", "host")

Operation = tuple[str, bytes, Format]


def header_change(route: HeaderOperations | None, destination: HeaderOperations | None, weighted: bool, host: bool) -> HeaderChange | None:
    """The changes for what goes to one destination; None if there are none. `host`: whether they may change the Host.

    Removes come first, then sets, then adds. With one destination its operations follow the route's, each kind in turn; of several
    weighted ones a destination's stand before all of the route's. Values that are empty do nothing. Source: Envoy's header
    parsers as istiod fills them.
    """
    levels = [level for level in (route, destination) if level is not None]
    operations: list[Operation] = []
    if host:
        operations += _host_change(levels)
    for group in [[level] for level in reversed(levels)] if weighted else [levels]:
        operations += _ordered(group)
    return HeaderChange(tuple(operations)) if operations else None


def _ordered(levels: list[HeaderOperations]) -> Iterator[Operation]:
    for level in levels:
        yield from (("remove", name.encode(), ()) for name in level.remove if _is_plain(name))
    for level in levels:
        yield from (("set", name.encode(), level.set[name]) for name in sorted(level.set) if _is_plain(name) and level.set[name])
    for level in levels:
        yield from (("add", name.encode(), level.add[name]) for name in sorted(level.add) if _is_plain(name) and level.add[name])


def _host_change(levels: list[HeaderOperations]) -> list[Operation]:
    """A Host that the rules set or add: the route's, else the destination's. Istio makes both a host rewrite."""
    for level in levels:
        for values in (level.set, level.add):
            for name in _HOST:
                if values.get(name):
                    return [("set", b":authority", values[name])]
    return []


def _is_plain(name: str) -> bool:
    return not name.startswith(":") and name != "host"
