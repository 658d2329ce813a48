"""Screens that need no model: lists of hashes of material that must never be held.

The lists of child-protection organisations are handed out under contract, so none ships. A list is a text
file with one SHA-256 (64 hex digits) or 64-bit perceptual hash (16 hex digits) a line; `#` begins a comment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clearmark.core.errors import UsageError
from clearmark.provenance.training_data._pictures import Look
from clearmark.provenance.training_data.opt_outs import OptOutList

__all__ = ["HashList"]

_MAX_LINE = 200


class HashList:
    """Measures `known-abuse`: 1 for a picture on the list, by its bytes or by its look; else 0."""

    name = "hash-list"

    def __init__(self, known: OptOutList) -> None:
        self._known = known

    @classmethod
    def load(cls, path: Path) -> HashList:
        """Read a list.

        Raises:
            UsageError: when it cannot be read, or a line is no hash. The line itself is never quoted.
        """
        entries: list[tuple[str, str]] = []
        try:
            with path.open("r", encoding="ascii", errors="replace") as stream:
                for number, line in enumerate(iter(lambda: stream.readline(_MAX_LINE), ""), 1):
                    word = line.split("#", 1)[0].strip().lower()
                    if not word:
                        continue
                    kind = {64: "sha256", 16: "phash"}.get(len(word))
                    if kind is None or not set(word) <= set("0123456789abcdef"):
                        raise UsageError(f"{path}:{number}: neither a SHA-256 nor a 64-bit perceptual hash")
                    entries.append((kind, word))
        except OSError as exc:
            raise UsageError(f"{path}: {exc.strerror}") from exc
        return cls(OptOutList.of(entries))

    def __call__(self, data: bytes, look: Look) -> Mapping[str, int]:
        """Look the picture up. Its bytes are hashed already."""
        del data
        found = self._known.match(sha256=look.sha256, phash=look.phash, source="", creator="")
        return {"known-abuse": 1_000_000 if found else 0}
