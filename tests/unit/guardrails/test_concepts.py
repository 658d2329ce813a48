"""The list of concepts that users write: by meaning, edited while it runs, and never quietly gone."""

import os

import pytest
from tests.contract.guard_contract import GuardContract

from clearmark.core import Request, Stage, Subject
from clearmark.core.errors import GuardUnavailable, UsageError
from clearmark.guardrails.adapters import ConceptGuard
from clearmark.guardrails.adapters._concepts import read_concepts
from clearmark.guardrails.prompt import _minilm

pytestmark = pytest.mark.skipif(not _minilm.installed(), reason="the extra minilm is not installed")

GUNS = """
concepts:
  - name: ghost guns
    category: illicit
    says:
      - printing parts of a gun at home with a 3d printer
      - an untraceable homemade firearm
      - a workshop where plastic pistols are made
    instead:
      - a toy water pistol
      - a 3d printer making a vase
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "concepts.yaml"
    path.write_text(GUNS)
    return path


def score(guard, prompt, category="illicit"):
    (findings,) = guard.check([Subject(stage=Stage.PROMPT, request=Request(prompt))])
    return {finding.category: finding for finding in findings}[category]


def test_what_means_the_same_in_other_words(file):
    guard = ConceptGuard(file)
    found = score(guard, "a man makes a handgun on his 3d printer in the basement")
    assert found.score >= 0.5
    assert found.evidence.match.item == "ghost guns"
    for text in ("a 3d printer making a small vase", "children with water pistols", "a red apple", ""):
        assert score(guard, text).score < 0.5


def test_padding_and_disguise_do_not_hide_it(file):
    guard = ConceptGuard(file)
    hidden = "pr1nt1ng p4rts of a gun at h0me with a 3d pr1nter"
    padding = "a quiet village square in the morning, soft light on old stone houses, a fountain, " * 6
    assert score(guard, hidden).score >= 0.5
    assert score(guard, padding + "an untraceable homemade firearm on a bench").score >= 0.5


def test_an_edit_counts_from_the_next_check(file):
    guard = ConceptGuard(file)
    before = guard.version
    with pytest.raises(KeyError):
        score(guard, "spy photo of the prototype car", "trademark")
    file.write_text(
        GUNS + "  - {name: our car, category: trademark, says: [spy photo of our prototype car]}\n"
    )
    assert score(guard, "spy photo of the prototype car", "trademark").score >= 0.5
    assert guard.version != before
    assert set(guard.categories) == {"illicit", "trademark"}


def test_a_list_that_breaks_is_noticed(file):
    guard = ConceptGuard(file)
    file.write_text("concepts: [\n")
    with pytest.raises(GuardUnavailable):
        score(guard, "x")
    file.unlink()
    with pytest.raises(GuardUnavailable):
        score(guard, "x")
    file.write_text(GUNS)
    os.utime(file, ns=(1, 1))
    assert score(guard, "an untraceable homemade firearm").score > 0.9


@pytest.mark.parametrize(
    "text",
    [
        "",
        "concepts: []",
        "concepts: 3",
        "[1, 2]",
        "concepts: [{name: a, category: illicit}]",
        "concepts: [{name: a, category: nonsense, says: [b]}]",
        "concepts: [{name: '', category: illicit, says: [b]}]",
        "concepts: [{name: a, category: illicit, says: [b], threshold: 2}]",
        "concepts: [{name: a, category: illicit, says: [b], threshold: true}]",
        "concepts: [{name: a, category: illicit, says: [3]}]",
        "concepts: [{name: a, category: illicit, says: [b], extra: 1}]",
        "concepts: [{name: a, category: illicit, says: [" + "x" * 501 + "]}]",
        "a: " + "[" * 5000,
        "x" * (1 << 21),
    ],
)
def test_files_that_are_none(tmp_path, text):
    path = tmp_path / "concepts.yaml"
    path.write_text(text)
    with pytest.raises(UsageError):
        read_concepts(path)


def test_an_absent_file(tmp_path):
    with pytest.raises(UsageError):
        read_concepts(tmp_path / "none.yaml")


class TestContract(GuardContract):
    @pytest.fixture
    def guard(self, file):
        return ConceptGuard(file)
