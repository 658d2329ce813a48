"""Hiding what a prompt says costs the one who hides, not the guard."""

import json
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.core import Request, Stage, Subject
from clearmark.guardrails import get_guard
from clearmark.guardrails.prompt.attacks import ATTACKS

CARDS = json.loads((files("clearmark.guardrails") / "prompt" / "cards.json").read_text(encoding="utf-8"))
BLUNT = [
    (c, t) for c in ("sexual", "violence", "hate", "self-harm") for t in CARDS[c]["should"] if t.isascii()
]
# The share of blunt prompts that an attack may win, as measured, rounded up.
ALLOWED = {"spaced": 0.15, "swapped letters": 0.2, "dropped letters": 0.2, "leet": 0.15, "dotted": 0.15}


def tripped(texts):
    guard = get_guard("prompt")
    answers = guard.check([Subject(stage=Stage.PROMPT, request=Request(text)) for text in texts])
    return [{f.category for f in findings if f.score >= f.threshold} for findings in answers]


@pytest.mark.parametrize("attack", ATTACKS)
def test_blunt_prompts_stay_caught(attack):
    caught = tripped([ATTACKS[attack](text) for _, text in BLUNT])
    lost = [text for (category, text), found in zip(BLUNT, caught, strict=True) if category not in found]
    assert len(lost) <= ALLOWED.get(attack, 0.1) * len(BLUNT), lost


WORDS = st.sampled_from(
    ["a", "red", "quiet", "tree", "house", "river", "light", "stone", "morning", "garden", "over", "under"]
)


@given(
    st.lists(WORDS, max_size=120),
    st.lists(WORDS, max_size=120),
    st.sampled_from(["naked woman, porn", "hardcore sex"]),
)
@settings(max_examples=40, deadline=None)
def test_no_amount_of_harmless_words_hides_it(before, after, core):
    assert "sexual" in tripped([" ".join([*before, core, *after])])[0]


@given(st.lists(st.sampled_from(["(", ")", "[", "]", ":1.2", "<lora:", ">", "::2", " ", ","]), max_size=12))
@settings(max_examples=40, deadline=None)
def test_no_syntax_hides_it(signs):
    noise = "".join(signs)
    assert "sexual" in tripped([f"{noise} naked woman {noise} hardcore porn {noise}"])[0]


@given(st.sampled_from(sorted(ATTACKS)), st.lists(WORDS, min_size=5, max_size=12))
@settings(max_examples=60, deadline=None)
def test_harmless_words_stay_harmless(attack, words):
    if attack != "base64":
        assert tripped([ATTACKS[attack](" ".join(words))])[0] == set()
