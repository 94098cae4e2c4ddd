"""The x-forwarded-client-cert header: one element per mTLS hop, and Envoy's five ways to pass it on."""

from collections.abc import Iterable, Sequence

from meshcar.identity.peer import PeerIdentity

MODES = ("sanitize", "forward_only", "append_forward", "sanitize_set", "always_forward_only")
"""Source: Envoy's forward_client_cert_details."""

DETAILS = ("cert", "chain", "subject", "uri", "dns")
"""What an element may carry besides By and Hash, in the order in which it does. Source: Envoy's set_current_client_cert_details."""

_DELIMITERS = frozenset(',;="\\')


def element(peer: PeerIdentity, own_uri: str, details: Iterable[str]) -> bytes:
    """What the header says of `peer`, made once per connection. `own_uri` is the id we showed it; `details` of DETAILS.

    `By=...;Hash=...;Cert="...";Chain="...";Subject="...";URI=...;URI=...;DNS=...`, as Envoy writes it: no URI is an empty `URI=`,
    no DNS name none at all. A name that holds a delimiter is quoted, which Envoy fails to do.
    """
    parts = [f"By={_quoted(own_uri)}", f"Hash={peer.hash}"]
    for detail in sorted(details, key=DETAILS.index):
        match detail:
            case "cert":
                parts.append(f'Cert="{peer.cert_pem}"')
            case "chain":
                parts.append(f'Chain="{peer.chain_pem}"')
            case "subject":
                parts.append(f'Subject="{peer.subject}"')
            case "uri":
                parts.extend(f"URI={_quoted(uri)}" for uri in peer.uris or ("",))
            case "dns":
                parts.extend(f"DNS={_quoted(name)}" for name in peer.dns)
    return ";".join(parts).encode()


def forward(mode: str, incoming: Sequence[bytes], element: bytes | None, mtls: bool) -> bytes | None:
    """The value of the one header that goes on, or None for none.

    `incoming` are the values of a request's header lines; `element` is ours about the peer; `mtls` says that the peer proved
    an identity on this connection: without it only always_forward_only lets anything through.
    """
    if mode == "always_forward_only" or (mode == "forward_only" and mtls):
        return b",".join(filter(None, incoming)) if incoming else None
    if mode == "sanitize" or not mtls or element is None:
        return None
    if mode == "sanitize_set":
        return element
    return b",".join([*filter(None, incoming), element])


def _quoted(value: str) -> str:
    if _DELIMITERS.isdisjoint(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
