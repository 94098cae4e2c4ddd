"""Istio's ClientTLSSettings of a DestinationRule as frozen values, field by field.

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import attrs

from meshcar.rules import units
from meshcar.rules.problems import Fault

_MESH = ("clientCertificate", "privateKey", "caCertificates", "caCrl", "insecureSkipVerify")
"""What mode ISTIO_MUTUAL does not look at: it has the mesh's certificates, and always verifies."""
_FILES = ("clientCertificate", "privateKey")


@attrs.frozen
class TlsRule:
    """Source: ClientTLSSettings. `credentialName` names a Secret, which only a control plane could hand out."""

    REFUSED: ClassVar = frozenset({"credentialName"})

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = "DISABLE"
    client_certificate: str | None = None
    private_key: str | None = None
    ca_certificates: str | None = None
    ca_crl: str | None = None
    subject_alt_names: tuple[str, ...] = ()
    sni: Annotated[str, units.server_name] | None = None
    insecure_skip_verify: bool = False

    def faults(self) -> Iterator[Fault]:
        given = self._given()
        if self.mode == "MUTUAL":
            yield from (Fault((name,), "REQUIRED", f"mode MUTUAL needs {name}") for name in _FILES if name not in given)
        if self.mode in ("SIMPLE", "MUTUAL") and self.insecure_skip_verify:
            for name in ("caCertificates", "subjectAltNames"):
                if name in given:
                    yield Fault((name,), "CONFLICT", f"insecureSkipVerify takes anybody; {name} must not be given")
        beside = {"DISABLE": given - {"mode"}, "SIMPLE": set(_FILES), "ISTIO_MUTUAL": set(_MESH)}.get(self.mode, set())
        for name in sorted(beside & given):
            yield Fault((name,), "NO_EFFECT", f"mode {self.mode} does not use {name}")

    def _given(self) -> set[str]:
        values = {
            "clientCertificate": self.client_certificate, "privateKey": self.private_key, "caCertificates": self.ca_certificates,
            "caCrl": self.ca_crl, "subjectAltNames": self.subject_alt_names, "sni": self.sni,
            "insecureSkipVerify": self.insecure_skip_verify,
        }  # fmt: skip
        return {name for name, value in values.items() if value}
