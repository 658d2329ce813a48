"""Words that are spelt out letter by letter: `n u d e`, `n.u.d.e w.o.m.a.n`, `n u d e   w o m a n`.

What stands between the letters tells where words end: the commonest separator of a run joins, every other one
parts. A run without such a sign is split where the likeliest words end (Viterbi over word ranks).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from clearmark.guardrails.prompt import _folding
from clearmark.guardrails.prompt._vocabulary import Vocabulary

__all__ = ["join_spelt"]

_FEWEST = 3
_FARTHEST = 6  # letters further apart were not spelt out by one hand
_FEWEST_UNNAMED = 8  # letters of a run that holds no listed term
_KNOWN_SHARE = 0.6
_LONGEST_WHOLE = 14  # a longer stretch without a gap is several words

Part = tuple[str, int, int]


def join_spelt(
    plain: str, places: Sequence[tuple[int, int]], vocabulary: Vocabulary, *, unleet: Mapping[int, int]
) -> list[tuple[int, int, list[Part]]]:
    """Return the runs of single letters that spell words: first and last word, and what they say.

    `places` are the words of `plain`. A part is its text and where in `plain` it stands.
    """
    out: list[tuple[int, int, list[Part]]] = []
    run: list[int] = []
    singles = [at for at, (start, end) in enumerate(places) if end - start == 1]
    for at in (*singles, -1):
        if run and (at != run[-1] + 1 or places[at][0] - places[run[-1]][1] > _FARTHEST):
            first, last = run[0], run[-1] + 1
            if len(run) >= _FEWEST and (parts := _spelt(plain, places[first:last], vocabulary, unleet)):
                out.append((first, last, parts))
            run = []
        run.append(at)
    return out


def _spelt(
    plain: str, run: Sequence[tuple[int, int]], vocabulary: Vocabulary, unleet: Mapping[int, int]
) -> list[Part] | None:
    """Return the words of one run, or None where it spells none: initials and lists of letters do not."""
    parts: list[Part] = []
    for chunk in _chunks(plain, run):
        letters = "".join(plain[start:end] for start, end in chunk)
        if not letters.isascii():
            letters = _folding.latin(letters) or letters
        if not letters.isalpha() and any(map(str.isalpha, letters)):
            letters = letters.translate(unleet)
        if len(letters) != len(chunk):
            return None
        if letters in vocabulary or len(letters) < _FEWEST:
            cuts = [(0, len(letters))]
        else:
            cuts = vocabulary.segment(letters)
            if len(letters) <= _LONGEST_WHOLE and _is_unknown(letters, cuts, vocabulary):
                cuts = [(0, len(letters))]
        parts.extend((letters[a:b], chunk[a][0], chunk[b - 1][1]) for a, b in cuts)
    total = sum(len(text) for text, _, _ in parts)
    known = sum(len(text) for text, _, _ in parts if len(text) >= _FEWEST and text in vocabulary)
    if any(len(text) >= _FEWEST and vocabulary.is_term(text) for text, _, _ in parts):
        return parts
    if all(len(text) > _FEWEST and text in vocabulary for text, _, _ in parts):
        return parts
    return parts if total >= _FEWEST_UNNAMED and known >= _KNOWN_SHARE * total else None


def _chunks(plain: str, run: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Cut a run where its separator is not the commonest one."""
    gaps = [plain[run[at - 1][1] : run[at][0]] for at in range(1, len(run))]
    common = Counter(gaps).most_common(1)[0][0]
    out = [[run[0]]]
    for gap, place in zip(gaps, run[1:], strict=True):
        if gap == common:
            out[-1].append(place)
        else:
            out.append([place])
    return out


def _is_unknown(letters: str, cuts: Sequence[tuple[int, int]], vocabulary: Vocabulary) -> bool:
    """Whether `cuts` only break an unknown word into crumbs."""
    known = sum(b - a for a, b in cuts if b - a > _FEWEST and letters[a:b] in vocabulary)
    return known < _KNOWN_SHARE * len(letters)
