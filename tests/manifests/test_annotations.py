"""Istio's annotations: obeyed, refused, or told to have no effect."""

import pytest

from meshcar.manifests.annotations import Choices, read_annotations, wants_injection

TRAFFIC = "traffic.sidecar.istio.io/"
SIDECAR = "sidecar.istio.io/"


@pytest.mark.parametrize(("name", "text", "field", "value"), [
    (SIDECAR + "interceptionMode", "TPROXY", "mode", "TPROXY"),
    (SIDECAR + "interceptionMode", "NONE", "mode", "NONE"),
    (SIDECAR + "proxyImage", "registry.example:5000/meshcar:1", "image", "registry.example:5000/meshcar:1"),
    (SIDECAR + "nativeSidecar", "false", "native", False),
    (SIDECAR + "rewriteAppHTTPProbers", "f", "rewrite_probes", False),
    (SIDECAR + "userVolume", '{"v":{"emptyDir":{}}}', "volumes", {"v": {"emptyDir": {}}}),
    ("status.sidecar.istio.io/port", "0", "agent_port", 0),
    ("readiness.status.sidecar.istio.io/initialDelaySeconds", "0", "readiness_delay", 0),
    ("readiness.status.sidecar.istio.io/periodSeconds", "7", "readiness_period", 7),
    ("prometheus.istio.io/merge-metrics", "false", "scraped", False),
    (TRAFFIC + "includeInboundPorts", "*", "included_inbound", "*"),
    (TRAFFIC + "includeInboundPorts", "", "included_inbound", ""),
    (TRAFFIC + "includeInboundPorts", " 80, 81 ", "included_inbound", "80, 81"),
    (TRAFFIC + "excludeInboundPorts", "", "excluded_inbound", ""),
    (TRAFFIC + "includeOutboundIPRanges", "10.0.0.1/8,2001:db8::/32", "included_ranges", "10.0.0.1/8,2001:db8::/32"),
    (TRAFFIC + "excludeOutboundIPRanges", "", "excluded_ranges", ""),
    (TRAFFIC + "includeOutboundPorts", "443", "included_outbound", "443"),
    (TRAFFIC + "excludeOutboundPorts", "25", "excluded_outbound", "25"),
    (TRAFFIC + "excludeInterfaces", "eth1,veth+", "excluded_interfaces", "eth1,veth+"),
    (TRAFFIC + "kubevirtInterfaces", "net1", "virtual_interfaces", "net1"),
    ("istio.io/reroute-virtual-interfaces", "net1", "virtual_interfaces", "net1"),
])  # fmt: skip
def test_obeyed(name: str, text: str, field: str, value: object) -> None:
    """An annotation and what it chooses."""
    asked = read_annotations({name: text})
    assert (getattr(asked.choices, field), asked.notes, asked.problems) == (value, (), ())


@pytest.mark.parametrize(("name", "text", "why"), [
    (SIDECAR + "interceptionMode", "redirect", "none of REDIRECT, TPROXY, NONE"),
    (SIDECAR + "proxyCPU", "100 m", "not a quantity"),
    (SIDECAR + "proxyMemory", "128MB", "not a quantity"),
    (SIDECAR + "proxyCPULimit", "1\n", "not a quantity"),
    (SIDECAR + "proxyMemoryLimit", "", "not a quantity"),
    (SIDECAR + "proxyImage", "a b", "not an image"),
    (SIDECAR + "rewriteAppHTTPProbers", "yes", "neither true nor false"),
    (SIDECAR + "userVolume", "[", "is not JSON"),
    (SIDECAR + "userVolumeMount", '{"a": 1}', "objects by name"),
    ("status.sidecar.istio.io/port", "65536", "not a port"),
    ("status.sidecar.istio.io/port", "-1", "not a whole number"),
    ("readiness.status.sidecar.istio.io/failureThreshold", "0", "at least 1"),
    ("readiness.status.sidecar.istio.io/periodSeconds", "2.5", "not a whole number"),
    (TRAFFIC + "includeInboundPorts", "80,*", "'*' is not a port"),
    (TRAFFIC + "excludeInboundPorts", "*", "'*' is not a port"),
    (TRAFFIC + "excludeOutboundPorts", "99999", "not a port"),
    (TRAFFIC + "includeOutboundIPRanges", "10.0.0.0/33", "10.0.0.0/33"),
    (TRAFFIC + "includeOutboundIPRanges", "10.0.0.1", "not a range"),
    (TRAFFIC + "excludeOutboundIPRanges", "*", "not a range"),
    (TRAFFIC + "excludeInterfaces", "eth/0", "not a network interface"),
    ("proxy.istio.io/config", "[]", "not a mapping"),
    ("proxy.istio.io/config", "a: [", "expected"),
    ("proxy.istio.io/config", "terminationDrainDuration: soon", "must be a duration"),
    ("proxy.istio.io/config", "terminationDrainDuration: 61m", "an hour at most"),
])  # fmt: skip
def test_refused(name: str, text: str, why: str) -> None:
    """A value that cannot be meant stops the injection, with the annotation's name and what is wrong."""
    (problem,) = read_annotations({name: text}).problems
    assert problem.startswith(f"annotation {name}: ")
    assert why in problem


