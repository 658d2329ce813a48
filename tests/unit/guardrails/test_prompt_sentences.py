"""The sentence encoder, its windows, and the stack that weighs what it says."""

import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.core import Request, Stage, Subject
from clearmark.core.errors import ExtraMissing, ModelCorrupt
from clearmark.guardrails.models import entry
from clearmark.guardrails.prompt import PromptGuard, _guard, _minilm, _sentences
from clearmark.guardrails.prompt._onnx import Graph
from clearmark.guardrails.prompt._stack import ANY_FEATURES, CATEGORY_FEATURES, Stack, combine
from clearmark.guardrails.prompt._words import HEADS, pair_key, word_model

needs_minilm = pytest.mark.skipif(not _minilm.installed(), reason="the extra minilm is not installed")


def test_a_graph_of_ours_runs():
    import onnxruntime

    graph = Graph()
    graph.constant("half", np.array([0.5], dtype=np.float32))
    graph.node("Mul", ["x", "half"], ["halved"])
    graph.node("Softmax", ["halved"], ["y"], {"axis": -1})
    data = graph.to_bytes({"x": ("float32", ("rows", "3"))}, ("y", "float32", ("rows", "3")))
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {"x": np.array([[0.0, 2.0, 4.0]], dtype=np.float32)})
    expected = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()
    assert np.allclose(out[0], expected, atol=1e-6)


@needs_minilm
def test_embeddings_are_of_length_one_and_mean_something():
    texts = ("a bowl of fruit on a table", "red apples in a basket", "tanks in a ruined city")
    fruit, apple, war = _minilm.encoder().embed([text.split() for text in texts])
    assert np.allclose(np.linalg.norm([fruit, apple, war], axis=1), 1, atol=1e-5)
    assert fruit @ apple > fruit @ war + 0.1


@needs_minilm
def test_embeddings_do_not_hang_on_their_company():
    encoder = _minilm.encoder()
    short, long = ["a", "cat"], ["a", "very", "long", "walk", "in", "the", "quiet", "hills"]
    alone = encoder.embed([short])[0]
    together = encoder.embed([long, short, long])[1]
    # Activations are quantised per batch, so not to the last bit.
    assert alone @ together > 0.98


@needs_minilm
def test_no_text_and_strange_text():
    out = _minilm.encoder().embed([[], ["\u4e2d\u6587", "x" * 500, "\u0e01"], ["a"] * 5000])
    assert np.isfinite(out).all()


@needs_minilm
def test_the_graph_is_the_same_every_time():
    path = entry("prompt-minilm").verify()["model/model.safetensors"]
    assert _minilm.build(path) == _minilm.build(path)


def test_weights_that_are_none(tmp_path):
    path = tmp_path / "model.safetensors"
    for data in (
        b"",
        b"\x10\x00\x00\x00\x00\x00\x00\x00not json at all.",
        b"\x02\x00\x00\x00\x00\x00\x00\x00{}",
    ):
        path.write_bytes(data)
        with pytest.raises(ModelCorrupt):
            _minilm.build(path)


def test_heads_that_are_none():
    with pytest.raises(ModelCorrupt):
        _sentences.SentenceHeads(b"nothing")
    out = io.BytesIO()
    np.savez(
        out, inner=np.zeros((3, 2)), inner_bias=np.zeros(2), outer=np.zeros((2, 1)), outer_bias=np.zeros(1)
    )
    with pytest.raises(ModelCorrupt, match="fit together"):
        _sentences.SentenceHeads(out.getvalue())


@given(st.integers(0, 400))
@settings(max_examples=30, deadline=None)
def test_windows_are_few_and_cover_short_prompts(count):
    words = [f"w{n}" for n in range(count)]
    found = _sentences.windows(words, word_model())
    assert 1 <= len(found) <= _sentences.MOST_WINDOWS
    assert all(len(window) <= _sentences.WINDOW for window in found)
    if count <= _sentences.WINDOW * 2:
        assert set(words) == {word for window in found for word in window}


@pytest.mark.parametrize("repeats", [60, 500])
def test_the_suspicious_window_is_among_those_read(repeats):
    words = ("a quiet garden with roses and a bench " * repeats).split()
    words[230:230] = ["a", "naked", "woman", "having", "hardcore", "sex"]
    assert any("naked" in window for window in _sentences.windows(words, word_model()))


