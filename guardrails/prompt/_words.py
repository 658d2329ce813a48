"""A linear model over words, word pairs and letter groups: TF-IDF in numpy, one weight column per head.

A prompt's vector is the sum over its words of what each brings (the word, the pair with the word before, its
groups of four letters), divided by its length. Sums over any run of words come from running totals,
so a window slid over a long prompt costs next to nothing: harmless padding cannot hide a phrase.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from clearmark.core.errors import ModelCorrupt
from clearmark.guardrails.models import entry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["HEADS", "HEAD_FLOOR", "WINDOW", "Weighed", "WordModel", "pair_key", "word_keys", "word_model"]

HEADS = (
    "unsafe",
    "sexual",
    "violence",
    "violence/graphic",
    "hate",
    "harassment",
    "self-harm",
    "illicit",
    "deception",
    "copyright/character",
)
"""The columns of weights: unsafe in any way, and each category that the development data labels."""

HEAD_FLOOR = -2.0
"""Log-odds below this count as this: harmless company is no reason to overlook a listed word."""

WINDOW = 14
"""Words in a window; windows start half a window apart."""

_LONGEST_WORD = 24
_REMEMBERED = 50_000


SMOOTHING = 1200.0
"""Added to the squared length of every prompt, about that of three words: one word alone is weak evidence,
and plain division by the length would let it weigh as much as a whole sentence."""


def word_keys(word: str) -> Iterator[int]:
    """Yield the hashes of a word and of its letter groups."""
    yield zlib.crc32(b"w" + word.encode("utf-8", "replace"))
    framed = f"<{word[:_LONGEST_WORD]}>"
    for first in range(len(framed) - 3):
        yield zlib.crc32(b"c" + framed[first : first + 4].encode("utf-8", "replace"))


def pair_key(first: str, second: str) -> int:
    """Return the hash of two words in a row."""
    return zlib.crc32(b"b" + f"{first} {second}".encode("utf-8", "replace"))


class _Own(NamedTuple):
    """A word by itself: weights times idf, squared length, bytes, and the hash of a pair that it begins."""

    weights: NDArray[np.float32]
    norm: float
    text: bytes
    opened: int


class Weighed(NamedTuple):
    """What each word of a text brings, with the pair before it: [words, heads], and squared lengths."""

    sums: NDArray[np.float32]
    norms: NDArray[np.float32]


class WordModel:
    """The weights, ready to score. May be used by any number of threads."""

    def __init__(self, data: bytes) -> None:
        """Read the arrays of an `.npz` file: `keys`, `idf`, `weights` (int8), `scale`, `bias`.

        Raises:
            ModelCorrupt: when it is not one, or its arrays do not fit together.
        """
        import numpy as np

        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                self._keys = arrays["keys"].astype(np.uint32)
                self._idf = arrays["idf"].astype(np.float32)
                scale = arrays["scale"].astype(np.float32)
                self._weights = arrays["weights"].astype(np.float32) * scale
                self._bias = arrays["bias"].astype(np.float32)
        except (OSError, ValueError, KeyError) as exc:
            raise ModelCorrupt("the word model's file is broken", hint="reinstall clearmark") from exc
        if self._weights.shape != (len(self._keys), len(HEADS)) or len(self._idf) != len(self._keys):
            raise ModelCorrupt("the word model's arrays do not fit together", hint="reinstall clearmark")
        self._known_words: dict[str, _Own] = {}

    def scores(self, words: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the log-odds of every head for the whole prompt, and the highest of any window."""
        return self.scores_of(self.weigh(words))

    def scores_of(self, weighed: Weighed) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what `scores` does, for a text that was weighed."""
        import numpy as np

        sums, norms = weighed
        if not len(norms):
            return self._bias, self._bias
        whole = sums.sum(0) / np.sqrt(norms.sum() + SMOOTHING) + self._bias
        if len(norms) <= WINDOW:
            return whole, whole
        slid = self._slid(sums, norms, WINDOW, WINDOW // 2)
        return whole, np.maximum(whole, slid.max(0).astype(np.float32))

    def windows(self, weighed: Weighed, size: int, step: int) -> NDArray[np.float64]:
        """Return the log-odds of windows of `size` words that start every `step` words: [windows, heads]."""
        return self._slid(*weighed, size, step)

    def weigh(self, words: Sequence[str]) -> Weighed:
        """Return what each word brings."""
        import numpy as np

        if not words:
            return Weighed(np.empty((0, len(HEADS)), dtype=np.float32), np.empty(0, dtype=np.float32))
        brought = self._brought(words)
        distinct = {word: at for at, word in enumerate(dict.fromkeys(words))}
        order = np.array([distinct[word] for word in words])
        sums = np.array([brought[word].weights for word in distinct])[order]
        norms = np.array([brought[word].norm for word in distinct], dtype=np.float32)[order]
        if len(words) > 1:
            own = [brought[word] for word in words]
            # `pair_key` of two words that follow one another: the first one's part of the sum is known.
            keys = [zlib.crc32(after.text, before.opened) for before, after in pairwise(own)]
            at, known = self._find(np.array(keys, dtype=np.uint32))
            idf = self._idf[at] * known
            sums[1:] += self._weights[at] * idf[:, None]
            norms[1:] += idf**2
        return Weighed(sums, norms)

    def _slid(
        self, sums: NDArray[np.float32], norms: NDArray[np.float32], size: int, step: int
    ) -> NDArray[np.float64]:
        import numpy as np

        count = len(norms)
        total = np.concatenate([np.zeros((1, len(HEADS))), sums.cumsum(0, dtype=np.float64)])
        length = np.concatenate([[0.0], norms.cumsum(dtype=np.float64)])
        first = np.arange(0, max(1, count - (size - step)), step)
        last = np.minimum(first + size, count)
        root = np.sqrt(length[last] - length[first] + SMOOTHING)[:, None]
        slid: NDArray[np.float64] = (total[last] - total[first]) / root + self._bias
        return slid

    def _brought(self, words: Sequence[str]) -> dict[str, _Own]:
        """Return what each word brings by itself."""
        import numpy as np

        known = self._known_words
        fresh = [word for word in dict.fromkeys(words) if word not in known]
        if not fresh:
            return known
        if len(known) + len(fresh) > _REMEMBERED:
            # Start over rather than grow; callers at work keep the dictionary that they were given.
            known = {}
            fresh = list(dict.fromkeys(words))
        keys = [list(word_keys(word)) for word in fresh]
        first = np.cumsum([0, *map(len, keys[:-1])])
        at, found = self._find(np.array([key for some in keys for key in some], dtype=np.uint32))
        idf = self._idf[at] * found
        sums = np.add.reduceat(self._weights[at] * idf[:, None], first, axis=0)
        norms = np.add.reduceat(idf**2, first)
        for i, word in enumerate(fresh):
            text = word.encode("utf-8", "replace")
            known[word] = _Own(sums[i], float(norms[i]), text, zlib.crc32(b"b" + text + b" "))
        self._known_words = known
        return known

    def _find(self, keys: NDArray[np.uint32]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        import numpy as np

        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return at, self._keys[at] == keys


@lru_cache(maxsize=1)
def word_model() -> WordModel:
    """Read the model that ships, after checking its digest; once.

    Raises:
        ModelMissing, ModelCorrupt: when it is absent or not the one on record.
    """
    (path,) = entry("prompt-words").verify().values()
    return WordModel(path.read_bytes())
