"""Make the lists of public figures: `python -m clearmark.guardrails.likeness.build --labels F --data F`.

To our own list come the labels of GIPHY's celebrity detector (MPL-2.0, kept in a file of their own) and the
basketball players of the PyPI package `nba_api` (MIT). A single name that ordinary captions use is doubtful.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import runpy
from collections.abc import Iterable, Iterator
from pathlib import Path

from clearmark.core.errors import UsageError
from clearmark.guardrails._names import NameTable, key_of, name_words

__all__ = ["label_names", "main", "player_names", "seen_in"]

_LABELS = """# Public figures, from the labels of GIPHY's celebrity detector
# (https://github.com/Giphy/celeb-detection-oss). This file is under the Mozilla Public License 2.0.
# Made by build.py.
"""
_PLAYERS = """# Basketball players, from the PyPI package nba_api (MIT, Copyright (c) 2018 Swar Patel).
# Made by build.py.
"""
_DOUBTFUL = """# Names that ordinary captions use too: they count only beside a word that speaks of a person.
# Made by build.py.
"""


def label_names(path: Path) -> Iterator[str]:
    """Yield the names of a label file: `Name_[id],number` lines."""
    with path.open(encoding="utf-8", newline="") as stream:
        for row in list(csv.reader(stream))[1:]:
            yield row[0].partition("_[")[0].replace("_", " ").strip()


def player_names() -> Iterator[str]:
    """Yield the names of all players that `nba_api` lists, without importing what it needs.

    Raises:
        UsageError: when it is not installed.
    """
    spec = importlib.util.find_spec("nba_api")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("nba_api is not installed", hint="pip install nba_api")
    data = runpy.run_path(str(Path(next(iter(spec.submodule_search_locations))) / "stats/library/data.py"))
    for row in data["players"]:
        yield str(row[3])


def seen_in(texts: Iterable[str], names: Iterable[str]) -> set[str]:
    """Return the keys of the names that stand in harmless texts."""
    table = NameTable((name, name) for name in names)
    return {hit.key for text in texts for hit in table.find(name_words(text))}


def main() -> None:
    """Write `lists/labels.txt`, `lists/players.txt` and `lists/doubtful.txt`."""
    from clearmark.guardrails.prompt._rows import BENIGN, read_rows

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    here = Path(__file__).parent / "lists"
    labels = sorted({key for name in label_names(args.labels) if len(key := key_of(name)) > 2})
    players = sorted({key for name in player_names() if " " in (key := key_of(name))} - set(labels))
    rows = [row.text for row in read_rows(args.data) if row.set in BENIGN and not row.unsafe]
    learnt = [text for number, text in enumerate(rows) if number % 2 == 0]
    seen = seen_in(learnt, [*labels, *players])
    single = {name for name in labels if " " not in name}
    # A label of one word is a stage name, and most of those are words of other meanings too.
    doubtful = sorted(seen | single)
    for name, head, lines in (
        ("labels.txt", _LABELS, labels),
        ("players.txt", _PLAYERS, players),
        ("doubtful.txt", _DOUBTFUL, doubtful),
    ):
        (here / name).write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
