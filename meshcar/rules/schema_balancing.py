"""Istio's LoadBalancerSettings of a DestinationRule as frozen values, field by field.

How a class becomes a reader of YAML: `meshcar.rules.shapes`. Source:
https://istio.io/latest/docs/reference/config/networking/destination-rule/#LoadBalancerSettings
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import attrs

from meshcar.rules import units
from meshcar.rules.localities import TOPOLOGY, overlaps
from meshcar.rules.problems import Fault, repeated


def cookie_part(value: object) -> str:
    """Text that may stand in a Set-Cookie header between semicolons (RFC 6265, section 4.1.1)."""
    given = units.text(value)
    if not given.isascii() or not given.isprintable() or ";" in given:
        raise ValueError("must be printable ASCII without a semicolon")
    return given


def cookie_name(value: object) -> str:
    """A cookie's name (RFC 6265, section 4.1.1)."""
    given = cookie_part(value)
    if any(c in ' "(),/:<=>?@[\\]{}' for c in given):
        raise ValueError("must be a cookie's name: no blanks and none of the separators of HTTP")
    return given


def query_name(value: object) -> str:
    """A query parameter's name as it stands in a request line, percent-encoded."""
    given = units.path_text(value)
    if not given:
        raise ValueError("must be the name of a query parameter")
    return given


def positive(value: object) -> float:
    """A number greater than 0."""
    if type(value) is not int and type(value) is not float:
        raise units.WrongType("a number")
    if not 0 < value < math.inf:
        raise ValueError("must be greater than 0")
    return float(value)


Duration = Annotated[float, units.duration]
_MAX_RING = 8 << 20
_MAX_TABLE = 5000011
_SHORTEST = 0.001


@attrs.frozen
class CookieAttribute:
    """Source: HTTPCookie.Attribute."""

    name: Annotated[str, cookie_part]
    value: Annotated[str, cookie_part] = ""

    def faults(self) -> Iterator[Fault]:
        if not self.name:
            yield Fault(("name",), "REQUIRED", "an attribute needs a name")


@attrs.frozen
class HttpCookie:
    """Source: ConsistentHashLB.HTTPCookie. Without ttl no cookie is made; with 0 it lasts as long as the browser's session."""

    name: Annotated[str, cookie_name]
    path: Annotated[str, cookie_part] = ""
    ttl: Duration | None = None
    attributes: tuple[CookieAttribute, ...] = ()

    def faults(self) -> Iterator[Fault]:
        if not self.name:
            yield Fault(("name",), "REQUIRED", "a cookie needs a name")
        yield from repeated((one.name for one in self.attributes), "attributes", "name")


@attrs.frozen
class RingHash:
    """Source: ConsistentHashLB.RingHash."""

    minimum_ring_size: Annotated[int, units.count] = 0

    def faults(self) -> Iterator[Fault]:
        yield from _ring_faults(self.minimum_ring_size)


@attrs.frozen
class Maglev:
    """Source: ConsistentHashLB.MagLev."""

    table_size: Annotated[int, units.count] = 0

    def faults(self) -> Iterator[Fault]:
        if not self.table_size:
            yield Fault(("tableSize",), "REQUIRED", "maglev needs a tableSize, such as 65537")
        elif not 1 < self.table_size < _MAX_TABLE or not _is_prime(self.table_size):
            yield Fault(("tableSize",), "INVALID_VALUE", f"tableSize must be a prime number less than {_MAX_TABLE}, such as 65537")


@attrs.frozen
class ConsistentHash:
    """Source: LoadBalancerSettings.ConsistentHashLB."""

    http_header_name: Annotated[str, units.header_name] | None = None
    http_cookie: HttpCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: Annotated[str, query_name] | None = None
    ring_hash: RingHash | None = None
    maglev: Maglev | None = None
    minimum_ring_size: Annotated[int, units.count] = 0

    def faults(self) -> Iterator[Fault]:
        keys = {
            "httpHeaderName": self.http_header_name, "httpCookie": self.http_cookie, "useSourceIp": self.use_source_ip,
            "httpQueryParameterName": self.http_query_parameter_name,
        }  # fmt: skip
        yield from _at_most_one(keys)
        yield from _at_most_one({"ringHash": self.ring_hash, "maglev": self.maglev})
        if self.minimum_ring_size:
            path = ("minimumRingSize",)
            if self.ring_hash is not None or self.maglev is not None:
                yield Fault(path, "CONFLICT", "minimumRingSize is the old ringHash.minimumRingSize; only one of those and maglev may stand")
            yield Fault(path, "DEPRECATED", "minimumRingSize is deprecated; write ringHash.minimumRingSize")
            yield from _ring_faults(self.minimum_ring_size)


@attrs.frozen
class Distribute:
    """Source: LocalityLoadBalancerSetting.Distribute. `to` gives a percentage for each locality; together 100."""

    SPELLINGS: ClassVar = {"origin": ("from",)}

    origin: str = ""
    to: Mapping[str, Annotated[int, units.count]] = attrs.field(factory=dict)

    def faults(self) -> Iterator[Fault]:
        wrong = [name for name, weight in self.to.items() if not 1 <= weight <= 100]
        for name in wrong:
            yield Fault(("to", name), "INVALID_VALUE", "a locality's weight must lie between 1 and 100")
        total = sum(self.to.values())
        if not wrong and total != 100:
            yield Fault(("to",), "INVALID_VALUE", f"the weights of all localities must sum up to 100, not {total}")
        for index, why in overlaps(self.to):
            yield Fault(("to", tuple(self.to)[index]), "INVALID_VALUE", why, at_key=True)


