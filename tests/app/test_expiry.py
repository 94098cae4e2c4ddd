"""A certificate that nobody replaces."""

from datetime import UTC, datetime, timedelta

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from meshcar.app.expiry import LOOK_SECONDS, Expiry
from meshcar.identity.credentials import Credentials
from meshcar.identity.issue import Authority
from meshcar.identity.spiffe import SpiffeId
from meshcar.observe.counters import Counter

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ROOT = Authority.new("cluster.local", NOW, 100 * DAY)


def credentials(life: timedelta) -> Credentials:
    issued = ROOT.issue(SpiffeId.of_workload("cluster.local", "default", "default"), NOW, life)
    return Credentials.load(issued.chain, issued.key, ROOT.pem)


def test_once_a_day() -> None:
    """Nothing at first; a warning a day in the last fifth, and after the end; a new one is quiet."""
    clock, warned, held = Clock(), Counter(), [credentials(10 * DAY)]
    clock.advance(NOW.timestamp())
    expiry = Expiry(clock, lambda: held[0], warned)
    with capturedLogs() as events:
        expiry.start()
        for _ in range(11 * 24):
            clock.advance(LOOK_SECONDS * 60)
    said = [formatEvent(event) for event in events]
    assert warned.value == len(said) and 3 <= len(said) <= 4
    assert "spiffe://cluster.local/ns/default/sa/default expires in" in said[0] and "has expired" in said[-1]
    held[0] = credentials(60 * DAY)
    clock.advance(LOOK_SECONDS)
    assert warned.value == len(said)
    expiry.stop()
    assert not clock.getDelayedCalls()


def test_another_certificate() -> None:
    """Another one that expires soon is warned of at once."""
    clock, warned, held = Clock(), Counter(), [credentials(10 * DAY)]
    clock.advance((NOW + 9 * DAY).timestamp())
    expiry = Expiry(clock, lambda: held[0], warned)
    expiry.start()
    held[0] = credentials(9.1 * DAY)
    clock.advance(LOOK_SECONDS)
    assert warned.value == 2
    expiry.stop()


def test_none() -> None:
    """Without certificates there is nothing to warn of."""
    clock, warnings = Clock(), Counter()
    expiry = Expiry(clock, lambda: None, warnings)
    expiry.start()
    expiry.stop()
    assert (warnings.value, clock.getDelayedCalls()) == (0, [])
