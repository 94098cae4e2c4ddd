"""Host names and addresses as Istio's validation takes them: one value each, checked and made.

The functions of one argument are used as those of `units`: they raise WrongType or ValueError with what would be right.
"""

import ipaddress
import re

from meshcar.rules.units import LABEL, NotSupported, text

_PREFIX_LENGTH = re.compile(r"(0|[1-9][0-9]{0,2})\Z")
_FIRST_LABEL = re.compile(r"\*(-?[a-z0-9]([-a-z0-9]*[a-z0-9])?)?\Z")
_LONGEST, _LONGEST_LABEL = 255, 63
UNIX = "unix://"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def fqdn(value: object) -> str:
    """A DNS name in lower case, without a wildcard; a dot at its end is allowed. Source: Istio's ValidateFQDN."""
    given = text(value).lower()
    labels = given.removesuffix(".").split(".")
    if not 0 < len(given) <= _LONGEST or not all(map(LABEL.match, labels)):
        raise ValueError("must be a DNS name: labels of letters, digits and '-', joined by dots")
    if given[-1:] != "." and labels[-1].isdigit():
        raise ValueError("is no DNS name: its last label is a number")
    return given


def wildcard_domain(value: object) -> str:
    """A DNS name, `*` or `*.` before one, or `*`. Source: Istio's ValidateWildcardDomain."""
    given = text(value).lower()
    first, dot, rest = given.partition(".")
    if not given.startswith("*"):
        return given if not dot and LABEL.match(given) else fqdn(given)
    if len(given) > _LONGEST or len(first) > _LONGEST_LABEL or not _FIRST_LABEL.match(first):
        raise ValueError("must be a DNS name with * for its first label or for the beginning of it: *.example.com, *-api.example.com, *")
    return first + dot + fqdn(rest) if dot else given


def destination_host(value: object) -> str:
    """A host to send to, which may be a wildcard under which a ServiceEntry stands. Source: istiod's validateDestination."""
    given = text(value)
    if given == "*":
        raise ValueError("must name a host; requests cannot be sent to *")
    if is_address(given):
        raise ValueError("must be a host name, not an address; a ServiceEntry gives an address a name")
    return wildcard_domain(given)


def network_of(value: object) -> Network:
    """An IP address, or an address and the length of a prefix, `10.1.0.0/16`; bits behind it do not count."""
    given = text(value)
    _, slash, length = given.partition("/")
    try:
        if "%" in given or (slash and not _PREFIX_LENGTH.match(length)):
            raise ValueError
        return ipaddress.ip_network(given, strict=False)
    except ValueError:
        raise ValueError("must be an IP address or a range such as 10.1.0.0/16") from None


def subnet(value: object) -> str:
    """An IP address, or a range of them as `10.0.0.0/8`; a range of one is an address. Source: Istio's ValidateIPSubnet."""
    network = network_of(value)
    return str(network.network_address if network.num_addresses == 1 else network)


def entry_address(value: object) -> str:
    """The address of a WorkloadEntry: an IP address in its shortest spelling, or a DNS name; "" is none."""
    given = text(value)
    if not given or is_address(given):
        return str(ipaddress.ip_address(given)) if given else ""
    if given.startswith(UNIX):
        raise NotSupported("is a Unix socket, which is not supported as an endpoint")
    try:
        return fqdn(given)
    except ValueError:
        raise ValueError("must be an IP address or a DNS name without a wildcard") from None


def is_address(host: str) -> bool:
    """Whether a text is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
