"""What the fields of an AuthorizationPolicy ask of a caller, each as one test."""

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

import attrs

from meshcar.rules import authz_values as values
from meshcar.rules.host_names import Network
from meshcar.rules.schema_security import Operation, Source, When
from meshcar.wire.head import PSEUDO_HEADERS, RequestHead


@attrs.frozen(eq=False)
class Caller:
    """Who asks for what, as policies see it.

    `names` are those of the peer's certificate: URIs, DNS names, subject; none in plaintext. `source` is the address at the other end
    of the connection, `remote` the client's by X-Forwarded-For, `destination` and `port` where the caller meant to go. `head` is None
    where the connection is not HTTP's.
    """

    names: tuple[str, ...]
    source: str
    remote: str
    destination: str
    port: int
    sni: str = ""
    head: RequestHead | None = None


Test = Callable[[Caller], bool]


@attrs.frozen
class Clause:
    """One thing that a rule asks. Connections that are not HTTP's have nothing to compare with an `http` one."""

    holds: Test
    http: bool = False


class Clauses:
    """What a policy's fields ask of a caller. `namespace` is the policy's, `trust_domain` the mesh's."""

    def __init__(self, namespace: str, trust_domain: str) -> None:
        self._namespace = namespace
        self._trust_domain = trust_domain

    def of_source(self, source: Source) -> Iterator[Clause]:
        """Who the caller is and where it calls from."""
        yield from _clauses(self._principal, source.principals, source.not_principals)
        yield from _clauses(_of_namespace, source.namespaces, source.not_namespaces)
        yield from _clauses(self._account, source.service_accounts, source.not_service_accounts)
        yield from _clauses(_of_domain, source.trust_domains, source.not_trust_domains)
        yield from _clauses(_source_in, source.ip_blocks, source.not_ip_blocks)
        yield from _clauses(_remote_in, source.remote_ip_blocks, source.not_remote_ip_blocks)

    def of_operation(self, operation: Operation) -> Iterator[Clause]:
        """What it asks for."""
        yield from _clauses(_to_port, operation.ports, operation.not_ports)
        yield from _clauses(_with_method, operation.methods, operation.not_methods, http=True)
        yield from _clauses(_with_host, operation.hosts, operation.not_hosts, http=True)
        yield from _clauses(_on_path, operation.paths, operation.not_paths, http=True)

    def of_condition(self, condition: When) -> Iterator[Clause]:
        """One condition of `when`."""
        header = condition.header
        if header is not None:
            yield from _clauses(lambda value: _with_header(header, value), *condition.made(), http=True)
            return
        makers: dict[str, Callable[[Any], Test]] = {
            "source.ip": _source_in, "remote.ip": _remote_in, "source.namespace": _of_namespace, "source.principal": self._principal,
            "source.serviceAccount": self._account, "source.trustDomain": _of_domain, "destination.ip": _to_address,
            "destination.port": _to_port, "connection.sni": _with_server_name,
        }  # fmt: skip
        yield from _clauses(makers[condition.key], *condition.made())

    def _principal(self, given: str) -> Test:
        return _named(values.principal(values.current_principal(given, self._trust_domain)))

    def _account(self, given: str) -> Test:
        return _named(values.service_account(given, self._namespace))


def all_of(tests: Sequence[Test]) -> Test:
    """That all hold; where there is none, everything does."""
    if len(tests) == 1:
        return tests[0]
    return lambda caller: all(test(caller) for test in tests)


def any_of(tests: Sequence[Test]) -> Test:
    """That one holds."""
    if len(tests) == 1:
        return tests[0]
    return lambda caller: any(test(caller) for test in tests)


def _clauses(make: Callable[[Any], Test], given: Sequence[Any], excluded: Sequence[Any], http: bool = False) -> Iterator[Clause]:
    """That one of `given` holds, and none of `excluded`."""
    if given:
        yield Clause(any_of([make(one) for one in given]), http)
    if excluded:
        any_excluded = any_of([make(one) for one in excluded])
        yield Clause(lambda caller: not any_excluded(caller), http)


def _named(test: values.Name) -> Test:
    return lambda caller: any(map(test, caller.names))


def _of_namespace(given: str) -> Test:
    return _named(values.namespace(given))


def _of_domain(given: str) -> Test:
    return _named(values.of_trust_domain(given))


def _source_in(network: Network) -> Test:
    return lambda caller: ip_address(caller.source) in network


def _remote_in(network: Network) -> Test:
    return lambda caller: ip_address(caller.remote) in network


def _to_address(network: Network) -> Test:
    return lambda caller: ip_address(caller.destination) in network


def _to_port(port: int) -> Test:
    return lambda caller: caller.port == port


def _with_server_name(given: str) -> Test:
    fits = values.pattern(given, "*")
    return lambda caller: fits(caller.sni)


def _with_method(given: str) -> Test:
    return _with_header(":method", given)


def _with_host(given: str) -> Test:
    """On the Host with the port that it names; case does not count."""
    if given == "*":
        return _with_header(":authority", given)
    fits = values.pattern(given.lower().encode(), b"*")
    return lambda caller: fits(_head(caller).authority.lower())


def _on_path(given: str) -> Test:
    fits = values.on_path(given)
    return lambda caller: fits(_head(caller).path)


def _with_header(header: str, given: str) -> Test:
    """One line of the header matches; `*` is met by its presence, even with an empty value. Source: Envoy's HeaderMatcher."""
    name = header.encode()
    pseudo = PSEUDO_HEADERS.get(name)
    if given == "*":
        return (lambda caller: _head(caller).get(name) is not None) if pseudo is None else lambda caller: True
    fits = values.pattern(given.encode(), b"*")
    if pseudo is not None:
        return lambda caller: fits(pseudo(_head(caller)))
    return lambda caller: any(fits(value) for key, value in _head(caller).headers if key == name)


def _head(caller: Caller) -> RequestHead:
    assert caller.head is not None  # clauses on HTTP are asked of requests only
    return caller.head
