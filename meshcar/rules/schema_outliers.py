"""Istio's OutlierDetection of a DestinationRule as frozen values, field by field.

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar

import attrs

from meshcar.rules import units
from meshcar.rules.problems import Fault

Number = Annotated[int, units.uint32]
Percent = Annotated[int, units.whole_percent]
Timespan = Annotated[float, units.timespan]


@attrs.frozen(kw_only=True)
class OutlierDetection:
    """Source: OutlierDetection. None is Istio's default; 0 of the consecutive5xxErrors and consecutiveGatewayErrors is never."""

    SPELLINGS: ClassVar = {"consecutive_5xx_errors": ("consecutive5xxErrors",)}

    consecutive_errors: Annotated[int, units.int32] = 0
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: Number | None = None
    consecutive_gateway_errors: Number | None = None
    consecutive_5xx_errors: Number | None = None
    interval: Timespan | None = None
    base_ejection_time: Timespan | None = None
    max_ejection_percent: Percent = 0
    min_health_percent: Percent = 0
    outlier_detection_http_error_codes: tuple[Annotated[int, units.any_status], ...] = ()

    def faults(self) -> Iterator[Fault]:
        if self.consecutive_errors:
            message = "consecutiveErrors is deprecated and has no effect; write consecutiveGatewayErrors or consecutive5xxErrors"
            yield Fault(("consecutiveErrors",), "DEPRECATED", message)
        if self.consecutive_local_origin_failures and not self.split_external_local_origin_errors:
            message = "consecutiveLocalOriginFailures needs splitExternalLocalOriginErrors: true"
            yield Fault(("consecutiveLocalOriginFailures",), "CONFLICT", message)
