"""What is injected, by Kubernetes' own schemas, unknown fields forbidden. They come with a package of 108 MB that nothing else needs:
`pip install kubernetes-validate`; without it this is skipped."""

import attrs
import pytest
import yaml

from meshcar.manifests.inject import inject
from tests.manifests.test_inject import CLASSIC, DEFAULTS, PAGE, PROBES, TEMPLATE, deployment

judge = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")

JOB = """\
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "* * * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}}
"""
TEXTS = {
    "page": PAGE.read_text(),
    "probes": deployment(spec=PROBES),
    "tproxy": deployment("sidecar.istio.io/interceptionMode: TPROXY"),
    "none": deployment("sidecar.istio.io/interceptionMode: NONE"),
    "cron job": JOB,
    "chosen": deployment(
        "sidecar.istio.io/proxyCPU: 50m, sidecar.istio.io/proxyMemoryLimit: 300Mi, "
        "readiness.status.sidecar.istio.io/initialDelaySeconds: '3', proxy.istio.io/config: 'terminationDrainDuration: 1m5s'"
    ),
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(("defaults", "version"), [
    (DEFAULTS, "1.29"), (DEFAULTS, "1.37"), (CLASSIC, "1.25"), (CLASSIC, "1.37"), (attrs.evolve(CLASSIC, hold=True), "1.25"),
])  # fmt: skip
def test_schema(text: str, defaults: object, version: str) -> None:
    """Every document, native from 1.29 on, classic before."""
    outcome = inject(TEXTS[text], TEMPLATE, defaults)  # type: ignore[arg-type]
    assert outcome.problems == ()
    for document in yaml.safe_load_all(outcome.text):
        judge.validate(document, version, strict=True)
