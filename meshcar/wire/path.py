"""Normal forms of request paths, so that rules see one spelling of each."""

import re

from meshcar.errors import BadMessage

MODES = ("none", "base", "merge_slashes", "decode_and_merge_slashes")
"""Istio's pathNormalization, in lower case."""

_UNTOUCHED = bytes(set(range(0x21, 0x7F)) - set(b'%\\#"<>`{}|^'))
"""Bytes that mean nothing here, in a path or a query; a slash does only before a dot or a slash."""
_DOT_PARAMETERS = re.compile(rb"(?<=/)(\.\.?);[^/]*")
_SPELLED = re.compile(rb'%([0-9A-Fa-f]{2})|[\x00-\x20"<>`{|}^\x7f-\xff]')
_SLASHES = re.compile(rb"%(?:(2[Ff])|5[Cc])")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def normalise(target: bytes, mode: str) -> bytes:
    """The normal form of a target in origin form, query untouched; any other form (`*`) comes back as it is.

    `mode` is one of MODES. A fragment is dropped in all of them. `base` resolves dot segments, turns a backslash into a slash and
    decodes unreserved characters (RFC 3986, section 6.2.2); `merge_slashes` makes one slash of several; `decode_and_merge_slashes`
    takes %2F and %5C for slashes first. Raises BadMessage (400, empty body, as Envoy) on a NUL, encoded or not.
    Source: Istio MeshConfig.ProxyPathNormalization; details as Envoy 1.40 does them.
    """
    if not target.translate(None, _UNTOUCHED) and b"/." not in target and (mode == "base" or b"//" not in target):
        return target
    target = target.partition(b"#")[0]
    if mode == "none" or target[:1] != b"/":
        return target
    path, mark, query = target.partition(b"?")
    if mode == "decode_and_merge_slashes":
        path = _SLASHES.sub(lambda match: b"/" if match[1] else b"\\", path)
    path = _without_dots(_spelled_once(path))
    if mode != "base" and b"//" in path:
        path = _merged(path)
    return path + mark + query


def _spelled_once(path: bytes) -> bytes:
    """One spelling for each character, and no parameters on dot segments: some servers resolve `..;x` as `..`."""
    return _SPELLED.sub(_spelling, _DOT_PARAMETERS.sub(rb"\1", path).replace(b"\\", b"/"))


def _spelling(match: re.Match[bytes]) -> bytes:
    code = int(match[1], 16) if match[1] else match[0][0]
    if code == 0:
        raise BadMessage("NUL in the path", details="path_normalization_failed", body=b"", flag="-")
    if not match[1]:
        return b"%%%02X" % code
    return bytes((code,)) if code in _UNRESERVED else match[0]


def _without_dots(path: bytes) -> bytes:
    """Resolves `.` and `..` (RFC 3986, section 5.2.4); above the root there is only the root. An empty segment is a segment."""
    if b"/." not in path:
        return path
    segments = path.split(b"/")[1:]
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


def _merged(path: bytes) -> bytes:
    """Drops empty segments but keeps a slash at the end, so that `//` alone stays, as with Envoy."""
    return b"/" + b"/".join(filter(None, path.split(b"/"))) + (b"/" if path.endswith(b"/") else b"")
