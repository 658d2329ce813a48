"""Names in prompts: people and brands, told apart from the words that they are made of."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.guard_contract import GuardContract

from clearmark.core import Guard, Request, Stage, Subject
from clearmark.guardrails import _names
from clearmark.guardrails._names import NameTable, key_of, name_words
from clearmark.guardrails.likeness import PeopleGuard, find_people, people_count
from clearmark.guardrails.likeness.build import seen_in
from clearmark.guardrails.trademark import BrandGuard, find_brands, find_characters
from clearmark.guardrails.trademark.build import brand_lines


class TestPeopleGuard(GuardContract):
    @pytest.fixture
    def guard(self) -> Guard:
        return PeopleGuard()


class TestBrandGuard(GuardContract):
    @pytest.fixture
    def guard(self) -> Guard:
        return BrandGuard()


def _brand(text: str) -> float:
    return max((hit.score for hit in find_brands(text)), default=0.0)


def _person(text: str) -> float:
    return max((hit.score for hit in find_people(text)), default=0.0)


@pytest.mark.parametrize(
    "text",
    [
        "a can of coca-cola on a table",
        "a McDonald's restaurant at night",
        "mcdonalds fries",
        "the Apple logo on a wall",
        "an apple store in a mall",
        "sneakers by ni\u200bke",
        "a n i k e shoe",
        "an ad1das jacket",
        "\uff4e\uff49\uff4b\uff45 shoes",
        "(starbucks:1.3) cup",
        "cocacola bottle",
        "a man in a Puma jacket",
    ],
)
def test_brands_are_found(text: str) -> None:
    assert _brand(text) >= 0.5


@pytest.mark.parametrize(
    "text",
    [
        "a red apple on a table",
        "a puma resting on a rock",
        "an orange cat in a gap between houses",
        "the shell on the beach",
        "dove in flight over the amazon river",
        "an n ike on paper",
        "a hat --no nike logo",
        "he lays bricks on target",
    ],
)
def test_words_are_no_brands(text: str) -> None:
    assert _brand(text) < 0.5


@pytest.mark.parametrize(
    "text",
    [
        "Donald Trump eating pizza",
        "donald trump's hair",
        "trump in jail",
        "t a y l o r  s w i f t on stage",
        "tayl\u043er swift, photo",
        "a portrait of \u7279\u6717\u666e",
        "\u041f\u0443\u0442\u0438\u043d \u043d\u0430 \u043c\u0435\u0434\u0432\u0435\u0434\u0435",
        "barackobama dancing",
        "the singer Prince on a stage",
        "[cat:Emma Watson:0.5]",
    ],
)
def test_people_are_found(text: str) -> None:
    assert _person(text) >= 0.5


@pytest.mark.parametrize(
    "text",
    [
        "the eiffel tower in paris",
        "a camel in jordan",
        "a young prince on a horse",
        "a stop at John F Kennedy airport",
        "a trump card on a table",
        "a bush with pink flowers",
        "portrait of a knight",
    ],
)
def test_places_and_words_are_no_people(text: str) -> None:
    assert _person(text) < 0.5


def test_the_long_dead_are_a_fact() -> None:
    subject = Subject(stage=Stage.PROMPT, request=Request("Napoleon on a horse"))
    (finding,) = PeopleGuard().check([subject])[0]
    assert finding.score == 0.0
    assert finding.facts["historical_figure"] is True


def test_spans_and_matches_point_at_the_name() -> None:
    prompt = "a photo of Angela Merkel, Nike shoes"
    subject = Subject(stage=Stage.PROMPT, request=Request(prompt))
    (person,) = PeopleGuard().check([subject])[0]
    (brand,) = BrandGuard().check([subject])[0]
    assert person.evidence.span is not None
    assert prompt[person.evidence.span.start : person.evidence.span.end] == "Angela Merkel"
    assert brand.evidence.match is not None
    assert brand.evidence.match.item == "nike"
    assert person.facts["public_figure_count"] == 1


def test_names_of_ones_own() -> None:
    subject = Subject(stage=Stage.PROMPT, request=Request("a Flurbo bottle held by Zara Quillfeather"))
    assert BrandGuard(["Flurbo"]).check([subject])[0][0].score >= 0.5
    assert PeopleGuard(["Zara Quillfeather"]).check([subject])[0][0].score >= 0.5


def test_five_thousand_people_are_known() -> None:
    assert people_count() >= 5000


def test_the_list_learns_doubt_from_captions() -> None:
    lines = brand_lines(
        ["Blue Moon", "Zyxel", "Kettle"],
        famous=["Kettle Chips"],
        seen=["a blue moon over the sea"],
        words=frozenset(["kettle"]),
    )
    assert lines == ["kettle chips", "zyxel", "?blue moon", "?kettle"]
    assert seen_in(["A Wise Man"], ["Wise Man", "Other Name"]) == {"wise man"}


def test_the_longest_name_wins() -> None:
    table = NameTable([("new york", 1), ("new york times", 2)])
    assert [hit.value for hit in table.find(name_words("the New York Times"))] == [2]
    assert not list(table.find(name_words("new, york")))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    for hit in (*find_brands(text), *find_people(text)):
        assert 0 <= hit.start < hit.end <= len(text)
    assert key_of(text) == key_of(text.replace("_", " "))


def test_a_prompt_is_read_once_for_all_guards() -> None:
    assert name_words("a red kite over the sea") is name_words("a red kite over the sea")
    for number in range(300):
        name_words(f"{number} kites " * 400)
    assert name_words("a red kite over the sea") is not name_words("a blue kite over the sea")
    assert sum(map(len, _names._readings_kept)) <= _names._KEPT_CHARS


def test_words_know_where_they_stand() -> None:
    words = name_words("caf\u00e9, Nike's (shoe:1.2) --no cat --ar 3:2 T-shirt")
    assert [word.text for word in words] == ["cafe", "nikes", "shoe", "t", "shirt"]
    assert (words[1].bare, words[1].capital, words[1].opens) == ("nike", True, True)
    assert [word.breaks for word in words[2:]] == [False, True, False]
    assert words.place(1) == (6, 12)


def test_one_word_describes_nobody() -> None:
    assert find_characters("frozen frozen ice") == []


def test_long_prompts_are_read() -> None:
    assert find_brands("a " * 9999) == []
    assert find_people("new york " * 2200) == []
