"""The lists themselves."""

from importlib.resources import files

import pytest

from clearmark.guardrails.prompt._lexicon import LISTED, lexicon
from clearmark.guardrails.prompt._normalise import normalise

FOLDER = files("clearmark.guardrails") / "prompt" / "terms"
LISTS = {**LISTED, "avoided": "avoided", "harmless": "harmless"}


def sections(name):
    section, out = "", {}
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            out.setdefault(section, []).extend(part.strip() for part in line.split(",") if part.strip())
    return out


@pytest.mark.parametrize("name", LISTS.values())
def test_lists_have_known_sections(name):
    known = {"strong", "medium", "weak", "alone", "sexual", "minors", "harmless"}
    assert set(sections(name)) <= known
    assert "" not in sections(name)


@pytest.mark.parametrize("group", [group for group in LISTED if group != "sexual/minors"])
def test_every_strong_term_is_found(group):
    terms, vocabulary = lexicon()
    for text in sections(LISTED[group])["strong"]:
        plain = text.replace("+", "")
        hits = {(hit.term.group, hit.term.strength) for hit in terms.find(normalise(plain, vocabulary))}
        assert (group, "strong") in hits, plain


def test_inflections():
    terms, vocabulary = lexicon()
    for text in ("stabs", "stabbed", "stabbing", "corpses", "strangled", "beheading", "burglaries"):
        assert list(terms.find(normalise(text, vocabulary))), text


def test_harmless_phrases_shield_only_what_they_hold():
    terms, vocabulary = lexicon()

    def groups(text):
        found = terms.find(normalise(text, vocabulary))
        return {hit.term.group for hit in found if hit.term.strength in {"strong", "medium"}}

    assert groups("a killer whale") == set()
    assert "violence" in groups("a killer whale and a killer")
    assert "sexual" in groups("a naked mole rat and a naked man")
