"""What becomes of a captured outgoing connection: the listener of its destination, the chains of a listener, and which one takes it.

Source: Istio's outbound listeners, Envoy's FilterChainMatch.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from itertools import chain as chained
from itertools import pairwise
from typing import Any

import attrs

from meshcar.rules.host_patterns import HostTable
from meshcar.rules.policies import shares


@attrs.frozen
class OpaqueRoute:
    """Where bytes go that are not HTTP: to one of some clusters. `shares` are cumulative and end at 1.0."""

    clusters: tuple[str, ...]
    shares: tuple[float, ...] = (1.0,)
    virtual_service: str | None = None

    @classmethod
    def weighted(cls, weights: Iterable[tuple[str, int]], virtual_service: str | None = None) -> "OpaqueRoute":
        """Of clusters and their weights, which count relative to their sum."""
        clusters, numbers = zip(*weights, strict=True)
        return cls(clusters, shares(numbers), virtual_service)

    def pick(self, roll: float) -> str:
        """The cluster on which `roll`, in [0, 1), falls."""
        return self.clusters[bisect_right(self.shares, roll) if len(self.shares) > 1 else 0]


@attrs.frozen
class Chain:
    """One way through a listener, for connections to any of `subnets` that ask for any of `names` (SNI); empty is all.

    Subnets are addresses or prefixes, a name is a host, or a wildcard. Without a `route` it serves HTTP, and takes nothing else.
    """

    route: OpaqueRoute | None = None
    names: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[bool, frozenset[str], frozenset[str]]:
        """Equal for chains that take the same connections; the first one has them. Source: istiod's conflictsWith."""
        return self.route is None, frozenset(self.names), frozenset(map(_network, self.subnets)) - {_ANY}

    @property
    def takes_all(self) -> bool:
        """Whether it takes whatever no other chain does: then it is its listener's default."""
        return self.route is not None and not self.subnets and not self.names

    def entry(self) -> dict[str, Any]:
        """The chain as the admin port shows it; no `clusters` are HTTP's."""
        route = self.route or OpaqueRoute((), ())
        shares = (end - begin for begin, end in pairwise((0.0, *route.shares)))
        clusters = [{"cluster": name, "share": round(share, 4)} for name, share in zip(route.clusters, shares, strict=True)]
        shown = {"subnets": self.subnets, "server_names": self.names, "clusters": clusters, "virtual_service": route.virtual_service}
        return {"protocol": "http" if self.route is None else "tcp", **shown}


@attrs.define
class _Served:
    """Chains that differ in nothing but whether they serve HTTP."""

    http: Chain | None = None
    opaque: Chain | None = None


_Names = HostTable[_Served]
"""By name, wildcard or not; what asks for no name stands under the empty text."""


class _Table:
    """The chains of one listener, for look-ups. The most specific subnet counts, in it the most specific name, and nothing else.

    Source: Envoy's FilterChainManagerImpl, which does not go back to a wider subnet or name either.
    """

    def __init__(self, chains: Iterable[Chain]) -> None:
        self._everywhere = _Names()
        self._subnets: dict[tuple[int, int], dict[int, _Names]] = {}
        for chain in chains:
            _, names, subnets = chain.key
            for subnet in subnets or {""}:
                of_subnet = self._of_subnet(subnet)
                for name in names or {""}:
                    served = of_subnet.setdefault("" if name == "*" else name, _Served())
                    if chain.route is None:
                        served.http = served.http or chain
                    else:
                        served.opaque = served.opaque or chain
        self._lengths = sorted(self._subnets, reverse=True)

    def _of_subnet(self, subnet: str) -> _Names:
        if not subnet:
            return self._everywhere
        network = ip_network(subnet)
        size, length = network.max_prefixlen, network.prefixlen
        return self._subnets.setdefault((size, length), {}).setdefault(int(network.network_address) >> (size - length), _Names())

    def find(self, address: str, name: str) -> _Served | None:
        names = self._names(address)
        return (names.nearest(name, least=1) if name else None) or names.get("")

    def _names(self, address: str) -> _Names:
        if self._lengths:
            given = ip_address(address)
            for size, length in self._lengths:
                if size == given.max_prefixlen:
                    found = self._subnets[size, length].get(int(given) >> (size - length))
                    if found is not None:
                        return found
        return self._everywhere


@attrs.frozen
class OutboundListener:
    """What an original destination is: `name` is its address and port, as `0.0.0.0_443` where the address does not matter.

    A connection that no chain takes goes the way of `default`; without one it goes to its original destination, or nowhere if that is
    forbidden. HTTP is routed by its Host, or, where `service` is not empty, as if that were the Host.
    """

    name: str
    chains: tuple[Chain, ...] = ()
    default: Chain | None = None
    service: bytes = b""
    _table: _Table | None = attrs.field(init=False, repr=False, eq=False)
    reads_http: bool = attrs.field(init=False, repr=False, eq=False)
    """Whether the first bytes are looked at, for HTTP."""
    reads_names: bool = attrs.field(init=False, repr=False, eq=False)
    """Whether the first bytes are looked at, for a ClientHello."""

    @_table.default
    def _make_table(self) -> _Table | None:
        return _Table(self.chains) if self.chains else None

    @reads_http.default
    def _has_http(self) -> bool:
        return any(chain.route is None for chain in self.chains)

    @reads_names.default
    def _has_names(self) -> bool:
        return any(chain.names for chain in self.chains)

    def may_speak_first(self, address: str) -> bool:
        """Whether the server at an address may: bytes that say nothing of themselves have a way there, and no name decides which."""
        return not self.reads_names and self.choose(address) is not None

    def entry(self) -> dict[str, Any]:
        """The listener as the admin port shows it."""
        default = None if self.default is None else self.default.entry()
        return {"name": self.name, "filter_chains": [chain.entry() for chain in self.chains], "default_filter_chain": default}

    def choose(self, address: str, name: str = "", http: bool = False) -> Chain | None:
        """The chain for a connection to an address, by the name that its ClientHello asks for and whether it speaks HTTP; None: none."""
        served = self._table.find(address, name.lower()) if self._table is not None and len(name) <= _LONGEST_NAME else None
        if served is None:
            return self.default
        return (served.http if http else None) or served.opaque or self.default


@attrs.frozen
class Listeners:
    """All of them: those of services at their own addresses, and those of a port at any address."""

    at: Mapping[tuple[str, int], OutboundListener] = attrs.field(factory=dict)
    anywhere: Mapping[int, OutboundListener] = attrs.field(factory=dict)

    def all(self) -> Iterator[OutboundListener]:
        """Each of them, for the operator's eyes."""
        return chained(self.at.values(), self.anywhere.values())

    def lead_to(self, cluster: str) -> bool:
        """Whether bytes that are not HTTP may go to a cluster."""
        chains = (chain for listener in self.all() for chain in (*listener.chains, listener.default) if chain is not None)
        return any(chain.route is not None and cluster in chain.route.clusters for chain in chains)

    def get(self, address: str, port: int) -> OutboundListener | None:
        """What the rules know of an original destination; None: nothing."""
        return self.at.get((address, port)) or self.anywhere.get(port)


def _network(subnet: str) -> str:
    """A subnet in one spelling, without the bits behind its prefix."""
    return str(ip_network(subnet, strict=False))


_ANY = "0.0.0.0/0"
"""Istio's way to say that the address does not matter."""
_LONGEST_NAME = 255
"""No DNS name is longer; a peer that sends one must not cost a search for each of its dots."""
