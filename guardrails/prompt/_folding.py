"""From any Unicode to plain lower-case letters, remembering where each letter stood.

Folding undoes what a reader (or a text encoder) does not see or does not tell apart: invisible characters,
full-width and mathematical alphabets, circled and squared letters, small capitals, accents, stacked marks.
Look-alikes of other scripts wait for the word they stand in (`latin`), since Russian is not an attack.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Folded", "fold", "latin"]

_TAG_FIRST, _TAG_LAST = 0xE0020, 0xE007E

# Code points of Unicode's Default_Ignorable_Code_Point that are not of category Cf (DerivedCoreProperties).
_IGNORABLE = frozenset(
    (*(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x3164, 0xFFA0),
     *range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9))
)  # fmt: skip

# Letters of other scripts that are drawn like a Latin one, in the faces that screens use.
_LOOKALIKES = {
    "a": "аαӓӑᎪɑ", "b": "ьЬвβƀЪъᏴƃɓ", "c": "сϲᏟςҫᑕ", "d": "ԁɗᏧժᗞ", "e": "еҽєεᎬ℮ɛәӗз", "f": "ғϝꞙƒ",
    "g": "ɡցɢԍᏀ", "h": "һհнᏂᎻɦԋ", "i": "іιɩᎥɪ", "j": "јϳʝᎫյ", "k": "кκᏦқӄҟ", "l": "ӏᏞɭⵏ", "m": "мᎷɱʍ",
    "n": "пηոռᏁղŋи", "o": "оοօөԻფѳ๐໐०০੦௦", "p": "рρᏢ", "q": "ԛզ", "r": "гѓɾᎡяꭇ", "s": "ѕʂᏚՏ",
    "t": "тτᎢԵꞇ†", "u": "υսцʋԱ", "v": "ѵνᏙ∨", "w": "ԝѡωաᎳшщ", "x": "хχж×", "y": "уүʏγᎩчў", "z": "ʐᏃ",
}  # fmt: skip
_LATIN_OF = {char: letter for letter, chars in _LOOKALIKES.items() for char in chars.lower()}

_PLAIN = {
    "’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'", "“": '"', "”": '"', "–": "-", "—": "-", "‐": "-",
    "‑": "-", "−": "-", "…": " ", "\u2800": " ", "™": " ", "®": " ", "©": " ", "℠": " ", "ß": "ss",
}  # fmt: skip


@dataclass(frozen=True)
class Folded:
    """Folded text; character `i` of it came from character `origin[i]` of the original.

    `changed` are the stretches of the original that hid something: kind of trick, start, end; `hidden` is the
    text that was written in tag characters, with the position of each.
    """

    text: str
    origin: Sequence[int]
    changed: tuple[tuple[str, int, int], ...] = ()
    hidden: tuple[tuple[str, int], ...] = ()


def fold(text: str) -> Folded:
    """Fold `text` in one pass. Plain ASCII takes the short way."""
    if text.isascii() and text.isprintable():
        return Folded(text.lower(), range(len(text)))
    out: list[str] = []
    origin: list[int] = []
    changed: list[tuple[int, str]] = []
    hidden: list[tuple[str, int]] = []
    unseen: list[int] = []
    marks = 0
    flag = False
    for index, char in enumerate(text):
        plain, kind = (char.lower(), "") if char.isascii() and char.isprintable() else _fold_char(char)
        if kind in {"invisible", "tag"}:
            # After a black flag the tags name a region: England's flag says "gbeng".
            flag = kind == "tag" and (flag or text[index - 1 : index] == "\U0001f3f4")
            if kind == "tag" and not flag:
                hidden.append((plain, index))
            if _is_plain_letter(out):
                unseen.append(index)
            continue
        if kind == "mark":
            marks += 1
            if out and out[-1].isascii():
                if marks > 1 or 0x0334 <= ord(char) <= 0x0338:
                    changed.append((index, "marks"))
                continue
        else:
            marks = 0
        # Joiners are ordinary between emoji and in Persian or Hindi; between Latin letters they hide a word.
        if unseen:
            if _is_plain_letter(plain):
                changed.extend((at, "invisible") for at in unseen)
            unseen.clear()
        if kind == "alphabet":
            changed.append((index, kind))
        out.extend(plain)
        origin.extend([index] * len(plain))
    return Folded("".join(out), origin, tuple(_stretches(changed)), tuple(hidden))


def _stretches(changed: Sequence[tuple[int, str]]) -> Iterator[tuple[str, int, int]]:
    """Join neighbours of one kind, letting a character or two stand between: one trick is one change."""
    if not changed:
        return
    first, kind = changed[0]
    last = first
    for at, what in changed[1:]:
        if what != kind or not last <= at <= last + 3:
            yield kind, first, last + 1
            first, kind = at, what
        last = at
    yield kind, first, last + 1


def _is_plain_letter(text: Sequence[str]) -> bool:
    return bool(text) and text[-1].isascii() and text[-1].isalnum()


def latin(word: str) -> str | None:
    """Return `word` with all look-alikes drawn in Latin, or None where a letter looks like no Latin one."""
    letters = []
    for char in word:
        plain = char if char.isascii() else _LATIN_OF.get(char)
        if plain is None:
            return None
        letters.append(plain)
    return "".join(letters)


@lru_cache(maxsize=4096)
def _fold_char(char: str) -> tuple[str, str]:
    """Return the plain form of one character and the kind of trick it may be ("" for none)."""
    if char in _PLAIN:
        return _PLAIN[char], ""
    code = ord(char)
    category = unicodedata.category(char)
    if _TAG_FIRST <= code <= _TAG_LAST:
        found = chr(code - 0xE0000), "tag"
    elif char.isspace() or category[0] == "Z":
        found = " ", ""
    elif category in {"Cf", "Cc"} or code in _IGNORABLE or 0xE0000 <= code <= 0xE0FFF:
        found = "", "invisible"
    elif category in {"Mn", "Me"}:
        found = char, "mark"
    else:
        found = _disguised(char, category) or (_without_accents(char), "")
    return found


def _disguised(char: str, category: str) -> tuple[str, str] | None:
    """Return the Latin letter or digit that `char` draws in another alphabet, or None."""
    code = ord(char)
    if 0x1F1E6 <= code <= 0x1F1FF:
        return chr(code - 0x1F1E6 + ord("a")), "flag"
    for first in (0x1F130, 0x1F150, 0x1F170):  # squared, negative circled, negative squared capitals
        if first <= code < first + 26:
            return chr(code - first + ord("a")), "alphabet"
    flat = unicodedata.normalize("NFKC", char)
    if flat != char and flat.isascii() and flat.isalnum():
        # Ligatures are typography; whole alphabets in disguise are not.
        return flat.lower(), "alphabet" if len(flat) == 1 and category[0] in "LNS" else ""
    name = unicodedata.name(char, "")
    if name.startswith(("LATIN LETTER SMALL CAPITAL ", "MODIFIER LETTER CAPITAL ", "MODIFIER LETTER SMALL ")):
        letter = name.rpartition(" ")[2]
        if len(letter) == 1:
            return letter.lower(), "alphabet"
    return None


def _without_accents(char: str) -> str:
    flat = unicodedata.normalize("NFKC", char).lower()
    name = unicodedata.name(char, "")
    if name.startswith(("LATIN SMALL LETTER ", "LATIN CAPITAL LETTER ")):
        letter = name.split(" ")[3]  # "LATIN SMALL LETTER O WITH STROKE"
        if len(letter) == 1 and letter.isascii():
            return letter.lower()
    if "GREEK" in name or "CYRILLIC" in name:
        base = unicodedata.normalize("NFD", flat)
        return "".join(part for part in base if unicodedata.category(part) != "Mn") or flat
    return flat
