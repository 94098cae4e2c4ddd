"""How problems are said."""

from meshcar.rules.problems import Problem, at_most, repeated, severity, shorten, spell


def test_spell() -> None:
    """Paths as people write them."""
    assert spell(("spec", "http", 0, "route", 1, "weight")) == "spec.http[0].route[1].weight"
    assert spell(("spec", "labels", "a.b/c")) == 'spec.labels["a.b/c"]'
    assert spell(()) == ""


def test_str() -> None:
    """file:line:column: severity CODE kind/name: message."""
    problem = Problem("error", "a.yaml", 3, 5, "VirtualService", "x", "spec.hosts", "REQUIRED", "hosts is missing")
    assert str(problem) == "a.yaml:3:5: error REQUIRED VirtualService/x: hosts is missing"
    assert problem.entry()["path"] == "spec.hosts"


def test_repeated() -> None:
    """Every value but its first."""
    found = list(repeated(["a", "b", "a", "a"], "ports", "name"))
    assert [fault.path for fault in found] == [("ports", 2, "name"), ("ports", 3, "name")]


def test_at_most() -> None:
    """Lists and texts have an end; what is not there has none."""
    assert list(at_most((1, 2), "x", 2)) == list(at_most(None, "x", 2)) == []
    (fault,) = at_most((1, 2, 3), "x", 2)
    assert (fault.path, fault.message) == (("x",), "x has 3 entries; at most 2 are allowed")
    assert next(at_most("abc", "x", 2)).message == "x has 3 characters; at most 2 are allowed"


def test_shorten() -> None:
    """Nothing unprintable, nothing endless."""
    assert shorten("a\x1b[31m\nb") == "a\\x1b[31m\\nb"
    assert len(shorten("x" * 1000)) == 60


def test_severity() -> None:
    """Only listed codes are warnings."""
    assert severity("UNKNOWN_HOST") == "warning"
    assert severity("UNKNOWN_FIELD") == "error"
