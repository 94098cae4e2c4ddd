"""YAML text to resources: which kinds there are, and every error with file, line, column and field path."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import chain
from typing import Any

import attrs

from meshcar.rules.problems import Fault, Path, Problem, severity, shorten, spell
from meshcar.rules.schema_destinations import DestinationRule
from meshcar.rules.schema_gateway import GATEWAY_GROUP, HTTPRoute
from meshcar.rules.schema_kubernetes import Endpoints, EndpointSlice, Metadata, Pod, Service
from meshcar.rules.schema_routes import VirtualService
from meshcar.rules.schema_security import AuthorizationPolicy, PeerAuthentication
from meshcar.rules.schema_services import ServiceEntry, WorkloadEntry
from meshcar.rules.schema_sidecar import Sidecar
from meshcar.rules.shapes import MAX_FAULTS, Faults, Shape, message
from meshcar.rules.steps import Steps, finish
from meshcar.rules.yaml_events import Document, Packed, chunks, documents

_NETWORKING = "networking.istio.io"
_ISTIO_VERSIONS = ("v1", "v1beta1", "v1alpha3")
_HEADER = ("apiVersion", "kind", "metadata")
_EMPTY = re.compile(r"(---)?\s*")
MAX_ERRORS = 1000
"""So many in one text end its reading: nobody reads more, and 1 MiB of one-letter documents would take seconds."""


@attrs.frozen
class Kind:
    """How documents of a kind are read. `whole`: the fields stand at the top, not under `spec`."""

    versions: tuple[str, ...]
    shape: Shape
    whole: bool = False


KINDS: Mapping[tuple[str, str], Kind] = {
    (_NETWORKING, "VirtualService"): Kind(_ISTIO_VERSIONS, message(VirtualService)),
    (_NETWORKING, "DestinationRule"): Kind(_ISTIO_VERSIONS, message(DestinationRule)),
    (_NETWORKING, "ServiceEntry"): Kind(_ISTIO_VERSIONS, message(ServiceEntry)),
    (_NETWORKING, "WorkloadEntry"): Kind(_ISTIO_VERSIONS, message(WorkloadEntry)),
    (_NETWORKING, "Sidecar"): Kind(_ISTIO_VERSIONS, message(Sidecar)),
    (GATEWAY_GROUP, "HTTPRoute"): Kind(("v1", "v1beta1"), message(HTTPRoute)),
    ("security.istio.io", "PeerAuthentication"): Kind(("v1", "v1beta1"), message(PeerAuthentication)),
    ("security.istio.io", "AuthorizationPolicy"): Kind(("v1", "v1beta1"), message(AuthorizationPolicy)),
    ("", "Service"): Kind(("v1",), message(Service)),
    ("", "Endpoints"): Kind(("v1",), message(Endpoints), whole=True),
    ("", "Pod"): Kind(("v1",), message(Pod), whole=True),
    ("discovery.k8s.io", "EndpointSlice"): Kind(("v1", "v1beta1"), message(EndpointSlice), whole=True),
}

REFUSED: Mapping[str, frozenset[str]] = {
    _NETWORKING: frozenset({"EnvoyFilter", "ProxyConfig"}),
    "security.istio.io": frozenset({"RequestAuthentication"}),
    "telemetry.istio.io": frozenset({"Telemetry"}),
    "extensions.istio.io": frozenset({"TrafficExtension", "WasmPlugin"}),
    GATEWAY_GROUP: frozenset({"BackendTLSPolicy", "GRPCRoute", "TCPRoute", "TLSRoute", "UDPRoute"}),
}
"""A sidecar that passed these over would lie."""

SKIPPED: Mapping[str, frozenset[str]] = {
    "": frozenset({
        "Binding", "ComponentStatus", "ConfigMap", "Event", "LimitRange", "Namespace", "Node", "PersistentVolume", "PersistentVolumeClaim",
        "PodTemplate", "ReplicationController", "ResourceQuota", "Secret", "ServiceAccount",
    }),
    "apps": frozenset({"ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"}),
    "batch": frozenset({"CronJob", "Job"}),
    "rbac.authorization.k8s.io": frozenset({"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}),
    _NETWORKING: frozenset({"Gateway", "WorkloadGroup"}),
    GATEWAY_GROUP: frozenset({"Gateway", "GatewayClass", "ListenerSet", "ReferenceGrant"}),
}
"""These are others' business."""


