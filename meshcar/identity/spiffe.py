"""SPIFFE ids: the names that workloads prove to each other."""

import re
from typing import Self

import attrs

_SHAPE = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)*)")
_GREATEST = 2048


@attrs.frozen
class SpiffeId:
    """`spiffe://<trust_domain><path>`; `path` starts with a slash, or is empty for the id of the trust domain itself.

    Ids are equal when their texts are: both parts are case-sensitive once parsed. Source: SPIFFE-ID standard, section 2.
    """

    trust_domain: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The id that `text` spells, in the standard's normal form only. Raises ValueError with the rule that `text` breaks."""
        if len(text) > _GREATEST:
            raise ValueError(f"a SPIFFE id is at most {_GREATEST} bytes long")
        if not text.startswith("spiffe://"):
            raise ValueError("a SPIFFE id starts with spiffe://")
        match = _SHAPE.fullmatch(text)
        if match is None:
            raise ValueError(
                "a SPIFFE id is spiffe://TRUST-DOMAIN/SEGMENT/...: lower case, digits and .-_ in the trust domain, "
                "letters, digits and .-_ in segments, none of them empty"
            )
        trust_domain, path = match.groups()
        if not {".", ".."}.isdisjoint(path.split("/")):
            raise ValueError("a SPIFFE id has no segment . or ..")
        return cls(trust_domain, path)

    @classmethod
    def of_workload(cls, trust_domain: str, namespace: str, service_account: str) -> Self:
        """The id Istio gives a workload, `spiffe://<td>/ns/<namespace>/sa/<service account>`. Raises ValueError as parse."""
        return cls.parse(f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}")

    @property
    def workload(self) -> tuple[str, str] | None:
        """Namespace and service account, or None if the path is not of Istio's form."""
        match self.path.split("/"):
            case ["", "ns", namespace, "sa", service_account]:
                return namespace, service_account
        return None

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}{self.path}"