@attrs.frozen
class Failover:
    """Source: LocalityLoadBalancerSetting.Failover: which region takes over from which."""

    SPELLINGS: ClassVar = {"origin": ("from",)}

    origin: str = ""
    to: str = ""

    def faults(self) -> Iterator[Fault]:
        if self.origin == self.to:
            yield Fault((), "INVALID_VALUE", "from and to must be different regions")
        for field, region in (("from", self.origin), ("to", self.to)):
            if "/" in region or "*" in region:
                yield Fault((field,), "INVALID_VALUE", f"{field} must be a region, without / and *")


@attrs.frozen
class LocalitySetting:
    """Source: LocalityLoadBalancerSetting."""

    enabled: bool | None = None
    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()

    def faults(self) -> Iterator[Fault]:
        if self.distribute and self.failover:
            yield Fault(("failover",), "CONFLICT", "distribute and failover must not be given together")
            return
        clash = next((index for index, label in enumerate(self.failover_priority) if label in TOPOLOGY), None)
        if self.failover and clash is not None:
            message = f"with failover, failoverPriority must not name {self.failover_priority[clash]}"
            yield Fault(("failoverPriority", clash), "CONFLICT", message)
        for index, why in overlaps(one.origin for one in self.distribute):
            yield Fault(("distribute", index, "from"), "INVALID_VALUE", why)
        if self.distribute and self.failover_priority:
            yield Fault(("failoverPriority",), "NO_EFFECT", "failoverPriority does nothing beside distribute")


@attrs.frozen
class ZoneAwareSetting:
    """Source: ZoneAwareLoadBalancerSetting. It keeps requests in the own region; zones in it count alike, as with Istio where a proxy
    does not discover itself (ISTIO_META_ENABLE_SELF_DISCOVERY, which is off by default)."""

    enabled: bool | None = None
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    min_cluster_size: Annotated[int, units.count] | None = None

    def faults(self) -> Iterator[Fault]:
        for index, label in enumerate(self.failover_priority):
            if label in TOPOLOGY:
                message = f"failoverPriority must not name {label}: regions and zones have their order already"
                yield Fault(("failoverPriority", index), "INVALID_VALUE", message)
        if self.min_cluster_size == 0:
            yield Fault(("minClusterSize",), "INVALID_VALUE", "minClusterSize must be at least 1")
        if self.enabled is not False:
            message = "requests stay in the region, but all its zones count alike, as with Istio unless proxies discover themselves"
            yield Fault((), "NO_EFFECT", message)


@attrs.frozen(kw_only=True)
class WarmupRule:
    """Source: WarmupConfiguration."""

    duration: Annotated[float, units.timespan]
    minimum_percent: Annotated[float, units.percent] | None = None
    aggression: Annotated[float, positive] | None = None


@attrs.frozen
class LoadBalancer:
    """Source: LoadBalancerSettings. LEAST_CONN is the old word for LEAST_REQUEST."""

    simple: Literal["UNSPECIFIED", "LEAST_REQUEST", "LEAST_CONN", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH"] | None = None
    consistent_hash: ConsistentHash | None = None
    locality_lb_setting: LocalitySetting | None = None
    zone_aware_lb_setting: ZoneAwareSetting | None = None
    warmup: WarmupRule | None = None
    warmup_duration_secs: Duration | None = None

    def faults(self) -> Iterator[Fault]:
        yield from _at_most_one({"simple": self.simple, "consistentHash": self.consistent_hash})
        yield from _at_most_one({"localityLbSetting": self.locality_lb_setting, "zoneAwareLbSetting": self.zone_aware_lb_setting})
        yield from _at_most_one({"warmup": self.warmup, "warmupDurationSecs": self.warmup_duration_secs})
        if self.simple == "LEAST_CONN":
            yield Fault(("simple",), "DEPRECATED", "LEAST_CONN is deprecated; write LEAST_REQUEST")
        if self.warmup_duration_secs is not None:
            yield Fault(("warmupDurationSecs",), "DEPRECATED", "warmupDurationSecs is deprecated; write warmup.duration")
            if self.warmup_duration_secs < _SHORTEST:
                yield Fault(("warmupDurationSecs",), "INVALID_VALUE", "warmupDurationSecs must be at least 1ms")
        field = "warmup" if self.warmup else "warmupDurationSecs" if self.warmup_duration_secs else None
        if field and (self.consistent_hash is not None or self.simple in ("RANDOM", "PASSTHROUGH")):
            yield Fault((field,), "NO_EFFECT", f"{field} does something only with ROUND_ROBIN and LEAST_REQUEST")


def failover_faults(rule: LoadBalancer | None, outlier_detection: object) -> Iterator[Fault]:
    """What a trafficPolicy says of a failover that never comes, as nothing tells which endpoints are down."""
    if rule is None or outlier_detection is not None:
        return
    for field, setting in (("localityLbSetting", rule.locality_lb_setting), ("zoneAwareLbSetting", rule.zone_aware_lb_setting)):
        if setting is not None and (setting.failover or setting.failover_priority):
            message = "without outlierDetection no endpoint counts as down, and nothing fails over"
            yield Fault(("loadBalancer", field), "NO_EFFECT", message)


def _at_most_one(fields: Mapping[str, object]) -> Iterator[Fault]:
    given = [name for name, value in fields.items() if value is not None]
    for name in given[1:]:
        yield Fault((name,), "CONFLICT", f"only one of {', '.join(fields)} may be given")


def _ring_faults(size: int) -> Iterator[Fault]:
    if size > _MAX_RING:
        yield Fault(("minimumRingSize",), "INVALID_VALUE", f"minimumRingSize must be at most {_MAX_RING}")


def _is_prime(number: int) -> bool:
    return number == 2 or (number % 2 == 1 and all(number % factor for factor in range(3, math.isqrt(number) + 1, 2)))
