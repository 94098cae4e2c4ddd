"""What rules do to headers, in words."""

import pytest

from meshcar.rules.policies import HeaderChange, Operation
from meshcar.rules.told import changes
from meshcar.wire.formats import parse
from meshcar.wire.head import RequestHead

HEAD = RequestHead(b"GET", b"/a?b", b"h:80", [(b"x", b"value"), (b"x-forwarded-proto", b"https")])


def change(*operations: Operation) -> HeaderChange:
    return HeaderChange(operations)


def test_one() -> None:
    """Sets, adds (of one name together) and removes; a Host that is set stands apart."""
    found = changes([change(
        ("remove", b"r", ()), ("set", b":authority", (b"new",)), ("set", b"s", (b"1",)), ("set", b"s", (b"2",)), ("add", b"a", (b"1",)),
        ("add", b"a", (b"2",)),
    )], HEAD)  # fmt: skip
    assert found.entry() == {"headers_set": {"s": "2"}, "headers_added": {"a": "1,2"}, "headers_removed": ["r"]}
    assert (found.authority, bool(found), bool(changes([None], HEAD)), bool(changes([], HEAD))) == (b"new", True, False, False)


def test_several() -> None:
    """What all have in common, and what one has besides."""
    wide: Operation = ("set", b"wide", (b"1",))
    one, two = change(("add", b"own", (b"1",)), wide), change(wide, ("remove", b"own", ()))
    common = changes([one, two], HEAD)
    assert common.entry()["headers_set"] == {"wide": "1"}
    assert changes([one], HEAD).without(common).entry() == {"headers_set": {}, "headers_added": {"own": "1"}, "headers_removed": []}
    assert changes([two], HEAD).without(common).removed == ("own",)
    assert not changes([one, None], HEAD)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("a%REQ(X)%b", "avalueb"), ("%REQ(x):3%", "val"), ("%REQ(none?x)%", "value"), ("%REQ(none)%", ""),
        ("%REQ(:path)% %REQ(:method)% %REQ(:authority)% %REQ(:scheme)%", "/a?b GET h:80 https"),
        ("%UPSTREAM_HOST%", "%UPSTREAM_HOST%"), ("%START_TIME(%s)%", "%START_TIME(%s)%"), ("100%%", "100%"),
    ],
)  # fmt: skip
def test_formats(form: str, value: str) -> None:
    """What the request tells is filled in, the rest stays as it is written."""
    assert changes([change(("set", b"s", parse(form)))], HEAD).set == ({"s": value} if value else {})


def test_removed_before() -> None:
    """What a removed header held is not filled in, and no empty value is set or added."""
    removes, adds = ("remove", b"x", ()), ("add", b"a", parse("<%REQ(x)%>"))
    found = changes([change(removes, ("set", b"s", parse("%REQ(x)%")), adds, ("add", b"e", ()))], HEAD)
    assert found.entry() == {"headers_set": {}, "headers_added": {"a": "<>"}, "headers_removed": ["x"]}
