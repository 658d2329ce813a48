"""The fast way to canonical JSON gives the bytes, and the errors, of the general way."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.audits.ledger._entries import Entry
from clearmark.core import Event, canonical_json
from clearmark.core.canonical import _general
from clearmark.core.errors import UsageError

SCALARS = st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.text() | st.floats(allow_nan=True)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=25,
)


def outcome(function, value):
    try:
        return function(value)
    except UsageError:
        return UsageError


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_same_bytes_or_same_refusal(value):
    assert outcome(canonical_json, value) == outcome(_general, value)


@pytest.mark.parametrize(
    "value",
    [
        {"\U0001f34e": 1, "\ufffd": 2},
        "\ud800",
        {"\ud800": 1},
        {1: 2},
        {True: 1},
        2**53,
        -(2**53 - 1),
        (1, (2, [3])),
        {"b": [], "a": {}},
        "".join(map(chr, range(0x300))),
        b"bytes",
        float("nan"),
    ],
)
def test_particular_values(value):
    assert outcome(canonical_json, value) == outcome(_general, value)


def test_deep_values():
    value = []
    for _ in range(5000):
        value = [value]
    assert outcome(canonical_json, value) is UsageError


@given(
    st.text(min_size=1, max_size=30).filter(str.isprintable),
    st.text(min_size=1, max_size=30).filter(str.isprintable),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
@settings(max_examples=100, deadline=None)
def test_an_entry_has_the_bytes_of_the_event(request_id, tenant, body):
    event = Event(kind="a.b", request_id=request_id, tenant=tenant, body=body, mark_ids=("0f",))
    body = {key: value for key, value in body.items() if key not in {"personal", "mark_ids"}}
    event = Event(**{**vars(event), "body": body})
    entry = Entry.of(event)
    assert entry.envelope == event.envelope({**body, "mark_ids": ["0f"]})
    assert json.loads(entry.envelope)["tenant"] == tenant
    assert _general(json.loads(entry.envelope)) == entry.envelope
