"""Tests of meshcar.observe.flags."""

from meshcar.observe.flags import long


def test_long() -> None:
    """Flags keep their order; what is not known stays."""
    assert long("URX,UF") == "UpstreamRetryLimitExceeded,UpstreamConnectionFailure"
    assert (long("-"), long("ZZ,UH")) == ("-", "ZZ,NoHealthyUpstream")
