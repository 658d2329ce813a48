"""What is kept of a prompt to know it again: keyed digests of its words, and an embedding in eight bits.

No text. Without the key a digest tells nothing; the embedding tells a topic, which is why what is stored is
sealed as well (`_store.py`). Words are compared by stem, and all listed terms of a category of harm count as
one word: whoever is refused `naked` writes `nude`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clearmark.core import Request
from clearmark.core.errors import UsageError
from clearmark.guardrails.prompt import read
from clearmark.guardrails.prompt._lexicon import lexicon
from clearmark.guardrails.prompt._scoring import HARM
from clearmark.guardrails.trademark._characters import stem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Sketch", "covered", "likeness", "overlap", "sketch_of"]

_MOST_WORDS = 64
_FORM = 1
_HEAD = struct.Struct("<BBH")
_ENTRY = struct.Struct("<Qf")
_LEAST_RARE = 5.5  # log of the rank: `the`, `with`, `woman` say little of what a prompt is about
_RARE_CAP = 10.0
_TERM_WORTH = 8.0
_LEAST_ADDED = 0.2
_MOST_OF_IT = 0.6
_WORDS_READ = 48  # of a prompt, for its embedding


@dataclass(frozen=True, slots=True)
class Sketch:
    """Digests with what each is worth, and the embedding (unit length times 127), empty without the extra."""

    words: Mapping[int, float]
    embedding: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the stored form."""
        rows = b"".join(_ENTRY.pack(key, worth) for key, worth in self.words.items())
        return _HEAD.pack(_FORM, len(self.words), len(self.embedding)) + rows + self.embedding

    @classmethod
    def from_bytes(cls, data: bytes) -> Sketch:
        """Read the stored form.

        Raises:
            UsageError: when it is none.
        """
        try:
            form, count, size = _HEAD.unpack_from(data)
            end = _HEAD.size + count * _ENTRY.size
            if form != _FORM or len(data) != end + size:
                raise UsageError("not a sketch of this version")
            rows = [_ENTRY.unpack_from(data, _HEAD.size + at * _ENTRY.size) for at in range(count)]
        except struct.error as exc:
            raise UsageError("not a sketch") from exc
        return cls(dict(rows), data[end:])


def sketch_of(request: Request, key: bytes, *, sentences: bool) -> Sketch:
    """Return the sketch of what `request` asks for, under `key`. Linear in the length of the prompt."""
    reading = read(request.prompt, request.negative_prompt)
    vocabulary = lexicon()[1]
    terms: dict[int, str] = {}
    for located in reading.terms:
        term = located.hit.term
        if term.group in HARM and term.strength in {"strong", "medium"} and not located.hit.denied:
            terms[located.hit.start] = term.group
    worth: dict[str, float] = {f"#{group}": _TERM_WORTH for group in terms.values()}
    for word in reading.words:
        if word.start in terms or not word.text:
            continue
        rare = min(vocabulary.rarity(word.text), _RARE_CAP)
        if rare >= _LEAST_RARE:
            worth.setdefault(stem(word.text), rare - _LEAST_RARE + 1)
    heaviest = sorted(worth.items(), key=lambda item: (-item[1], item[0]))[:_MOST_WORDS]
    digests = {_digest(text, key): value for text, value in heaviest}
    texts = [word.text for word in reading.words]
    return Sketch(digests, _embedded(texts) if sentences and texts else b"")


def overlap(one: Sketch, other: Sketch) -> float:
    """Return what both hold, as a share of what either holds (weighted Jaccard)."""
    both = sum(worth for key, worth in one.words.items() if key in other.words)
    either = sum({**one.words, **other.words}.values())
    return both / either if either else 0.0


def likeness(one: Sketch, other: Sketch) -> float:
    """Return the cosine of the embeddings, 0 where one is missing."""
    if not one.embedding or len(one.embedding) != len(other.embedding):
        return 0.0
    import numpy as np

    a, b = (np.frombuffer(each.embedding, dtype=np.int8).astype(np.float32) for each in (one, other))
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length else 0.0


def covered(refused: Sketch, now: Sketch, before: Sequence[Sketch]) -> float:
    """Return the share of `refused` that `now` holds together with what came `before`.

    0 where `now` adds less than a fifth: then it is no part of the idea, whatever came before. What came
    before and holds most of the idea by itself was a try of its own, and makes no part of what follows.
    """
    total = sum(refused.words.values())
    if not total:
        return 0.0
    held = [[key for key in sketch.words if key in refused.words] for sketch in before]
    parts = [keys for keys in held if sum(refused.words[key] for key in keys) < _MOST_OF_IT * total]
    earlier = {key for keys in parts for key in keys}
    added = sum(worth for key, worth in refused.words.items() if key in now.words and key not in earlier)
    if not earlier or added < _LEAST_ADDED * total:
        return 0.0
    return (added + sum(refused.words[key] for key in earlier)) / total


def _digest(text: str, key: bytes) -> int:
    hashed = hashlib.blake2b(text.encode("utf-8", "replace"), key=key, digest_size=8)
    return int.from_bytes(hashed.digest(), "little")


def _embedded(texts: Sequence[str]) -> bytes:
    import numpy as np

    from clearmark.guardrails.prompt._minilm import encoder

    vector: NDArray[np.float32] = encoder().embed([texts[:_WORDS_READ]])[0]
    steps = np.rint(vector / max(1e-9, float(np.abs(vector).max())) * 127).astype(np.int8)
    return bytes(steps.tobytes())
