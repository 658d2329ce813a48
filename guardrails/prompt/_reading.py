"""Read one request's prompts completely: parts, words, terms. What every score is computed from."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from clearmark.guardrails.prompt._lexicon import TermHit, lexicon
from clearmark.guardrails.prompt._minors import Age, youngest
from clearmark.guardrails.prompt._normalise import Change, Word, normalise
from clearmark.guardrails.prompt._syntax import Part, parse

__all__ = ["Located", "Reading", "read"]

_BASE64 = re.compile(r"[A-Za-z0-9+/]{16,4096}={0,2}")


class Located(NamedTuple):
    """A term, its place in the original, and which of the two prompts that is."""

    hit: TermHit
    field: str


@dataclass(frozen=True)
class Reading:
    """What two prompts say. `terms` are asked for; `avoided` are named only to be kept out.

    `dense` counts the letters that are asked for in scripts without spaces. `unseen` are those of the words
    that stand where nobody sees them (tag characters, Base64): they are read on their own as well.
    """

    words: tuple[Word, ...]
    terms: tuple[Located, ...]
    avoided: tuple[Located, ...]
    changes: tuple[Change, ...]
    age: Age
    dense: int = 0
    unseen: tuple[Word, ...] = ()

    @property
    def text(self) -> str:
        """The words that are asked for, in plain letters."""
        return " ".join(word.text for word in self.words)


def read(prompt: str, negative_prompt: str = "") -> Reading:
    """Read a prompt with its negative prompt. Time is linear in their length."""
    terms, vocabulary = lexicon()
    words: list[Word] = []
    wanted: list[Located] = []
    avoided: list[Located] = []
    changes: list[Change] = []
    unseen: list[Word] = []
    dense = 0
    for part in _parts(prompt, negative_prompt):
        text = normalise(part.text, vocabulary)
        shift = 0 if isinstance(part, _Decoded) else part.offset
        found = list(terms.find(text))
        if shift:
            found = [TermHit(hit.term, hit.start + shift, hit.end + shift, hit.denied) for hit in found]
        if isinstance(part, _Decoded):
            found = [TermHit(hit.term, part.start, part.end, hit.denied) for hit in found]
            changes.append(Change("encoded", part.start, part.end))
        if part.avoid:
            avoided.extend(Located(hit, part.field) for hit in found)
            continue
        dense += sum(char.isalpha() for char in text.dense)
        wanted.extend(Located(hit, part.field) for hit in found if hit.term.group != "avoided")
        moved = text.words
        if shift:
            moved = tuple([Word(word.text, word.start + shift, word.end + shift) for word in moved])
        words.extend(moved)
        unseen.extend(moved if isinstance(part, _Decoded) else moved[len(moved) - text.unseen :])
        changes.extend(
            Change(change.kind, change.start + shift, change.end + shift) for change in text.changes
        )
    age = youngest((term.hit for term in wanted), words)
    return Reading(tuple(words), tuple(wanted), tuple(avoided), tuple(changes), age, dense, tuple(unseen))


@dataclass(frozen=True)
class _Decoded(Part):
    """Text that stood encoded at characters `start` up to `end`."""

    start: int = 0
    end: int = 0


def _parts(prompt: str, negative_prompt: str) -> Iterator[Part]:
    yield from parse(prompt, negative_prompt)
    for match in _BASE64.finditer(prompt):
        if (text := _decode(match.group())) is not None:
            yield _Decoded(text, 0, avoid=False, start=match.start(), end=match.end())


def _decode(text: str) -> str | None:
    """Return what Base64 `text` says, or None where it is no readable text."""
    bare = text.rstrip("=")
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
        plain = data.decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    readable = sum(char.isalpha() or char == " " for char in plain)
    return plain if plain.isprintable() and readable >= 0.8 * len(plain) else None
