"""The figures that evaluations print."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.core.errors import UsageError
from clearmark.guardrails import get_guard
from clearmark.guardrails.prompt.evaluation import area, by_source, interval, measure, read_rows, recall_at

SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), min_size=1, max_size=12)


@given(SCORES, SCORES)
@settings(deadline=None)
def test_area_is_the_share_of_pairs_in_order(harmful, harmless):
    pairs = [(a > b) + 0.5 * (a == b) for a in harmful for b in harmless]
    labels = [True] * len(harmful) + [False] * len(harmless)
    assert area([*harmful, *harmless], labels) == pytest.approx(sum(pairs) / len(pairs))


def test_area_needs_both_kinds():
    with pytest.raises(UsageError):
        area([0.1], [True])


def test_recall_at():
    harmless = [n / 100 for n in range(100)]
    assert recall_at([0.99, 0.97, 0.5, 0.2], harmless, 0.05) == 0.5


@given(st.integers(0, 50), st.integers(1, 50))
@settings(deadline=None)
def test_interval_holds_the_share(hits, extra):
    low, high = interval(hits, hits + extra)
    assert 0 <= low <= hits / (hits + extra) <= high <= 1


def rows(tmp_path, lines):
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def test_measures_rows_by_source(tmp_path):
    lines = [
        {"id": 1, "set": "mine", "label": 1, "category": "sexual", "text": "a naked woman, hardcore porn"},
        {"id": 2, "set": "mine", "label": 0, "category": "", "text": "a red apple on a table"},
    ]
    (source,) = by_source(measure(get_guard("prompt"), list(read_rows(rows(tmp_path, lines)))))
    assert (source.area, source.recall, source.false_alarms) == (1.0, 1.0, 0.0)


def test_categories_are_ours(tmp_path):
    lines = [{"id": 1, "set": "i2p", "label": 1, "category": "violence, shocking, self-harm", "text": "x"}]
    (row,) = read_rows(rows(tmp_path, lines))
    assert row.categories == {"violence", "violence/graphic", "self-harm"}


def test_rows_that_fit_keeps_back_can_be_read_again(tmp_path):
    lines = [{"id": 1, "set": "i2p", "label": 1, "category": ["illicit", "sexual", "other"], "text": "x"}]
    (row,) = read_rows(rows(tmp_path, lines))
    assert row.categories == {"illicit", "sexual"}


def test_files_that_are_no_rows(tmp_path):
    with pytest.raises(UsageError, match="line 0"):
        list(read_rows(tmp_path / "absent.jsonl"))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": 1}\n')
    with pytest.raises(UsageError, match="line 1"):
        list(read_rows(bad))
