"""The benchmark's numbers: paired ratios, the table, the comparison with the record."""

import pytest

from bench.ratios import Result, Sample, compared, table


def samples(*pairs: tuple[int, float]) -> list[Sample]:
    """Of (requests in a second, CPU microseconds of one)."""
    return [Sample(requests=requests, seconds=1.0, cpu_us=cpu) for requests, cpu in pairs]


def test_ratios_pair_neighbours() -> None:
    """A slow second that hit both does not move the ratio; above 1 is better for meshcar in both ratios."""
    result = Result(name="plain", meshcar=samples((50, 20.0), (10, 100.0), (50, 20.0)), envoy=samples((100, 10.0), (20, 50.0), (20, 50.0)))
    assert (result.rate_ratio(), result.cpu_ratio()) == (0.5, 0.5)


def test_ratios_need_pairs() -> None:
    """Samples of one side alone are an error, never dropped."""
    with pytest.raises(ValueError, match="shorter"):
        Result(name="plain", meshcar=samples((1, 1.0), (1, 1.0)), envoy=samples((1, 1.0))).rate_ratio()


def test_table() -> None:
    """Two rows a scenario, medians in them; copies only where there are some."""
    one, other = samples((1000, 40.0), (3000, 60.0), (2000, 50.0)), samples((4000, 30.0))
    rows = table([Result(name="mirror", meshcar=one, envoy=other, memory=(65.4, 68.0), copies=(1.0, 0.9995))]).splitlines()[2:]
    assert rows == [
        "| mirror | meshcar | 2,000 | 50.0 | 0.0 | 0.00 | 65 | 100.00% |",
        "|  | Envoy | 4,000 | 30.0 | 0.0 | 0.00 | 68 | 99.95% |",
    ]


@pytest.mark.parametrize(("now", "well"), [(1.0, True), (0.76, True), (0.75, True), (0.74, False), (2.0, True)])
def test_record_allows_a_quarter_below(now: float, well: bool) -> None:
    """Exactly 25 % below the record is still well; both numbers are shown."""
    lines, good = compared({"plain": now}, {"plain": 1.0})
    assert good is well
    assert f"{now:.2f}, recorded 1.00" in lines[0]
    assert lines[0].endswith("ok" if well else "FAILED")


def test_record_wants_every_scenario() -> None:
    """One that was not measured fails; one that was not recorded is no matter."""
    lines, good = compared({"mtls": 1.0, "mirror": 0.1}, {"plain": 0.8, "mtls": 1.0})
    assert (lines, good) == (["plain: not measured, recorded 0.80: FAILED", "mtls: 1.00, recorded 1.00 (+0%): ok"], False)
