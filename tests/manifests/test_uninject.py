"""Taking the sidecar out; that it is the way back from anything that was injected, tests/manifests/test_inject.py shows."""

import json

import pytest
import yaml

from meshcar.manifests.inject import uninject

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}


def with_status(status: str) -> str:
    """A pod whose status says this."""
    return yaml.safe_dump(POD | {"metadata": {"name": "p", "annotations": {"sidecar.istio.io/status": status}}})


@pytest.mark.parametrize("text", [
    "# ours\n" + yaml.safe_dump(POD), with_status('{"initContainers":["istio-init"],"containers":["istio-proxy"]}'), with_status("junk"),
    with_status("[]"),
])  # fmt: skip
def test_not_ours(text: str) -> None:
    """A pod without a sidecar, or with Istio's, stays to the last byte."""
    outcome = uninject(text)
    assert (outcome.text, outcome.notes, outcome.problems) == (text, (), ())


@pytest.mark.parametrize("status", [{"labels": {"a": "b"}}, {"labels": [], "probes": [1]}, {"labels": [], "overrides": {"a": 1}}])
def test_tampered(status: object) -> None:
    """A status that somebody changed is a problem, not a guess."""
    (problem,) = uninject(with_status(json.dumps(status))).problems
    assert problem == '1: Pod "p": annotation sidecar.istio.io/status is not as it was written'
