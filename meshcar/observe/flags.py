"""Envoy's response flags, as they stand in access logs and metrics."""

from collections.abc import Mapping

LONG: Mapping[str, str] = {
    "UH": "NoHealthyUpstream",
    "UF": "UpstreamConnectionFailure",
    "UO": "UpstreamOverflow",
    "NR": "NoRouteFound",
    "URX": "UpstreamRetryLimitExceeded",
    "NC": "NoClusterFound",
    "DT": "DurationTimeout",
    "DC": "DownstreamConnectionTermination",
    "UT": "UpstreamRequestTimeout",
    "LR": "LocalReset",
    "UR": "UpstreamRemoteReset",
    "UC": "UpstreamConnectionTermination",
    "DI": "DelayInjected",
    "FI": "FaultInjected",
    "UAEX": "UnauthorizedExternalService",
    "SI": "StreamIdleTimeout",
    "IH": "InvalidEnvoyRequestHeaders",
    "DPE": "DownstreamProtocolError",
    "UPE": "UpstreamProtocolError",
    "UMSDR": "UpstreamMaxStreamDurationReached",
    "OM": "OverloadManagerTerminated",
    "DF": "DnsResolutionFailed",
    "DR": "DownstreamRemoteReset",
}
"""Short form to long form. Source: Envoy, access logging, %RESPONSE_FLAGS% and %RESPONSE_FLAGS_LONG%."""


def long(flags: str) -> str:
    """The long form of flags joined by commas; what is not known stays as it is."""
    return ",".join(LONG.get(flag, flag) for flag in flags.split(","))
