"""Tests of meshcar.wire.path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.errors import BadMessage
from meshcar.wire.path import MODES, normalise

parts = st.sampled_from(rb"/ / . .. a b;c %2e %2F %5c \ %61 %zz ? | %25 %7e".split())
targets = st.lists(parts, max_size=12).map(lambda found: b"/" + b"".join(found))


@pytest.mark.parametrize(
    "target, base, merged, decoded",
    [
        (b"/", b"/", b"/", b"/"),
        (b"/headers?a=b&c=%20d", b"/headers?a=b&c=%20d", b"/headers?a=b&c=%20d", b"/headers?a=b&c=%20d"),
        (b"//a//b", b"//a//b", b"/a/b", b"/a/b"),
        (b"//", b"//", b"//", b"//"),
        (b"///", b"///", b"//", b"//"),
        (b"/a//?b//c", b"/a//?b//c", b"/a/?b//c", b"/a/?b//c"),
        (b"/a/../b", b"/b", b"/b", b"/b"),
        (b"/a/./b", b"/a/b", b"/a/b", b"/a/b"),
        (b"/../x", b"/x", b"/x", b"/x"),
        (b"/a/b/..", b"/a/", b"/a/", b"/a/"),
        (b"/.", b"/", b"/", b"/"),
        (b"/a/.../.b/..c", b"/a/.../.b/..c", b"/a/.../.b/..c", b"/a/.../.b/..c"),
        (b"/a/b//../c", b"/a/b/c", b"/a/b/c", b"/a/b/c"),
        (b"/a/%2e%2E/b", b"/b", b"/b", b"/b"),
        (b"/%61bc%2D%5f%7E", b"/abc-_~", b"/abc-_~", b"/abc-_~"),
        (b"/a%2Fb", b"/a%2Fb", b"/a%2Fb", b"/a/b"),
        (b"/a%2fb/..%2fc", b"/a%2fb/..%2fc", b"/a%2fb/..%2fc", b"/a/c"),
        (b"/a\\b?c\\d", b"/a/b?c\\d", b"/a/b?c\\d", b"/a/b?c\\d"),
        (b"/a%5Cb/../c", b"/c", b"/c", b"/a/c"),
        (b"/a;p=1/../b", b"/b", b"/b", b"/b"),
        (b"/a/..;x/b", b"/b", b"/b", b"/b"),
        (b"/a/.;x", b"/a/", b"/a/", b"/a/"),
        (b"/a/..%3bx/b", b"/a/..%3bx/b", b"/a/..%3bx/b", b"/a/..%3bx/b"),
        (b"/a?x=/../y", b"/a?x=/../y", b"/a?x=/../y", b"/a?x=/../y"),
        (b"/%zz%2%", b"/%zz%2%", b"/%zz%2%", b"/%zz%2%"),
        (b"/%252e%252e/x", b"/%252e%252e/x", b"/%252e%252e/x", b"/%252e%252e/x"),
        (b'/a"<>`{|}^', b"/a%22%3C%3E%60%7B%7C%7D%5E", b"/a%22%3C%3E%60%7B%7C%7D%5E", b"/a%22%3C%3E%60%7B%7C%7D%5E"),
        (b"/a[b]!$&'()*+,=:@", b"/a[b]!$&'()*+,=:@", b"/a[b]!$&'()*+,=:@", b"/a[b]!$&'()*+,=:@"),
    ],
)
def test_spellings(target: bytes, base: bytes, merged: bytes, decoded: bytes) -> None:
    """Each mode gives the form that Envoy 1.40 gave; `none` leaves the target alone."""
    assert [normalise(target, mode) for mode in MODES] == [target, base, merged, decoded]


@pytest.mark.parametrize("target, kept", [(b"/a#b", b"/a"), (b"/a#b?c", b"/a"), (b"/a?b#c", b"/a?b"), (b"/#", b"/")])
def test_fragment(target: bytes, kept: bytes) -> None:
    """A fragment, and whatever follows it, never reaches a rule."""
    assert {normalise(target, mode) for mode in MODES} == {kept}


@pytest.mark.parametrize("target", [b"/a%00b", b"/a\0b"])
def test_nul(target: bytes) -> None:
    """A NUL is refused as Envoy refuses it: 400, no body, no flag. In a query nobody looks."""
    for mode in MODES[1:]:
        with pytest.raises(BadMessage) as refused:
            normalise(target, mode)
        assert (refused.value.status, refused.value.details) == (400, "path_normalization_failed")
        assert (refused.value.body, refused.value.flag) == (b"", "-")
    assert normalise(b"/a?%00", "base") == b"/a?%00"


@pytest.mark.parametrize("target", [b"*", b"reviews:9080", b"", b"?a=%61"])
def test_other_forms(target: bytes) -> None:
    """What has no path stays."""
    assert {normalise(target, mode) for mode in MODES} == {target}


@given(targets, st.sampled_from(["base", "merge_slashes"]))
def test_twice_is_once(target: bytes, mode: str) -> None:
    """A normal form is its own normal form, so the next sidecar sees what this one saw."""
    once = normalise(target, mode)
    assert normalise(once, mode) == once


@given(targets, st.sampled_from(MODES[1:]))
def test_no_dots_left(target: bytes, mode: str) -> None:
    """No dot segment gets past, however it is spelled."""
    segments = normalise(target, mode).partition(b"?")[0].split(b"/")
    assert not {b".", b".."} & set(segments)
