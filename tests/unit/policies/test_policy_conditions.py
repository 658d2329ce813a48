"""Conditions: hostile ones cost nothing and break nothing, and what is said about names holds."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.core import CATEGORIES
from clearmark.policies._conditions import (
    MAX_CHARS,
    categories,
    compile_condition,
    evaluate,
    inspect_condition,
    reads,
)
from clearmark.policies.inputs import RequestFacts

REQUEST = RequestFacts(task="inpaint", n=3, has_init_image=True, region="DE").variables()
SEEN = {
    "stage": "output",
    "request": REQUEST,
    "scores": {category: index / 20 for index, category in enumerate(CATEGORIES)},
    "facts": {"faces": 2, "photo": True, "sharp": 0.5, "kind": "x"},
}

HOSTILE = [
    "&&".join(["true"] * 330),
    "1+" * 900 + "1>0",
    "request.n" + ".n" * 900,
    "!-" * 400 + "true",
    "1<" * 900 + "1",
    "true?" * 150 + "true" + ":true" * 150,
    "(" * 900 + ")" * 900,
    "[" * 24 + "]" * 24,
    "{" * 1000,
    "1/0==1",
    "[1][5]==1",
    "9223372036854775807+1>0",
    "int(1e300)>0",
    '"\\ud800"=="x"',
    "1e999>0.0",
    "has(1)",
    "size()==1",
    '"a".matches("((a{1,100}){1,100}){1,100}")',
    '"a".startsWith()',
    "facts.kind.matches(facts.nothing)",
    "",
    "\x00",
    "'''scores.hate''' == 'a'",
    'r"\\"" == "a"',
    f"[{'1,' * 400}1].exists(x, [{'1,' * 400}1].exists(y, x == y))",
]


@pytest.mark.parametrize("source", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_condition_is_refused_or_evaluated_quickly(source: str) -> None:
    assert len(source) <= MAX_CHARS
    start = time.process_time()
    if not inspect_condition(source):
        evaluate(compile_condition(source), SEEN)
    assert time.process_time() - start < 5


atoms = st.sampled_from(
    [
        "request.n > 2",
        'request["n"] == 3',
        "request.has_init_image",
        'request.task in ["inpaint"]',
        "scores.hate > 0.1",
        'scores["sexual/minors"] >= 0.05',
        '"hate" in scores',
        '!("trademark" in scores)',
        "has(facts.faces)",
        "facts.photo",
        "facts.faces == 2",
        '"kind" in facts',
        'facts["kind"] == "x"',
        "facts.absent > 1",
        "scores.exists(k, scores[k] > 0.6)",
        "size(facts) == 4",
        "scores.size() > 3",
        'stage == "output"',
        'request.region.startsWith("D")',
        "facts == facts",
        'scores["ha" + "te"] > 0.1',
        'request.all(k, k != "n")',
        "'it\\'s' == facts.kind",
        "true",
        "facts.sharp * 2.0 == 1.0",
        '("ha" + "te") in scores',
        "scores.hate in [0.2]",
        'facts.kind in {"x": 1}',
    ]
)
conditions = st.recursive(
    atoms,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["&&", "||", "=="]), inner)
        | inner.map("!({})".format)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(conditions)
def test_a_condition_sees_all_that_it_can_read(source: str) -> None:
    program = compile_condition(source)
    said = reads([source])
    less = {
        "stage": "output",
        **{
            root: {
                name: value for name, value in SEEN[root].items() if said[root] is None or name in said[root]
            }
            for root in ("request", "scores", "facts")
        },
    }
    assert evaluate(program, less) == evaluate(program, SEEN)


def test_what_a_condition_reads() -> None:
    said = reads(['request.n > 1 && scores["hate"] > 0.1 && "kind" in facts'])
    assert said == {"request": {"n"}, "scores": {"hate"}, "facts": {"kind"}}
    assert reads(["size(scores) > 1"])["scores"] is None
    assert reads(["request.n > 1"])["scores"] == frozenset()
    assert categories('scores.hate > 0.1 || scores["sexual/minors"] > 0.2') == ("hate", "sexual/minors")


PIECES = [
    "scores",
    "request",
    "facts",
    ".",
    "[",
    "]",
    "(",
    ")",
    '"',
    "'",
    "&&",
    "||",
    ">",
    "1",
    "0.5",
    "hate",
]
PIECES += ["n", "in", "!", 'r"', ",", "?", ":", "==", "has", "exists", "x"]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join))
def test_any_text_is_inspected_without_a_crash(source: str) -> None:
    problems = inspect_condition(source)
    assert all(problem.at is None or 0 <= problem.at <= len(source) for problem in problems)
    if not problems:
        evaluate(compile_condition(source), SEEN)