def test_all_problems() -> None:
    """All at once."""
    assert len(read_annotations({SIDECAR + "proxyCPU": "x", SIDECAR + "proxyMemory": "y"}).problems) == 2


@pytest.mark.parametrize("name", [
    SIDECAR + "logLevel", SIDECAR + "bootstrapOverride", SIDECAR + "statsInclusionRegexps", SIDECAR + "capNetBindService",
    "istio.io/dry-run", "ambient.istio.io/redirection", SIDECAR + "misspelt",
])  # fmt: skip
def test_without_effect(name: str) -> None:
    """What means nothing here is told, and does not stop anything."""
    asked = read_annotations({name: "x"})
    assert (asked.choices, asked.problems) == (Choices(), ())
    assert asked.notes[0].startswith(f"annotation {name} has no effect: ")


@pytest.mark.parametrize("name", [
    "istio.io/rev", "inject.istio.io/templates", SIDECAR + "status", SIDECAR + "inject", "example.com/x", "notistio.io/x", "x",
])  # fmt: skip
def test_silent(name: str) -> None:
    """What is somebody else's, or read elsewhere, is not spoken of."""
    assert read_annotations({name: "x"}).notes == ()


def test_config() -> None:
    """proxy.istio.io/config is read where it means something; an annotation of its own wins; other fields are told."""
    config = "holdApplicationUntilProxyStarts: true\nterminationDrainDuration: 20s\nstatusPort: 15025\n"
    config += "interceptionMode: TPROXY\nconcurrency: 2\n"
    asked = read_annotations({"proxy.istio.io/config": config, SIDECAR + "interceptionMode": "REDIRECT"})
    choices = asked.choices
    assert (choices.hold, choices.drain, choices.agent_port, choices.mode) == (True, 20.0, 15025, "REDIRECT")
    assert asked.notes == ("annotation proxy.istio.io/config: concurrency has no effect",)


def test_newer_name() -> None:
    """Of the two names for interfaces of virtual machines the newer wins."""
    asked = read_annotations({TRAFFIC + "kubevirtInterfaces": "old", "istio.io/reroute-virtual-interfaces": "new"})
    assert asked.choices.virtual_interfaces == "new"


def test_resources() -> None:
    """One annotation of the four replaces the defaults; none leaves them."""
    assert Choices().resources is None
    assert read_annotations({SIDECAR + "proxyMemory": "64Mi"}).choices.resources == {"requests": {"memory": "64Mi"}}
    asked = read_annotations({SIDECAR + "proxyCPU": "0.1", SIDECAR + "proxyCPULimit": "1", SIDECAR + "proxyMemoryLimit": "1e9"})
    assert asked.choices.resources == {"requests": {"cpu": "0.1"}, "limits": {"cpu": "1", "memory": "1e9"}}


@pytest.mark.parametrize(("label", "annotation", "wanted"), [
    (None, None, True), ("true", "false", True), ("false", "true", False), (None, "false", False), (None, "true", True),
    ("", "false", True), ("no", None, True),
])  # fmt: skip
def test_wanted(label: str | None, annotation: str | None, wanted: bool) -> None:
    """The label wins over the annotation; what is neither true nor false is told, and counts as not said."""
    def words(text: str | None) -> dict[str, str]:
        return {} if text is None else {SIDECAR + "inject": text}

    found, note = wants_injection(words(label), words(annotation))
    assert found is wanted
    assert bool(note) is (label == "no")
