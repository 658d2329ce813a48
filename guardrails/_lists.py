"""The lists of names that ship with the rooms: one format, read in one place.

A list is a text file under `ROOM/lists/`: one entry a line, blank lines and lines that begin with `#` left
out; a line `[section]` names the section of those after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files

__all__ = ["list_entries", "list_lines", "list_words"]


def list_lines(room: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a list, each with the section that it stands in ("" before the first).

    Raises:
        OSError: when the list is absent.
    """
    text = (files("clearmark.guardrails") / room / "lists" / name).read_text(encoding="utf-8")
    section = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            section = line.strip("[] ")
        elif line and not line.startswith("#"):
            yield section, line


def list_entries(room: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield the entries of a list whose lines hold several, with commas between, each with its section."""
    for section, line in list_lines(room, name):
        for entry in line.split(","):
            yield section, entry.strip()


def list_words(room: str, name: str) -> Mapping[str, frozenset[str]]:
    """Return the words of each section, as the reading of a prompt has them: of `t-shirt`, `shirt`."""
    groups: dict[str, set[str]] = {}
    for section, entry in list_entries(room, name):
        groups.setdefault(section, set()).add(entry.rpartition("-")[2].replace("'", ""))
    return {section: frozenset(words) for section, words in groups.items()}
