"""What image prompts contain beside words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.guardrails.prompt import parse


def wanted(prompt, negative=""):
    return " ".join(" ".join(p.text for p in parse(prompt, negative) if not p.avoid).split())


def avoided(prompt, negative=""):
    return " ".join(" ".join(p.text for p in parse(prompt, negative) if p.avoid).split())


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a (castle:1.3) at dusk", "a castle at dusk"),
        ("((castle)), [moat], {tower}", "castle , moat , tower"),
        ("castle::2 moat::-0.5", "castle moat"),
        ("[oil:ink:0.5] on paper", "oil:ink on paper"),
        ("[oil|ink] on paper", "oil ink on paper"),
        ("paper <lora:ink_wash-v2:0.8> boat", "paper ink wash v boat"),
        ("castle BREAK moat AND tower", "castle , moat , tower"),
        ("castle --ar 16:9 --v 6 --stylize 250 moat", "castle moat"),
        (r"a castle \(ruin\)", "a castle ruin"),
        ("a girl (8 year old:1.2)", "a girl 8 year old"),
        ("a girl (age:8)", "a girl age 8"),
        ("a lens at f/1.8, 3:2 frame", "a lens at f/1.8, 3:2 frame"),
    ],
)
def test_syntax_is_no_words(prompt, words):
    assert wanted(prompt) == words


def test_what_to_avoid():
    assert avoided("castle --no people, cars --ar 1:1 moat") == "people, cars"
    assert wanted("castle --no people, cars --ar 1:1 moat") == "castle moat"
    assert avoided("castle ### blurry") == "blurry"
    assert avoided("castle", "blurry (ugly:1.4)") == "blurry ugly"


@given(st.text(max_size=200), st.text(max_size=50))
@settings(deadline=None)
def test_every_position_is_that_of_the_original(prompt, negative):
    for part in parse(prompt, negative):
        source = negative if part.field == "negative_prompt" else prompt
        assert part.offset + len(part.text) <= len(source)
        for at, char in enumerate(part.text):
            assert char in {" ", ",", source[part.offset + at]}


@given(st.text(alphabet="()[]<>:lora. 0123456789-#", max_size=300))
@settings(deadline=None)
def test_any_brackets(prompt):
    parse(prompt)
