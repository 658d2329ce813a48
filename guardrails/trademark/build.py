"""Make the list of brands: `python -m clearmark.guardrails.trademark.build --icons DIR --index DIR ...`.

Names come from the npm packages `simple-icons` (CC0-1.0) and `name-suggestion-index` (BSD-3-Clause). A name
that ordinary captions use, or that a dictionary knows, is marked with `?`: it counts only where its
surroundings say that a mark is meant. Of captions and dictionary nothing ships but those marks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from clearmark.core.errors import UsageError
from clearmark.guardrails._names import NameTable, key_of, name_words
from clearmark.guardrails.prompt._rows import BENIGN, read_rows

__all__ = ["brand_lines", "captions", "icon_names", "index_names", "main"]

_HEADER = """# Brands, one a line; `?` before those that also mean something else. Made by build.py of
# simple-icons (CC0-1.0) and name-suggestion-index (BSD-3-Clause; LICENSE-name-suggestion-index.txt).
"""
_USERS = ("diffdb_refl", "diffdb_test")


def icon_names(folder: Path) -> Iterator[str]:
    """Yield titles and other names of simple-icons' unpacked npm package."""
    for row in _load(folder / "data" / "simple-icons.json"):
        yield row["title"]
        aliases = row.get("aliases", {})
        yield from aliases.get("aka", ())
        yield from (other["title"] for other in aliases.get("dup", ()))


def index_names(folder: Path) -> Iterator[str]:
    """Yield brand names, English ones where given, of name-suggestion-index's unpacked npm package."""
    for path, tree in sorted(_load(folder / "dist" / "json" / "nsi.json")["nsi"].items()):
        if path.startswith("brands/"):
            for item in tree.get("items", ()):
                tags = item.get("tags", {})
                if "brand:wikidata" in tags:
                    yield from (tags[key] for key in ("brand", "brand:en") if key in tags)


def captions(path: Path, half: int, sets: Iterable[str] = BENIGN) -> list[str]:
    """Return every second harmless caption: half 0 is learnt from, half 1 is kept for measuring."""
    wanted = frozenset(sets)
    rows = [row for row in read_rows(path) if row.set in wanted and not row.unsafe]
    return [row.text for number, row in enumerate(rows) if number % 2 == half]


def brand_lines(
    names: Iterable[str], *, famous: Iterable[str], seen: Iterable[str], words: frozenset[str]
) -> list[str]:
    """Return the lines of the list. `seen` are harmless texts; `words` a dictionary's lower-case words."""
    sure = {key_of(name) for name in famous}
    known = {key for name in names if _usable(key := key_of(name))}
    table = NameTable((key, key) for key in known)
    common = {hit.key for text in seen for hit in table.find(name_words(text))}
    doubtful = {
        key
        for key in known - sure
        if key in common or len(key) < 4 or all(word in words or len(word) < 3 for word in key.split())
    }
    return sorted((known | sure) - doubtful) + [f"?{key}" for key in sorted(doubtful)]


def _usable(key: str) -> bool:
    letters = [char for char in key if char.isalpha()]
    return len(letters) >= 3 and len(key) <= 40 and key.isascii()


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise UsageError(f"{path.name}: {type(exc).__name__}", hint="pass the unpacked npm package") from exc


def main() -> None:
    """Write `lists/brands.txt`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--icons", type=Path, required=True, help="unpacked simple-icons")
    parser.add_argument("--index", type=Path, required=True, help="unpacked name-suggestion-index")
    parser.add_argument("--data", type=Path, required=True, help="labelled prompts (JSON lines)")
    parser.add_argument("--words", type=Path, required=True, help="a dictionary, such as wamerican's")
    args = parser.parse_args()
    here = Path(__file__).parent / "lists"
    famous = [
        name.strip()
        for line in (here / "famous.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
        for name in line.split(",")
    ]
    words = frozenset(
        word
        for word in args.words.read_text(encoding="utf-8").split("\n")
        if word.islower() and "'" not in word
    )
    seen = captions(args.data, 0) + captions(args.data, 0, _USERS)
    names = [*icon_names(args.icons), *index_names(args.index)]
    lines = brand_lines(names, famous=famous, seen=seen, words=words)
    (here / "brands.txt").write_text(_HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    (here / "LICENSE-name-suggestion-index.txt").write_text((args.index / "LICENSE.md").read_text())


if __name__ == "__main__":
    main()
