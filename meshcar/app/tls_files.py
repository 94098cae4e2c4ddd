"""Files that DestinationRules name for TLS and that are not there: warned of when rules are put in force, as they may come later."""

import os
from collections.abc import Iterable, Iterator

from meshcar.rules.compile_client_tls import SYSTEM
from meshcar.rules.problems import Fault, Path, Problem
from meshcar.rules.read import Resource
from meshcar.rules.schema_client_tls import TlsRule
from meshcar.rules.schema_destinations import DestinationRule
from meshcar.rules.steps import Steps


def unreadable_files(resources: Iterable[Resource]) -> Steps[list[Problem]]:
    """A warning for each file that cannot be read here and now, at its place in its rule; a pause after each rule."""
    found: list[Problem] = []
    for resource in resources:
        if isinstance(resource.spec, DestinationRule):
            found += resource.problems(fault for path, rule in resource.spec.tls_rules() for fault in _faults(path, rule))
            yield
    return found


def _faults(path: Path, rule: TlsRule) -> Iterator[Fault]:
    files = {"clientCertificate": rule.client_certificate, "privateKey": rule.private_key} if rule.mode == "MUTUAL" else {}
    if rule.mode in ("SIMPLE", "MUTUAL"):
        files |= {"caCertificates": rule.ca_certificates, "caCrl": rule.ca_crl}
    for field, file in files.items():
        if file and file != SYSTEM and not os.access(file, os.R_OK):
            message = f"{field} {file} cannot be read; until it can, connections fail"
            yield Fault(("spec", *path, field), "UNREADABLE_FILE", message)
