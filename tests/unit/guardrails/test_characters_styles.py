"""Characters by name and by looks, and styles of living artists."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.guard_contract import GuardContract

from clearmark.core import Guard, Request, Stage, Subject
from clearmark.core.errors import UsageError
from clearmark.guardrails._lists import list_lines
from clearmark.guardrails.trademark import CharacterGuard, descriptions, find_characters, find_styles
from clearmark.guardrails.trademark._characters import profiles


class TestCharacterGuard(GuardContract):
    @pytest.fixture
    def guard(self) -> Guard:
        return CharacterGuard()


def _best(text: str) -> tuple[str, float]:
    return max(
        ((hit.name, hit.score) for hit in find_characters(text)), key=lambda hit: hit[1], default=("", 0)
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("spider-man on a roof", "Spider Man"),
        ("p i k a c h u from pokemon in a field", "Pikachu"),
        ("Elsa from Frozen at a party", "Elsa"),
        ("a hero in a red and blue suit with a web pattern swinging between towers", "Spider Man"),
        ("a boy wizard with round glasses and a lightning scar holding a wand", "Harry Potter"),
        ("a yellow square sea sponge in brown pants in his pineapple house", "SpongeBob SquarePants"),
    ],
)
def test_characters_are_found(text: str, name: str) -> None:
    found, score = _best(text)
    assert found == name
    assert score >= 0.5


@pytest.mark.parametrize(
    "text",
    [
        "a woody plant beside a link of chain",
        "a red car on a bridge",
        "my aunt Elsa at a party",
        "a brown dog with a blue collar on the grass",
        "a woman in a yellow dress with an umbrella",
        "a beast in the jungle, stitch by stitch",
    ],
)
def test_others_are_not(text: str) -> None:
    assert _best(text)[1] < 0.5


def test_every_profile_is_told_by_its_own_features() -> None:
    assert len(profiles()) >= 200
    missed = []
    for _, line in list_lines("trademark", "characters.txt"):
        looks = line.split(";")[2]
        name = line.split(";")[0].split(",")[0].lstrip("?").strip()
        if not any(hit.name == name and hit.score >= 0.5 for hit in find_characters(looks)):
            missed.append(name)
    # A few share their looks with another who is told as well.
    assert len(missed) <= 0.02 * len(profiles()), missed


def test_styles_of_the_living_count_and_of_estates_less() -> None:
    assert find_styles("a castle in the style of Greg Rutkowski")[0].score == 0.9
    assert find_styles("a castle, greg rutkowski")[0].score == 0.7
    assert find_styles("a clock, by Salvador Dali")[0].score < 0.5
    assert find_styles("a starry night by Vincent van Gogh") == []


def test_padding_hides_no_description() -> None:
    text = "a boy wizard with round glasses and a lightning scar holding a wand"
    padding = "a quiet lake at dawn with reeds along the water and soft light over far hills, " * 8
    assert _best(padding + text)[1] >= 0.5
    assert _best(text + ", " + padding)[1] >= 0.5


def test_a_description_is_a_fact_with_a_span() -> None:
    prompt = "photo of a boy wizard with round glasses and a lightning scar, wand"
    findings = CharacterGuard().check([Subject(stage=Stage.PROMPT, request=Request(prompt))])[0]
    assert findings[0].facts["character_described"] is True
    span = findings[0].evidence.span
    assert span is not None
    assert "round glasses" in prompt[span.start : span.end]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_any_description_is_read(text: str) -> None:
    for hit in (*find_characters(text), *find_styles(text)):
        assert 0 <= hit.start < hit.end <= len(text)
        assert 0 <= hit.score <= 1


def test_a_fit_without_captions_says_what_is_missing(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("")
    with pytest.raises(UsageError, match="no harmless captions"):
        descriptions.fit(rows)
