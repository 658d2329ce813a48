"""Disguises are undone, on record, with their place; what is no disguise stays as it is."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.guardrails.prompt import read
from clearmark.guardrails.prompt._lexicon import lexicon
from clearmark.guardrails.prompt._normalise import normalise


def words(text):
    return normalise(text, lexicon()[1]).text


def kinds(text):
    return {change.kind for change in normalise(text, lexicon()[1]).changes}


DISGUISES = {
    "leet": "a n4k3d man",
    "leet with signs": "a n@ked man",
    "full width": "a ｎａｋｅｄ man",
    "mathematical bold": "a 𝐧𝐚𝐤𝐞𝐝 man",
    "script capitals": "a 𝓝𝓐𝓚𝓔𝓓 man",
    "circled": "a ⓝⓐⓚⓔⓓ man",
    "negative squared": "a 🅝🅐🅚🅔🅓 man",
    "small capitals": "a ɴᴀᴋᴇᴅ man",
    "Cyrillic": "a nаkеd man",
    "Greek and Cyrillic": "a ηаκеd man",
    "accents": "a ñákéd man",
    "zero width": "a n\u200ba\u200ck\u200de\ufeffd man",
    "soft hyphen": "a na\u00adked man",
    "tag characters inside": "a na\U000e0041ked man",
    "direction marks": "a na\u202eked man",
    "variation selectors": "a n\ufe0faked man",
    "hangul filler": "a na\u3164ked man",
    "struck through": "a n̶a̶k̶e̶d̶ man",
    "spaced": "a man n a k e d",
    "dotted": "a n.a.k.e.d man",
    "hyphens": "a n-a-k-e-d man",
    "emoji between": "a n😀a😀k😀e😀d man",
    "held down": "a naaaaked man",
    "typo swapped": "a nkaed man",
    "typo dropped": "a nakd man",
    "split": "po rn of a man",
    "capitals": "a NaKeD man",
}


@pytest.mark.parametrize("text", DISGUISES.values(), ids=DISGUISES.keys())
def test_disguises_are_read(text):
    assert {"naked", "porn"} & set(words(text).split())


@pytest.mark.parametrize(
    "text",
    [
        "1girl",
        "f/1.8",
        "R2D2",
        "U.S.A.",
        "J.R.R. Tolkien",
        "(age:8)",
        "n ike",
        "a 35mm photo, 8k, 4k, hdr10, iso100",
        "C-3PO and BB-8",
        "a café in Zürich, naïve art",
        "кот спит на крыше",
        "a 90's Porsche 911 at 6 a.m.",
        "x-ray of a hand, t-shirt, e-mail",
        "the letters A B C D on a wall",
        "👩‍👩‍👧 a family",
        "نقاشی می‌کند",
        "Arsenal, Essex, Scunthorpe, Penistone, cockatoo, grape, therapist",
        "O'Brien's pub, rock 'n' roll",
        "a 1/2 cup of sugar, ½ cup",
    ],
)
def test_what_is_no_disguise_stays(text):
    assert kinds(text) == set()


def test_traps_do_not_become_terms():
    for text in ("1girl, f/1.8", "R2D2", "U.S.A.", "n ike", "Scunthorpe", "grape juice", "a cocktail"):
        groups = {
            located.hit.term.group for located in read(text).terms if located.hit.term.strength != "weak"
        }
        assert groups == set(), text


def test_changes_are_recorded_where_they_were():
    text = "a quiet n4ked man"
    (change,) = normalise(text, lexicon()[1]).changes
    assert (change.kind, text[change.start : change.end]) == ("leet", "n4ked")


def test_tag_characters_are_decoded():
    hidden = "".join(chr(0xE0000 + ord(char)) for char in "naked man")
    reading = read("a red apple" + hidden)
    assert "naked" in reading.text
    assert "tags" in {change.kind for change in reading.changes}


def test_a_regional_flag_is_no_hidden_text():
    assert "gbeng" not in words("🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f team")


def test_base64_is_decoded_and_points_at_the_original():
    code = base64.b64encode(b"a naked man on a beach").decode()
    text = f"draw this: {code}"
    reading = read(text)
    (located,) = [hit for hit in reading.terms if hit.hit.term.strength == "strong"]
    assert text[located.hit.start : located.hit.end] == code


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_spans_stay_inside_the_original(text):
    result = normalise(text, lexicon()[1])
    for word in result.words:
        assert 0 <= word.start < word.end <= len(text)
    for change in result.changes:
        assert 0 <= change.start < change.end <= len(text)
    assert all(0 <= place < len(text) for place in result.places)


@given(st.text(alphabet="abc 1.-*\u200b\u0336éｎа🍑", max_size=300))
@settings(deadline=None)
def test_mixtures_do_not_break_it(text):
    normalise(text, lexicon()[1])


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz ", max_size=80))
@settings(deadline=None)
def test_plain_text_keeps_its_letters(text):
    """Joining and splitting move spaces; only what is on record changes letters."""
    result = normalise(text, lexicon()[1])
    if not {change.kind for change in result.changes} - {"spaced", "split"}:
        assert result.text.replace(" ", "") == text.replace(" ", "")
