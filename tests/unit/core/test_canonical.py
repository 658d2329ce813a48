from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearmark.core import canonical_json, digest, micro
from clearmark.core.errors import UsageError

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_written_reads_back_the_same(value) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(TEXT, st.integers(0, 9), max_size=8))
def test_order_of_keys_does_not_matter(value) -> None:
    turned = dict(reversed(list(value.items())))
    assert canonical_json(value) == canonical_json(turned)
    assert digest(value) == digest(turned)


@pytest.mark.parametrize(
    "value", [1.0, {"a": [0.5]}, 2**53, -(2**53), {1: "a"}, "\ud800", {"a": b"x"}, {"a": {1, 2}}, object()]
)
def test_what_has_no_one_form_is_refused(value) -> None:
    with pytest.raises(UsageError, match="not canonical JSON"):
        canonical_json(value)


def test_nesting_is_bounded() -> None:
    value: list = []
    for _ in range(5000):
        value = [value]
    with pytest.raises(UsageError, match="nested"):
        canonical_json(value)


@given(st.floats(0, 1))
def test_micro_units_are_whole_and_close(score) -> None:
    assert isinstance(micro(score), int)
    assert abs(micro(score) / 1e6 - score) <= 5e-7 + 1e-12
