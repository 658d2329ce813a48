"""Aho and Corasick's automaton finds what a naive search finds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.guardrails.prompt._automaton import Automaton

TEXTS = st.text(alphabet="ab ", max_size=60)
PATTERNS = st.lists(st.text(alphabet="ab ", min_size=1, max_size=5), max_size=12, unique=True)


@given(TEXTS, PATTERNS)
@settings(deadline=None)
def test_finds_every_occurrence(text, patterns):
    found = {(hit.start, hit.end, hit.value) for hit in Automaton([(p, p) for p in patterns]).find(text)}
    expected = {
        (at, at + len(p), p) for p in patterns for at in range(len(text)) if text[at : at + len(p)] == p
    }
    assert found == expected


def test_works_on_words():
    automaton = Automaton([(("ice", "cream"), 1), (("cream",), 2)])
    hits = [(hit.start, hit.end, hit.value) for hit in automaton.find(["an", "ice", "cream"])]
    assert hits == [(1, 3, 1), (2, 3, 2)]


def test_no_patterns():
    assert list(Automaton([]).find("anything")) == []
