"""Header operations: which headers a rule may change."""

import pytest
import yaml

from meshcar.rules.problems import spell
from meshcar.rules.schema_headers import Headers
from meshcar.rules.shapes import Faults, message


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{request: {set: {Host: a}, add: {x: ''}, remove: [x]}, response: {set: {x: '100%%'}, add: {x: '%HOSTNAME%'}}}", []),
        ("{request: {add: {':authority': a}}}", []),
        ("{request: {set: {':path': a}}}", ['request.set[":path"]']),
        ("{request: {remove: [x, ':authority', Host]}}", ["request.remove[1]", "request.remove[2]"]),
        (
            "{response: {set: {host: a}, add: {':status': a}, remove: [':status']}}",
            ["response.set.host", 'response.add[":status"]', "response.remove[0]"],
        ),
        ("{request: {set: {'': a}}}", ['request.set[""]']),
        ("{response: {remove: ['']}}", ["response.remove[0]"]),
        ("{response: {add: {x: 'a%b'}}}", ["response.add.x"]),
    ],
)
def test_names(text: str, wanted: list[str]) -> None:
    """Of pseudo-headers and Host, only a request's authority."""
    faults = Faults()
    message(Headers)(yaml.safe_load(text), (), faults)
    assert [(fault.code, spell(fault.path)) for fault in faults] == [("INVALID_VALUE", path) for path in wanted]


def test_empty_operators() -> None:
    """An operator that never says anything is told of."""
    faults = Faults()
    message(Headers)(yaml.safe_load("{request: {set: {x: '%DOWNSTREAM_PEER_URI_SAN% %PROTOCOL%'}}}"), (), faults)
    assert [(fault.code, spell(fault.path)) for fault in faults] == [("NO_EFFECT", "request.set.x")]
