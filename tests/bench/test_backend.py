"""The check of copies before the load."""

import pytest

from bench.backend import check_copies
from bench.processes import Failed

SENT = {("check-0", "GET", "/a", "-"), ("check-1", "POST", "/a", "5")}


def test_every_copy_once() -> None:
    """In any order."""
    check_copies(sorted(SENT, reverse=True), SENT)


@pytest.mark.parametrize(
    ("marked", "says"),
    [
        ([("check-0", "GET", "/a", "-")], "of 2 copies 1 are missing, 0 are too many"),
        ([*SENT, ("check-0", "GET", "/a", "-")], "0 are missing, 1 are too many"),
        ([("check-0", "GET", "/a", "-"), ("check-1", "POST", "/a", "-")], "1 are missing, 1 are too many"),
    ],
    ids=["missing", "twice", "without its body"],
)
def test_copies_that_are_not(marked: list[tuple[str, ...]], says: str) -> None:
    """Missing, doubled or altered copies end the run."""
    with pytest.raises(Failed, match=says):
        check_copies(marked, SENT)