@attrs.frozen(eq=False)
class Resource:
    """One document that counts: `spec` is the frozen value of its kind, `origin` the document, packed, with the place of everything
    in it."""

    api_version: str
    kind: str
    namespace: str
    name: str
    file: str
    line: int
    metadata: Metadata
    spec: Any
    origin: Packed = attrs.field(repr=False)

    @property
    def document(self) -> dict[str, Any]:
        """The plain dict as read, made anew at each call."""
        plain: dict[str, Any] = self.origin.document().value
        return plain

    @property
    def key(self) -> str:
        """`Kind/namespace/name`: what `apply` replaces by."""
        return f"{self.kind}/{self.namespace}/{self.name}"

    @property
    def namespaced_name(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def source(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}"

    @property
    def called(self) -> str:
        """What it is called in messages: `VirtualService shop/cart (rules.yaml:3)`."""
        return f"{self.kind} {self.namespaced_name} ({self.source})"

    @property
    def age(self) -> tuple[str, str, str]:
        """Sorts the oldest first, and those of one second by name and namespace; those without a creationTimestamp before all others, in
        the order in which they were read. Source: istiod's sortConfigByCreationTime."""
        created = self.metadata.creation_timestamp
        return (created, self.name, self.namespace) if created else ("", "", "")

    def at(self, *path: str | int) -> str:
        """`file:line` of a part, or of the deepest part of its path that exists."""
        ((line, _),) = self.origin.document().places([Fault(path, "", "")])
        return f"{self.file}:{line}"

    def problems(self, faults: Iterable[Fault]) -> list[Problem]:
        """Problems of this resource; paths count from the top of the document."""
        found = list(faults)
        return _placed(self.origin.document(), found, self.file, self.kind, self.name) if found else []

    def moved(self, before: int) -> "Resource":
        """The same behind another number of lines."""
        if before == self.origin.before:
            return self
        return attrs.evolve(self, line=self.line + before - self.origin.before, origin=attrs.evolve(self.origin, before=before))


Known = dict[tuple[str, bytes], Resource]
"""Resources that were read without a remark, by file and the digest of their chunk of text."""


@attrs.frozen
class Read:
    """What a text holds. With errors among `problems`, the resources are those without one. `skipped` are keys.

    `documents` is how many there were, whatever became of them; empty ones do not count.
    """

    resources: tuple[Resource, ...]
    skipped: tuple[str, ...]
    problems: tuple[Problem, ...]
    documents: int


def read(text: str, file: str, default_namespace: str = "default") -> Read:
    """Every document of a text. `file` is only for messages; nothing raises."""
    return finish(read_steps(text, file, default_namespace))


def read_steps(
    text: str, file: str, default_namespace: str = "default", old: Known | None = None, new: Known | None = None
) -> Steps[Read]:
    """The same, with a pause after each document. What is in `old` is not read again; `new` is where to keep what is there now."""
    reader = _Reader(file, default_namespace)
    for before, chunk in chunks(text):
        if reader.full:
            break
        yield
        if _EMPTY.fullmatch(chunk):
            continue
        name = (file, blake2b(chunk.encode(errors="surrogatepass"), digest_size=16).digest())
        known = old.get(name) if old else None
        if known is not None:
            reader.keep(known.moved(before))
        else:
            known = yield from reader.take_all(chunk, before)
        if new is not None and known is not None:
            new[name] = known
    return Read(tuple(reader.resources), tuple(reader.skipped), tuple(reader.problems), reader.documents)


def retaken(lines: Iterable[bytes], default_namespace: str, known: Mapping[bytes, Resource]) -> Steps[dict[bytes, Resource]]:
    """Resources by their documents in JSON (`Packed.json`), in order, as another process has read them; `known` are not made anew.

    They have no places: whoever read the text has told what is to be told of it. Raises ValueError where a document is none.
    """
    found: dict[bytes, Resource] = {}
    for line in lines:
        yield
        resource = known.get(line)
        if resource is None:
            reader = _Reader("-", default_namespace)
            reader._take(Document.unplaced(json.loads(line)))
            if len(reader.resources) != 1:
                raise ValueError("; ".join(map(str, reader.problems)) or "a document that is none")
            resource = reader.resources[0]
        found[line] = resource
    return found


class _Reader:
    """Sorts the documents of one text into resources, skipped ones and problems."""

    def __init__(self, file: str, default_namespace: str) -> None:
        self._file, self._default_namespace = file, default_namespace
        self._values: dict[Any, Any] = {}
        self.resources: list[Resource] = []
        self.skipped: list[str] = []
        self.problems: list[Problem] = []
        self.documents = 0
        self._errors = 0

    @property
    def full(self) -> bool:
        """Whether there are so many errors that the rest is not looked at."""
        return self._errors > MAX_ERRORS

    def keep(self, resource: Resource) -> None:
        """One document that was read before."""
        self.documents += 1
        self.resources.append(resource)

    def take_all(self, chunk: str, before: int) -> Steps[Resource | None]:
        """A chunk of text; gives its resource if it holds one, nothing else, and nothing is to be said about it."""
        resources, skipped, problems = len(self.resources), len(self.skipped), len(self.problems)
        for document in chain.from_iterable(map(_items, documents(chunk, before))):
            self._take(document)
            if self.full:
                self._give_up()
                break
            yield
        alone = len(self.resources) == resources + 1 and len(self.skipped) == skipped and len(self.problems) == problems
        return self.resources[-1] if alone else None

    def _take(self, document: Document) -> None:
        """One more document."""
        value = document.value
        self.documents += bool(document.faults) or value is not None
        if document.faults:
            for fault in document.faults[:MAX_FAULTS]:
                self._errors += 1
                self.problems.append(Problem("error", self._file, fault.line, fault.column, "", "", "", fault.code, fault.message))
        elif value is not None:
            faults = Faults(self._values)
            faults += self._header_faults(value)
            if not faults:
                self._sort(document, faults)
            self._report(document, faults)

    def _header_faults(self, value: Any) -> list[Fault]:
        if not isinstance(value, dict):
            return [Fault((), "WRONG_TYPE", "a document must be an object with apiVersion, kind and metadata")]
        return [
            Fault((field,), "REQUIRED" if value.get(field) is None else "WRONG_TYPE", f"{field} is missing or no text")
            for field in ("apiVersion", "kind")
            if not isinstance(value.get(field), str)
        ]

    def _sort(self, document: Document, faults: Faults) -> None:
        value = document.value
        group, _, version = value["apiVersion"].rpartition("/")
        name = value["kind"]
        kind = KINDS.get((group, name))
        if name in SKIPPED.get(group, ()):
            self.skipped.append(self._skipped_key(value))
        elif name in REFUSED.get(group, ()):
            message = f"{name} is not supported; a sidecar that passed it over would not do what it says"
            faults.append(Fault(("kind",), "UNSUPPORTED_KIND", message))
        elif kind is None:
            shown = shorten(f"{value['apiVersion']} {name}")
            faults.append(Fault(("kind",), "UNKNOWN_KIND", f"{shown} is no kind that meshcar knows{_meant(name)}"))
        elif version not in kind.versions:
            known = ", ".join(f"{group}/{one}".lstrip("/") for one in kind.versions)
            faults.append(Fault(("apiVersion",), "UNKNOWN_KIND", f"{name} has the versions {known}, not {shorten(value['apiVersion'])}"))
        else:
            self._resource(kind, document, faults)

    def _resource(self, kind: Kind, document: Document, faults: Faults) -> None:
        value = document.value
        metadata = _METADATA(value.get("metadata") or {}, ("metadata",), faults)
        if kind.whole:
            spec = kind.shape({key: one for key, one in value.items() if key not in _HEADER}, (), faults)
        else:
            misplaced = [_top_level(key) for key in value if key not in (*_HEADER, "spec", "status")]
            faults += misplaced
            if misplaced and not value.get("spec"):
                return  # what it lacks stands where it does not belong
            spec = kind.shape(value.get("spec") or {}, ("spec",), faults)
        if metadata is None or spec is None or any(severity(fault.code) == "error" for fault in faults):
            return
        namespace = metadata.namespace or self._default_namespace
        line = document.start()[0]
        self.resources.append(
            Resource(value["apiVersion"], value["kind"], namespace, metadata.name, self._file, line, metadata, spec, document.packed())
        )

    def _report(self, document: Document, faults: list[Fault]) -> None:
        header = document.value if isinstance(document.value, dict) else {}
        metadata = header.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        kind = header.get("kind")
        shown = [shorten(word) if isinstance(word, str) else "" for word in (kind, name)]
        placed = _placed(document, _capped(faults), self._file, *shown)
        self._errors += sum(problem.severity == "error" for problem in placed)
        self.problems += placed

    def _give_up(self) -> None:
        last = self.problems[-1]
        message = f"more than {MAX_ERRORS} errors; what stands behind was not read"
        self.problems.append(Problem("error", self._file, last.line, last.column, "", "", "", "TOO_MANY", message))

    def _skipped_key(self, value: dict[str, Any]) -> str:
        metadata = value.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        return f"{value['kind']}/{metadata.get('namespace') or self._default_namespace}/{metadata.get('name') or '-'}"


def _items(document: Document) -> Iterable[Document]:
    """The document; of a List, as `kubectl get -o yaml` writes it, each of its items."""
    value = document.value
    is_list = isinstance(value, dict) and (value.get("apiVersion"), value.get("kind")) == ("v1", "List")
    return document.listed("items") if is_list and isinstance(value.get("items"), list) and not document.faults else (document,)


def _placed(document: Document, faults: list[Fault], file: str, kind: str, name: str) -> list[Problem]:
    return [
        Problem(severity(fault.code), file, line, column, kind, name, spell(fault.path), fault.code, fault.message)
        for fault, (line, column) in zip(faults, document.places(faults), strict=True)
    ]


def _capped(faults: list[Fault]) -> list[Fault]:
    """The first of them and, in place of more than anybody reads, their number, at the place of the next."""
    more = len(faults) - MAX_FAULTS
    if more <= 0:
        return faults
    return [*faults[:MAX_FAULTS], attrs.evolve(faults[MAX_FAULTS], code="TOO_MANY", message=f"and {more} more problems of this document")]


def _meant(kind: str) -> str:
    """Which kind may be meant by one that is none: of another group, or nearly of this name."""
    named = {name: f"{group}/{known.versions[0]}".lstrip("/") for (group, name), known in KINDS.items()}
    if kind in named:
        return f"; {kind} is of {named[kind]}"
    near = difflib.get_close_matches(kind[:40], named, 1, 0.75)
    return f"; is it {near[0]}?" if near else ""


def _top_level(key: str) -> Fault:
    path: Path = (key,)
    return Fault(path, "UNKNOWN_FIELD", f"there is no field {shorten(key)} beside spec; indent what belongs into it", at_key=True)


_METADATA = message(Metadata)
