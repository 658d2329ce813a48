"""Checking many rows at once accepts no more than checking them one by one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.audits.ledger._entries import Entry
from clearmark.audits.ledger._merkle import Frontier
from clearmark.audits.ledger._verify_bulk import _places, check_group
from clearmark.core import Event

START = 512


def rows_of(count=20):
    rows = []
    for number in range(count):
        event = Event(
            kind="output.decided",
            request_id=f"r-{number}",
            body={"number": number},
            mark_ids=("0f",) if number == 7 else (),
        )
        rows.append((*Entry.of(event).row(START + number), None))
    return rows


def test_good_rows():
    rows = rows_of()
    group = check_group(rows, START)
    assert group.leaves == [row[7] for row in rows]
    assert group.noted == [7]


@given(at=st.integers(0, 19), column=st.integers(0, 8), bit=st.integers(0, 7), place=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_any_change_is_refused(at, column, bit, place):
    rows = rows_of()
    value = rows[at][column]
    if value is None:
        value = "pruned"
    elif isinstance(value, int):
        value ^= 1 << bit
    else:
        raw = bytearray(value.encode() if isinstance(value, str) else value)
        raw[min(int(place * len(raw)), len(raw) - 1)] ^= 1 << bit
        value = raw.decode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(raw)
    rows[at] = (*rows[at][:column], value, *rows[at][column + 1 :])
    assert check_group(rows, START) is None


@pytest.mark.parametrize("value", [1.0, True, "x", b"x", None, 2**70])
@pytest.mark.parametrize("column", range(9))
def test_other_types_are_refused(value, column):
    rows = rows_of()
    if column == 8 and value is None:
        return
    rows[3] = (*rows[3][:column], value, *rows[3][column + 1 :])
    assert check_group(rows, START) is None


def test_rows_out_of_place_are_refused():
    rows = rows_of()
    assert check_group(rows, START + 1) is None
    assert check_group([*rows[:5], *rows[6:]], START) is None
    assert check_group([*rows[:5], RuntimeError("unreadable"), *rows[6:]], START) is None
    assert check_group([], START) is None


def test_columns_that_need_escapes_are_left_to_the_careful_way():
    event = Event(kind="a", request_id='two"quotes', body={})
    assert check_group([(*Entry.of(event).row(0), None)], 0) is None


@given(st.lists(st.integers(0, 40), max_size=12))
@settings(max_examples=100, deadline=None)
def test_extending_a_frontier_is_appending_one_by_one(parts):
    slow, fast = Frontier(), Frontier()
    number = 0
    for part in parts:
        leaves = [bytes([(number + at) % 256]) * 32 for at in range(part)]
        number += part
        for leaf in leaves:
            slow.append(leaf)
        fast.extend(leaves)
        assert (fast.size, fast.peaks, fast.root()) == (slow.size, slow.peaks, slow.root())


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.data())
@settings(max_examples=100, deadline=None)
def test_names_are_found_wherever_they_lie(lengths, data):
    """What names marks or personal data is found at every offset, and nothing else is."""
    names = (b'"mark_ids":["', b'"personal":{"')
    near = (b'"mark_ids":[]', b'"personal":{}', b'"personally":{"', b"rk_ids", b'onal":{')
    words = [data.draw(st.sampled_from((b"", *names, *near))) for _ in lengths]
    envelopes = [b'{"body":{' + b"x" * n + word + b"}" for n, word in zip(lengths, words, strict=True)]
    assert _places(envelopes) == {at for at, word in enumerate(words) if word in names}
