"""Files that rules name and that are not there."""

from pathlib import Path

from meshcar.app.tls_files import unreadable_files
from meshcar.rules.read import read
from meshcar.rules.steps import finish


def paths(spec: str) -> list[str]:
    """Where a DestinationRule is warned of."""
    text = f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: x}}\nspec: {{host: a, {spec}}}"
    found = finish(unreadable_files(read(text, "x.yaml").resources))
    assert all((one.code, one.severity) == ("UNREADABLE_FILE", "warning") for one in found)
    return [one.path for one in found]


def test_each_place(tmp_path: Path) -> None:
    """Of the host, of its ports, of its subsets and theirs: each file that a mode uses and that cannot be read."""
    (tmp_path / "ca").touch()
    tls = f"tls: {{mode: MUTUAL, clientCertificate: {tmp_path}/c, privateKey: {tmp_path}/k, caCertificates: {tmp_path}/ca}}"
    other = f"tls: {{mode: SIMPLE, caCrl: {tmp_path}/r}}"
    ports = f"portLevelSettings: [{{port: {{number: 1}}, {other}}}]"
    assert paths(f"trafficPolicy: {{{tls}, {ports}}}, subsets: [{{name: s, trafficPolicy: {{{ports}}}}}]") == [
        "spec.trafficPolicy.tls.clientCertificate", "spec.trafficPolicy.tls.privateKey",
        "spec.trafficPolicy.portLevelSettings[0].tls.caCrl", "spec.subsets[0].trafficPolicy.portLevelSettings[0].tls.caCrl",
    ]  # fmt: skip


def test_not_used(tmp_path: Path) -> None:
    """The machine's store is no file, and what a mode does not use is nobody's concern."""
    assert paths("trafficPolicy: {tls: {mode: SIMPLE, caCertificates: system}}") == []
    assert paths(f"trafficPolicy: {{tls: {{mode: SIMPLE, clientCertificate: {tmp_path}/c}}}}") == []
    assert paths(f"trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL, caCertificates: {tmp_path}/c}}}}") == []