def test_a_text_weighed_before_gives_the_same_windows_and_scores():
    words = ("a naked woman in a quiet garden with roses and a bench " * 20).split()
    model = word_model()
    weighed = model.weigh(words)
    assert _sentences.windows(words, model, weighed) == _sentences.windows(words, model)
    assert all(
        np.array_equal(*pair) for pair in zip(model.scores_of(weighed), model.scores(words), strict=True)
    )
    keys = np.array([pair_key(*pair) for pair in pairwise(words)], dtype=np.uint32)
    at, known = model._find(keys)
    alone = np.array([model.weigh([word]).sums[0] for word in words])
    pairs = model._weights[at] * (model._idf[at] * known)[:, None]
    np.testing.assert_allclose(weighed.sums[1:], alone[1:] + pairs, rtol=1e-5, atol=1e-5)


def stack():
    weights = dict.fromkeys(ANY_FEATURES, 0.5)
    own = dict.fromkeys(CATEGORY_FEATURES, 0.5)
    return Stack.from_dict(
        {
            "any": {"bias": -1.0, "weights": weights},
            "categories": {"hate": {"bias": -1.0, "weights": own}, "violence": {"bias": 0.5, "weights": own}},
        }
    )


NUMBERS = st.floats(-20, 20)


@given(NUMBERS, st.lists(NUMBERS, min_size=1, max_size=8))
@settings(deadline=None)
def test_the_highest_margin_is_that_of_any_harm(any_harm, own):
    table = combine(np.array([any_harm]), np.array([own]))
    assert table.max() == pytest.approx(any_harm)
    assert (table <= any_harm + 1e-9).all()
    assert table[0].argmax() in np.flatnonzero(np.array(own) >= min(0, max(own)) - 1e-9)


@given(st.integers(0, len(ANY_FEATURES) - 1), st.floats(0, 5))
@settings(deadline=None)
def test_more_evidence_never_lowers_the_highest_margin(at, more):
    x = np.zeros((2, len(ANY_FEATURES)))
    x[1, at] = more
    own = np.zeros((2, len(CATEGORY_FEATURES)))
    margins = stack().margins(x, {"hate": own, "violence": own})
    highest = np.max(list(margins.values()), axis=0)
    assert highest[1] >= highest[0]


def test_the_guard_says_which_models_spoke():
    words = PromptGuard(sentences=False)
    subject = Subject(stage=Stage.PROMPT, request=Request("a naked woman, hardcore porn"))
    (findings,) = words.check([subject])
    assert {f.model for f in findings} == {entry("prompt-words").ref}
    assert words.version.startswith("2w+")
    if _minilm.installed():
        both = PromptGuard()
        (findings,) = both.check(
            [Subject(stage=Stage.PROMPT, request=Request("a naked woman, hardcore porn"))]
        )
        assert {f.model for f in findings} == {entry("prompt-sentences").ref}
        assert both.version.startswith("2s+")


def test_sentences_that_are_asked_for_must_be_there(monkeypatch):
    monkeypatch.setattr(_guard, "installed", lambda: False)
    with pytest.raises(ExtraMissing) as caught:
        PromptGuard(sentences=True)
    assert "minilm" in caught.value.hint
    assert PromptGuard().sentences is False


@pytest.mark.parametrize("sentences", [False, pytest.param(True, marks=needs_minilm)])
def test_a_batch_says_what_each_prompt_alone_says(sentences):
    guard = PromptGuard(sentences=sentences)
    subjects = [
        Subject(stage=Stage.PROMPT, request=Request(text))
        for text in ("a red apple", "a naked woman, hardcore porn", "", "a dog in the snow " * 30)
    ]
    together = guard.check(subjects)
    for subject, findings in zip(subjects, together, strict=True):
        for one, other in zip(guard.check([subject])[0], findings, strict=True):
            assert one.category == other.category
            assert one.score == pytest.approx(other.score, abs=0.1)


def test_heads_have_the_order_that_the_weights_have():
    assert HEADS[0] == "unsafe"
    assert len(set(HEADS)) == len(HEADS)
