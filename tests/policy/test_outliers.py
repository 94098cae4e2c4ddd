"""Endpoints that fail are left out, and come back."""

from typing import Any

import pytest

from meshcar.policy.outliers import ERRORS, GATEWAY, LOCAL, Outliers, Standing
from meshcar.rules.policies import OutlierPolicy


def some(count: int = 1, **policy: Any) -> tuple[Outliers, list[Standing]]:
    """A cluster of so many endpoints, of which all may be out."""
    outliers = Outliers(OutlierPolicy(**{"max_percent": 100, "errors": 3} | policy))
    return outliers, [outliers.standing(str(number)) for number in range(count)]


def fail(one: Standing, *statuses: int) -> bool:
    """Answers; whether the endpoint is out then."""
    for status in statuses:
        one.answered(status, 0.0)
    return one.ejected


def test_errors_in_a_row() -> None:
    """So many statuses of 500 and above in a row; anything else begins anew."""
    _, (one,) = some()
    assert not fail(one, 500, 501, 200, 500, 404, 503, 500)
    assert fail(one, 599)


def test_gateway_errors() -> None:
    """502, 503 and 504 have a row of their own, which a 500 ends; they are among the others too."""
    outliers, (one, other) = some(2, gateway_errors=2, errors=5)
    assert not fail(one, 502, 500, 503) and fail(one, 504)
    assert not fail(other, 500, 500, 503, 500) and fail(other, 502)
    assert outliers.tally.enforced == {ERRORS: 1, GATEWAY: 1, LOCAL: 0}


def test_never() -> None:
    """0 is never."""
    _, (one,) = some(errors=0)
    assert not fail(one, *[503] * 100)


def test_statuses() -> None:
    """Where statuses are named, those and no others count; a failure without an answer still does."""
    _, (one, other) = some(2, statuses=frozenset({404, 503}))
    assert not fail(one, 500, 500, 500, 404, 503) and fail(one, 404)
    for _ in range(3):
        other.broke(0.0)
    assert other.ejected


def test_named_gateway_status() -> None:
    """A named status is a gateway's error only where it is one by itself."""
    _, (one, other) = some(2, statuses=frozenset({404, 503}), errors=9, gateway_errors=2)
    assert not fail(one, 404, 404, 404) and fail(other, 503, 503)


@pytest.mark.parametrize("how", ["unreachable", "broke"])
def test_local_failures_as_503(how: str) -> None:
    """Without a split, whatever came to no answer counts as a 503."""
    _, (one,) = some(gateway_errors=2)
    getattr(one, how)(0.0)
    assert not one.ejected
    getattr(one, how)(0.0)
    assert one.ejected


def test_split() -> None:
    """With it, refused connections have a row of their own, which any connection ends; 503s are the others'."""
    outliers, (one, other) = some(2, local_failures=2)
    one.unreachable(0.0)
    fail(one, 200)
    one.unreachable(0.0)
    assert not one.ejected
    one.unreachable(0.0)
    assert one.ejected and outliers.tally.enforced[LOCAL] == 1
    assert fail(other, 503, 503, 503)


def test_split_and_a_reset() -> None:
    """A reset comes after a connection, which ended the row: only a row of one is ever full."""
    _, (one,) = some(local_failures=2)
    for _ in range(9):
        one.broke(0.0)
    assert not one.ejected
    _, (one,) = some(local_failures=1)
    one.broke(0.0)
    assert one.ejected


@pytest.mark.parametrize("split", [None, 2])
def test_opaque(split: int | None) -> None:
    """An opaque connection that came about ends the rows of those that did not."""
    _, (one,) = some(local_failures=split, errors=2)
    one.unreachable(0.0)
    one.connected()
    one.unreachable(0.0)
    assert not one.ejected
    one.unreachable(0.0)
    assert one.ejected


@pytest.mark.parametrize(
    ("count", "percent", "out"), [(1, 10, 0), (9, 10, 0), (10, 10, 1), (20, 10, 2), (3, 33, 0), (3, 34, 1), (2, 100, 2)]
)
def test_how_many(count: int, percent: int, out: int) -> None:
    """No more than the percentage; where one is more than that, none, as with Envoy 1.40."""
    outliers, ones = some(count, max_percent=percent)
    for one in ones:
        fail(one, 500, 500, 500)
    assert sum(one.ejected for one in ones) == outliers.tally.active == out
    assert outliers.tally.overflow == count - out


def test_after_an_overflow() -> None:
    """A row that was full and put nobody out begins anew."""
    outliers, (one, other) = some(2, max_percent=50)
    assert fail(one, 500, 500, 500) and not fail(other, *[500] * 6)
    assert outliers.tally.overflow == 2 and outliers.tally.detected[ERRORS] == 3


def test_the_way_back() -> None:
    """The first ejection lasts its time, the second twice that; a sweep that finds nothing against it takes one away."""
    outliers, (one,) = some(ejection=30.0)
    told: list[bool] = []
    outliers.changed.append(lambda: told.append(one.ejected))
    fail(one, 500, 500, 500)
    outliers.sweep(29.0)
    assert one.ejected
    outliers.sweep(30.0)
    assert not one.ejected and outliers.busy and told == [True, False]
    for _ in range(3):
        one.answered(500, 30.0)
    outliers.sweep(89.0)
    assert one.ejected
    outliers.sweep(90.0)
    assert not one.ejected and outliers.busy
    outliers.sweep(100.0)
    outliers.sweep(110.0)
    assert not outliers.busy


def test_longest() -> None:
    """However often, no longer than five minutes, or the first time if that is longer."""
    outliers, (one,) = some(ejection=100.0)
    now = 0.0
    for _ in range(9):
        for _ in range(3):
            one.answered(500, now)
        now += 300.0
        outliers.sweep(now)
        assert not one.ejected


def test_who_is_out_is_not_ejected_again() -> None:
    """Answers that were on their way count nothing."""
    outliers, (one,) = some()
    assert fail(one, *[500] * 9) and outliers.tally.active == outliers.tally.enforced[ERRORS] == one.times == 1


def test_gone() -> None:
    """An endpoint that is gone is not among those who are out; one that stays has its standing."""
    outliers, (one, other) = some(2)
    fail(one, 500, 500, 500)
    outliers.keep(["1"])
    assert outliers.tally.active == 0 and outliers.standing("1") is other and outliers.standing("0") is not one


def test_forgotten() -> None:
    """What still fails on an endpoint that the cluster has lost ejects nobody, and takes nobody's place among those that may be out."""
    outliers, (one, other) = some(2, max_percent=50)
    outliers.keep(["1"])
    fail(one, 500, 500, 500, 500, 500, 500)
    assert outliers.tally.active == 0 and outliers.tally.detected[ERRORS] == 0
    again = outliers.standing("0")
    assert again is not one and not again.ejected and fail(other, 500, 500, 500)
