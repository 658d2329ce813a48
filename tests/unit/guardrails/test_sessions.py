"""Retries of refused prompts: what counts as one, and what is kept of whom for how long."""

import contextlib
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.core import Request, Stage, Subject
from clearmark.core.errors import GuardUnavailable, UsageError
from clearmark.guardrails.prompt import _minilm
from clearmark.guardrails.sessions import SessionGuard, SessionStore
from clearmark.guardrails.sessions._sketch import Sketch, covered, likeness, overlap, sketch_of

REFUSED = "a man stabbing another man to death in an alley"
KEY = b"k" * 32
MODES = [False, pytest.param(True, marks=pytest.mark.skipif(not _minilm.installed(), reason="no minilm"))]


def asked(guard, prompt, actor="ada"):
    return guard.check([Subject(stage=Stage.PROMPT, request=Request(prompt, actor=actor))])[0][0]


@pytest.fixture(params=MODES)
def guard(request):
    made = SessionGuard(SessionStore.in_memory(), sentences=request.param)
    made.remember(Request(REFUSED, actor="ada"), refused=True)
    return made


def test_the_same_idea_in_other_words(guard):
    for prompt in (REFUSED, "murder with a knife in a dark alley", "a man killing a man with a blade"):
        found = asked(guard, prompt)
        assert found.category == "session/retry"
        assert found.score >= 0.5
        assert found.facts["retry_of_refused"] is True
        assert found.evidence.match.kind == "reworded"


def test_another_idea_is_none(guard):
    for prompt in ("an alley in Lisbon with laundry on lines", "two men playing chess", "a red apple", ""):
        found = asked(guard, prompt)
        assert found.score < 0.5
        assert found.facts["retry_of_refused"] is False
        assert found.facts["refused_recently"] == 1


def test_the_idea_in_parts(guard):
    first = "a man in a narrow alley"
    assert asked(guard, first).score < 0.5
    guard.remember(Request(first, actor="ada"), refused=False)
    found = asked(guard, "stabbing another one to death")
    assert found.score >= 0.5
    assert found.evidence.match.kind == "in parts"


def test_what_came_before_does_not_taint_another_idea(guard):
    guard.remember(Request("murder with a knife in a dark alley", actor="ada"), refused=False)
    for prompt in ("a man walking a dog", "a knife on a cutting board with bread", "an old alley with cats"):
        assert asked(guard, prompt).score < 0.5


def test_other_people_and_nobody(guard):
    assert asked(guard, REFUSED, actor="bob").score == 0
    guard.remember(Request(REFUSED), refused=True)
    assert asked(guard, REFUSED, actor="anonymous").score == 0
    tenant = Subject(stage=Stage.PROMPT, request=Request(REFUSED, actor="ada", tenant="other"))
    assert guard.check([tenant])[0][0].score == 0


def test_disguise_does_not_make_it_new(guard):
    assert asked(guard, "a m4n st4bb1ng an0ther man to d3ath in an alley").score >= 0.5


def test_nothing_is_kept_of_people_never_refused():
    store = SessionStore.in_memory()
    SessionGuard(store, sentences=False).remember(Request("a red apple", actor="ada"), refused=False)
    assert store._db.execute("SELECT count(*) FROM seen").fetchone() == (0,)


def test_it_ends_and_can_be_erased(tmp_path):
    now = [1000.0]
    store = SessionStore(tmp_path / "s.db", KEY, keep_s=60, clock=lambda: now[0])
    guard = SessionGuard(store, sentences=False)
    guard.remember(Request(REFUSED, actor="ada"), refused=True)
    assert asked(guard, REFUSED).score == 1
    now[0] += 61
    assert asked(guard, REFUSED).score == 0
    guard.remember(Request(REFUSED, actor="bob"), refused=True)
    assert store._db.execute("SELECT count(*) FROM seen").fetchone() == (1,)
    assert guard.forget("bob") == 1
    assert asked(guard, REFUSED, actor="bob").score == 0


def test_few_are_kept_of_each(tmp_path):
    store = SessionStore(tmp_path / "s.db", KEY)
    for number in range(40):
        store.remember("ada", Sketch({number: 1.0}), refused=True)
        store.remember("ada", Sketch({number: 1.0}), refused=False)
    assert [next(iter(kept.sketch.words)) for kept in store.refused("ada")] == list(range(39, 23, -1))
    assert len(store.recent("ada")) == 4


def test_the_file_tells_nothing_and_outlives_the_process(tmp_path):
    path = tmp_path / "s.db"
    first = SessionGuard(SessionStore(path, KEY))
    first.remember(Request(REFUSED, actor="ada"), refused=True)
    first._store.close()
    assert path.stat().st_mode & 0o077 == 0
    data = path.read_bytes()
    assert b"stab" not in data
    assert b"ada" not in data
    assert asked(SessionGuard(SessionStore(path, KEY)), REFUSED).score == 1
    assert asked(SessionGuard(SessionStore(path, b"x" * 32)), REFUSED).score == 0


def test_rows_that_were_moved_or_broken_do_not_open(tmp_path):
    path = tmp_path / "s.db"
    guard = SessionGuard(SessionStore(path, KEY), sentences=False)
    guard.remember(Request(REFUSED, actor="ada"), refused=True)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE seen SET kind = 0")
    with pytest.raises(GuardUnavailable):
        guard._store.recent("default/ada")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE seen SET kind = 1, sealed = zeroblob(40)")
    with pytest.raises(GuardUnavailable):
        asked(guard, REFUSED)


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "s.db").write_bytes(b"no database " * 200)
    with pytest.raises(GuardUnavailable):
        SessionStore(tmp_path / "s.db", KEY)
    with pytest.raises(UsageError):
        SessionStore(tmp_path / "t.db", b"short")


WORTH = st.floats(0.0625, 64, width=32)
SKETCHES = st.builds(
    Sketch, st.dictionaries(st.integers(0, 2**64 - 1), WORTH, max_size=64), st.binary(max_size=400)
)


@given(SKETCHES)
@settings(deadline=None)
def test_sketches_come_back(sketch):
    assert Sketch.from_bytes(sketch.to_bytes()) == sketch


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_a_sketch_or_refused(data):
    with contextlib.suppress(UsageError):
        assert Sketch.from_bytes(data).to_bytes() == data


@given(SKETCHES, SKETCHES)
@settings(deadline=None)
def test_shares_are_shares(one, other):
    assert 0 <= overlap(one, other) <= 1 + 1e-9
    assert -1 - 1e-6 <= likeness(one, other) <= 1 + 1e-6
    assert 0 <= covered(one, other, [one]) <= 1 + 1e-9
    assert covered(one, one, []) == 0
    assert not one.words or overlap(one, one) == pytest.approx(1)


@given(st.text(max_size=300))
@settings(deadline=None, max_examples=50)
def test_any_prompt_has_a_sketch_of_bounded_size(text):
    assert len(sketch_of(Request(text), KEY, sentences=False).to_bytes()) <= 4 + 64 * 12
