"""From any Unicode to plain lower-case letters, remembering where each letter stood.

Folding undoes what a reader (or a text encoder) does not see or does not tell apart: invisible characters,
full-width and mathematical alphabets, circled and squared letters, small capitals, accents, stacked marks.
Look-alikes of other scripts wait for the word they stand in (`latin`), since Russian is not an attack.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Folded", "fold", "latin"]

_TAG_FIRST, _TAG_LAST = 0xE0020, 0xE007E

# Code points of Unicode's Default_Ignorable_Code_Point that are not of category Cf (DerivedCoreProperties).
_IGNORABLE = frozenset(
    [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x3164, 0xFFA0]
    + list(range(0x180B, 0x1810))
    + list(range(0xFE00, 0xFE10))
    + list(range(0xFFF0, 0xFFF9))
)

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

    `changed` are the original positions that hid something, with the kind of trick; `hidden` is the text that
    was written in tag characters, with the position of each.
    """

    text: str
    origin: Sequence[int]
    changed: tuple[tuple[int, str], ...] = ()
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
    for index, char in enumerate(text):
        plain, kind = (char.lower(), "") if char.isascii() and char.isprintable() else _fold_char(char)
        if kind in {"invisible", "tag"}:
            if kind == "tag":
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
    return Folded("".join(out), origin, tuple(changed), tuple(hidden))


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
    code = ord(char)
    if char in _PLAIN:
        return _PLAIN[char], ""
    if _TAG_FIRST <= code <= _TAG_LAST:
        return chr(code - 0xE0000), "tag"
    category = unicodedata.category(char)
    if char.isspace() or category[0] == "Z":
        return " ", ""
    if category in {"Cf", "Cc"} or code in _IGNORABLE or 0xE0000 <= code <= 0xE0FFF:
        return "", "invisible"
    if category in {"Mn", "Me"}:
        return char, "mark"
    if 0x1F1E6 <= code <= 0x1F1FF:
        return chr(code - 0x1F1E6 + ord("a")), "flag"
    for first in (0x1F130, 0x1F150, 0x1F170):  # squared, negative circled, negative squared capitals
        if first <= code < first + 26:
            return chr(code - first + ord("a")), "alphabet"
    flat = unicodedata.normalize("NFKC", char)
    if flat != char and flat.isascii() and flat.isalnum():
        # Ligatures, ordinals and fractions are typography; whole alphabets in disguise are not.
        return flat.lower(), "alphabet" if len(flat) == 1 and category[0] in "LN" else ""
    name = unicodedata.name(char, "")
    if name.startswith(("LATIN LETTER SMALL CAPITAL ", "MODIFIER LETTER CAPITAL ", "MODIFIER LETTER SMALL ")):
        letter = name.rpartition(" ")[2]
        if len(letter) == 1:
            return letter.lower(), "alphabet"
    base = unicodedata.normalize("NFD", flat.lower())
    if base[:1].isascii() or "GREEK" in name or "CYRILLIC" in name:
        stripped = "".join(part for part in base if unicodedata.category(part) != "Mn")
        return stripped or flat.lower(), ""
    if name.startswith("LATIN SMALL LETTER ") or name.startswith("LATIN CAPITAL LETTER "):
        letter = name.split(" ")[3]
        if len(letter) == 1 and letter.isascii():  # "LATIN SMALL LETTER O WITH STROKE"
            return letter.lower(), ""
    return flat.lower(), ""
