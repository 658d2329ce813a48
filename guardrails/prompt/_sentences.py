"""What a prompt means, by sentence embeddings: a small network over MiniLM, on the text or windows of it.

A prompt of up to `WINDOW` words is read as a whole. A longer one is read in windows that overlap by half, at
most `MOST_WINDOWS` of them (fewer of a very long one, where reading the words costs as much), those that the
word model suspects most: harmless padding hides no phrase, and no prompt costs more than a few short ones.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from clearmark.core.errors import ModelCorrupt
from clearmark.guardrails.models import entry
from clearmark.guardrails.prompt._minilm import SIZE, Encoder, encoder
from clearmark.guardrails.prompt._words import HEADS, Weighed, WordModel, word_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MOST_WINDOWS", "WINDOW", "SentenceHeads", "SentenceModel", "sentence_model", "windows"]

WINDOW = 24
"""Words in a window; windows start half a window apart."""

MOST_WINDOWS = 3

_FEWER = ((2000, 1), (600, 2))
"""Windows of a prompt of more words than so many: the word model alone alarms on most texts that long."""

_STEP = WINDOW // 2


class SentenceHeads:
    """A network with one hidden layer: embeddings in, log-odds of every head of `HEADS` out."""

    def __init__(self, data: bytes) -> None:
        """Read the arrays of an `.npz` file: `inner`, `inner_bias`, `outer`, `outer_bias`.

        Raises:
            ModelCorrupt: when it is not one, or its arrays do not fit together.
        """
        import numpy as np

        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                inner, inner_bias, outer, outer_bias = (
                    arrays[name].astype(np.float32) for name in ("inner", "inner_bias", "outer", "outer_bias")
                )
        except (OSError, ValueError, KeyError) as exc:
            raise ModelCorrupt("the sentence model's file is broken", hint="reinstall clearmark") from exc
        hidden = len(inner_bias)
        if inner.shape != (SIZE, hidden) or outer.shape != (hidden, len(HEADS)):
            raise ModelCorrupt("the sentence model's arrays do not fit together", hint="reinstall clearmark")
        self._inner, self._inner_bias, self._outer, self._outer_bias = inner, inner_bias, outer, outer_bias

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return log-odds: [texts, 384] in, [texts, heads] out."""
        import numpy as np

        hidden = np.maximum(embeddings @ self._inner + self._inner_bias, 0)
        scores: NDArray[np.float32] = hidden @ self._outer + self._outer_bias
        return scores


class SentenceModel:
    """Encoder and heads together. May be used by any number of threads."""

    def __init__(self, encoder: Encoder, heads: SentenceHeads, words: WordModel) -> None:
        self._encoder, self._heads, self._words = encoder, heads, words

    def peaks(
        self, prompts: Sequence[Sequence[str]], weighed: Sequence[Weighed] | None = None
    ) -> NDArray[np.float32]:
        """Return for each prompt (a run of words) the highest log-odds of any window: [prompts, heads].

        `weighed` is what the word model made of each, where that is known.
        """
        import numpy as np

        known: Sequence[Weighed | None] = weighed or [None] * len(prompts)
        parts = [windows(words, self._words, own) for words, own in zip(prompts, known, strict=True)]
        embeddings = self._encoder.embed([part for some in parts for part in some])
        starts = np.cumsum([0, *(len(some) for some in parts)])[:-1]
        return np.maximum.reduceat(self._heads(embeddings), starts, axis=0)


def windows(words: Sequence[str], model: WordModel, weighed: Weighed | None = None) -> list[Sequence[str]]:
    """Return the windows of a prompt that are read."""
    if len(words) <= WINDOW:
        return [words]
    starts = list(range(0, len(words) - _STEP, _STEP))
    most = next((few for count, few in _FEWER if len(words) > count), MOST_WINDOWS)
    if len(starts) > most:
        suspicion = model.windows(weighed or model.weigh(words), WINDOW, _STEP)[:, 0]
        starts = sorted(sorted(starts, key=lambda at: -suspicion[at // _STEP])[:most])
    return [words[at : at + WINDOW] for at in starts]


@lru_cache(maxsize=1)
def sentence_model() -> SentenceModel:
    """Return the encoder with the heads that ship, after checking the digests of both; once.

    Raises:
        ModelMissing, ModelCorrupt: when weights are absent or not those on record.
    """
    (path,) = entry("prompt-sentences").verify().values()
    return SentenceModel(encoder(), SentenceHeads(path.read_bytes()), word_model())
