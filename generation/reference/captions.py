"""Say what a drawing shows, from its title, keywords, file name and folder.

Titles of collections repeat ("Part of the Flat Icon Collection", "gramastar") and say nothing about the
single drawing; the file name then does. Several captions are made of one drawing, so that the denoiser meets
a short name, a sentence and a list of words alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from clearmark.core.dublin_core import DublinCore

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NOT_LETTERS = re.compile(r"[^a-zA-Z]+")
_GENERIC_TITLE = re.compile(
    r"^(clipart by|part of the|aiga|svg road|lemon svg|pc connectors|simple arrows|icon ?theme)|"
    r"theme|collection|untitled|unnamed|^new document|^open ?clip ?art|clip ?art$",
    re.IGNORECASE,
)
# Words of file names and keywords that name the collection, the tool or the author, never the thing shown.
_NOISE = frozenset({
    "hash", "clipart", "clip", "art", "svg", "png", "eps", "icon", "icons", "theme", "themes", "etiquette",
    "lemon", "flat", "unsorted", "special", "misc", "miscellany", "remix", "architetto", "francesco",
    "francesc", "franc", "fra", "architet", "desig", "lumen", "jean", "victor", "balin", "nicu", "buculei",
    "bucu", "jon", "phillips", "gerald", "dave", "pena", "benji", "mateya", "juliane", "krug", "kiss",
    "fernandez", "ganson", "mccann", "orlando", "karam", "kuehne", "aiga", "mapsym", "hex", "magick",
    "networksym", "subnational", "bw", "cm", "bwh", "whit", "gatto", "gatti", "cani", "cavallo", "farfalla",
    "and", "the", "for", "with",
})  # fmt: skip
_NOISY_KEYWORDS = frozenset(
    ["sign and symbols", "signs and symbols", "united nations member", "lemon theme icon"]
)
_LEFT_OVERS = frozenset(["st", "bw", "mo", "ma", "al", "la", "le", "an", "ch", "da", "vic"])
# What one drawing of a folder is called, where the folder's own name does not say it.
_KINDS = {
    "housecats": "cat", "big_cats": "big cat", "bugs": "insect", "breads_and_carbs": "bread",
    "homes": "house", "meats_and_eggs": "food", "beverages": "drink", "alcohol": "drink", "boating": "boat",
    "fish": "fish", "evergreen": "evergreen tree", "bodypart": "body part", "clothing": "clothing",
    "dairy": "food", "fruit": "fruit", "furniture": "furniture", "jewelry": "jewelry",
    "smilies": "smiley face", "weather": "weather symbol", "awards": "award", "valentines": "heart",
    "chess": "chess piece", "astronomy": "planet or star", "music": "musical instrument",
    "party": "party drawing", "sports": "sports drawing", "food": "food", "battery": "battery",
    "bulb": "light bulb", "people": "person", "stickmen": "stick man", "office": "office tool",
}  # fmt: skip
_NAMED_FOLDERS = (
    "animals", "food", "plants", "buildings", "transportation/vehicles", "transportation/boating", "people",
    "tools", "recreation/music", "recreation/sports", "recreation/toys", "recreation/party",
    "recreation/games/chess", "recreation/holiday/valentines", "containers", "electronics/b",
    "signs_and_symbols/weather", "signs_and_symbols/clocks", "signs_and_symbols/awards",
    "geography/astronomy", "science/astronomy", "education/books", "office/telephone",
)  # fmt: skip
MAX_WORDS = 14
"""Longest caption in words: it has to fit the 24 tokens that the tokenizer keeps."""


def words_of(text: str) -> list[str]:
    """Split a title, a file stem or a keyword into lower-case words of at least two letters."""
    spaced = _NOT_LETTERS.sub(" ", _CAMEL.sub(" ", text))
    return [word for word in spaced.lower().split() if len(word) > 1]


def subject_of(
    meta: DublinCore, stem: str, folder: str, repeated_titles: frozenset[str] = frozenset()
) -> str:
    """Name the thing shown: the title where it is telling, else the file name without its author.

    The folder helps where names alone mislead: "taiwan" among the flags is a flag.
    """
    author = [part for part in words_of(meta.creator) if len(part) > 2]
    name = [w for w in words_of(stem) if w not in _NOISE and not any(part.startswith(w) for part in author)]
    while name and name[-1] in _LEFT_OVERS:
        name.pop()
    title = [word for word in words_of(meta.title) if word not in _NOISE]
    if title and not _GENERIC_TITLE.search(meta.title) and meta.title not in repeated_titles:
        name = title
    if not any(len(word) > 2 for word in name):
        name = words_of(folder.rpartition("/")[2])
    if "/flags/" in f"/{folder}/" and "flag" not in name:
        name = ["flag", "of", *name]
    if "/cards/" in f"/{folder}/" and "card" not in name:
        name = ["playing", "card", *name]
    return " ".join(name[:6])


def keywords_of(meta: DublinCore, folder: str) -> list[str]:
    """List what else is known: the keywords without noise and doubles, then the words of the folders."""
    author = set(words_of(meta.creator))
    words = [" ".join(words_of(word)) for word in meta.keywords]
    words = [word for word in words if word and not set(word.split()) <= author]
    folders = [word for part in reversed(folder.split("/")) for word in words_of(part)]
    kept = (
        w
        for w in words + folders
        if w not in _NOISE and w not in _NOISY_KEYWORDS and not w.startswith("hash")
    )
    return list(dict.fromkeys(kept))


def kind_of(folder: str) -> str:
    """Name what a drawing of `folder` is in general ("insect"), or "" where that is not clear."""
    if not folder.startswith(_NAMED_FOLDERS):
        return ""
    last = folder.rpartition("/")[2]
    return _KINDS.get(last) or " ".join(words_of(last)).removesuffix("s")


def captions_of(
    subject: str, keywords: Sequence[str], colours: str = "", folder: str = ""
) -> tuple[str, ...]:
    """Write up to eight captions of one drawing, from the name of the thing to all that is known.

    Where the folder says what kind of thing it is, three of them name the kind alone: prompts ask for
    "a bird" far more often than for one of the species that titles name.
    """
    main = subject or " ".join(keywords[:2]) or "drawing"
    extra = list(_new_words(keywords, main))
    shelf = " ".join(words_of(folder.rpartition("/")[2])) or "drawing"
    coloured = f"{colours} {main}" if colours and colours.split(maxsplit=1)[0] not in main.split() else main
    variants: tuple[str, ...] = (
        main,
        with_article(main),
        with_article(coloured),
        ", ".join([main, *extra[:2]]),
        ", ".join([f"a drawing of {with_article(coloured)}", shelf, *_new_words(extra[:4], shelf)]),
    )
    general = kind_of(folder)
    if general and general not in main:
        coloured = with_article(f"{colours} {general}".strip())
        variants += (with_article(general), coloured, f"a drawing of {coloured}")
    return tuple(" ".join(text.split()[:MAX_WORDS]).rstrip(",") for text in variants)


def with_article(text: str) -> str:
    """Put "a" or "an" before `text`."""
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def _new_words(words: Iterable[str], known: str) -> Iterable[str]:
    """Leave out words that `known` already says, in the singular or the plural."""
    said = {word.rstrip("s") for word in known.split()}
    return (word for word in words if not {part.rstrip("s") for part in word.split()} <= said)
