"""Numbers made of samples: paired ratios, the table, the comparison with the record. Pure."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

import attrs

MAY_FALL = 0.25
"""How far below the recorded ratio one may be: the noise of short runs is less (bench/README.md)."""


@attrs.frozen(kw_only=True)
class Sample:
    """A second of load."""

    requests: int
    seconds: float
    errors: int = 0
    p99_ms: float = 0.0
    cpu_us: float = 0.0
    """CPU of all of the sidecar's processes, microseconds a request."""
    core: float = 0.0
    """The same CPU as a share of one core."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@attrs.frozen(kw_only=True)
class Result:
    """One scenario: the samples of both, in the order taken, and MiB resident before the load."""

    name: str
    meshcar: Sequence[Sample]
    envoy: Sequence[Sample]
    memory: tuple[float, float] = (0.0, 0.0)
    copies: tuple[float, float] | None = None
    """Share of the requests whose copies arrived."""

    def rate_ratio(self) -> float:
        """Requests a second, meshcar's over Envoy's."""
        return paired(self.meshcar, self.envoy, lambda sample: sample.rate)

    def cpu_ratio(self) -> float:
        """CPU of a request, Envoy's over meshcar's: above 1 meshcar needs less."""
        return paired(self.envoy, self.meshcar, lambda sample: sample.cpu_us)


def paired(top: Sequence[Sample], bottom: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """Median of the ratios of samples that were taken next to each other, so that a slow second of the machine counts for both."""
    return median(value(one) / value(other) for one, other in zip(top, bottom, strict=True))


def table(results: Sequence[Result]) -> str:
    """Markdown, two rows a scenario."""
    lines = [
        "| scenario | | requests/s | CPU µs/request | p99 ms | core | MiB idle | copies |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for side, (name, samples) in enumerate((("meshcar", result.meshcar), ("Envoy", result.envoy))):
            copies = f"{result.copies[side]:.2%}" if result.copies else ""
            lines.append(
                f"| {result.name if side == 0 else ''} | {name} | {_middle(samples, 'rate'):,.0f} | {_middle(samples, 'cpu_us'):.1f} | "
                f"{_middle(samples, 'p99_ms'):.1f} | {_middle(samples, 'core'):.2f} | {result.memory[side]:.0f} | {copies} |"
            )
    return "\n".join(lines)


def compared(measured: Mapping[str, float], recorded: Mapping[str, float]) -> tuple[list[str], bool]:
    """A line for each recorded ratio, and whether none is missing or more than MAY_FALL below what was recorded."""
    lines, well = [], True
    for name, before in recorded.items():
        now = measured.get(name)
        if now is None:
            lines.append(f"{name}: not measured, recorded {before:.2f}: FAILED")
            well = False
            continue
        good = now >= before * (1 - MAY_FALL)
        lines.append(f"{name}: {now:.2f}, recorded {before:.2f} ({now / before - 1:+.0%}): {'ok' if good else 'FAILED'}")
        well = well and good
    return lines, well


def _middle(samples: Sequence[Sample], field: str) -> float:
    return float(median(getattr(sample, field) for sample in samples))
