"""Captions made from the titles of OpenClipart's drawings: short harmless prompts, as people write them.

The drawings come with the Debian package `openclipart-svg` (public domain); only their file names are read.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

from clearmark.core.errors import UsageError
from clearmark.guardrails.prompt._rows import Row

__all__ = ["drawing_rows"]

_COUNT = 2_500
_FEWEST, _MOST = 2, 6  # words of a title that says something
_NO_LETTERS = re.compile(r"[_\W\d]+")


def drawing_rows(folder: Path) -> list[Row]:
    """Return captions for the drawings below `folder`, every second one as it is asked for; always the same.

    Raises:
        UsageError: when there are not enough drawings.
    """
    titles = set()
    for path in folder.rglob("*.svg"):
        words = [word for word in _NO_LETTERS.sub(" ", path.stem).lower().split() if len(word) > 1]
        if _FEWEST <= len(words) <= _MOST:
            titles.add(" ".join(words))
    if len(titles) < _COUNT:
        raise UsageError(
            f"{folder}: {len(titles):,} drawings with a title", hint="apt-get install openclipart-svg"
        )
    chosen = sorted(titles)
    random.Random(5).shuffle(chosen)  # noqa: S311  the same choice each time is the point
    return [
        Row(
            id=f"clip{number}",
            set="openclipart",
            unsafe=False,
            categories=frozenset(),
            lang="en",
            text=title if number % 2 else f"clip art of {title}",
        )
        for number, title in enumerate(chosen[:_COUNT])
    ]
