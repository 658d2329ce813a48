"""From a row of a table or a JSON object to a candidate, by the names that such files use.

img2dataset's output, LAION's tables, Hugging Face's metadata files and plain lists name the same things
differently; the first name found counts. Names are compared without regard to case.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clearmark.provenance.training_data.importers.source import bounded_reader, inside, text_of
from clearmark.provenance.training_data.items import Candidate, Fault, Signal
from clearmark.provenance.training_data.opt_outs import read_headers

__all__ = ["ROW_NAMES", "Columns"]

ROW_NAMES: Mapping[str, tuple[str, ...]] = {
    "key": ("key", "__key__", "id", "item_id"),
    "caption": ("caption", "text", "alt", "prompt", "title", "description"),
    "source": ("url", "image_url", "source", "source_url", "page_url"),
    "creator": ("creator", "author", "artist", "credit", "owner"),
    "statement": ("license", "licence", "license_url", "rights", "usage_terms"),
    "category": ("category", "label", "class"),
    "acquired": ("acquired", "fetched_at", "crawled_at", "date_acquired"),
    "method": ("method", "acquisition"),
    "sha256": ("sha256", "image_sha256"),
    "media_type": ("media_type", "mime_type", "content_type"),
    "consent": ("consent",),
    "consent_ref": ("consent_ref",),
    "width": ("width", "original_width"),
    "height": ("height", "original_height"),
    "size": ("bytes", "size"),
    "status": ("status",),
    "error": ("error_message", "error"),
    "file": ("file_name", "image_path", "path", "filename"),
    "image": ("image", "img", "jpg", "png", "webp", "image_bytes"),
    "headers": ("http_headers", "headers"),
    "content-usage": ("content_usage",),
    "tdm-reservation": ("tdm_reservation",),
    "x-robots-tag": ("x_robots_tag",),
    "read_at": ("signals_read_at",),
    "nsfw": ("punsafe", "nsfw_score"),
    "nsfw_word": ("nsfw",),
    "watermark": ("pwatermark",),
    "faces": ("faces", "face_count"),
}
"""Field to column names, best first."""

_TEXTS = (
    "caption", "source", "creator", "statement", "category", "acquired", "method", "sha256", "media_type",
    "consent", "consent_ref",
)  # fmt: skip
_NUMBERS = ("width", "height", "size")
_MEASURES = ("nsfw", "nsfw_word", "watermark", "faces")
_HEADERS = ("content-usage", "tdm-reservation", "x-robots-tag")
_WORDS = {"nsfw": 950_000, "unsure": 500_000, "unlikely": 50_000, "true": 950_000, "false": 50_000}


class Columns:
    """The columns of one file, matched once and applied to every row."""

    def __init__(self, names: Sequence[str], *, root: Path | None = None) -> None:
        lower = {name.lower(): place for place, name in reversed(list(enumerate(names)))}
        self.places = {
            field: next(lower[name] for name in known if name in lower)
            for field, known in ROW_NAMES.items()
            if any(name in lower for name in known)
        }
        self._root = root
        self._texts = [(field, self.places[field]) for field in _TEXTS if field in self.places]
        self._headers = [(field, self.places[field]) for field in _HEADERS if field in self.places]
        self._numbers = [(field, self.places[field]) for field in _NUMBERS if field in self.places]
        # What a file has no column for is not asked of each of its rows.
        self._has_measures = any(field in self.places for field in _MEASURES)
        self._has_bytes = "image" in self.places or "file" in self.places

    def used(self, names: Sequence[str]) -> list[str]:
        """Return the names of the columns that are read at all."""
        return [names[place] for place in sorted(set(self.places.values()))]

    def candidate(self, row: Sequence[Any], *, key: str, cursor: str) -> Candidate:
        """Make a candidate; `key` stands in front of the row's own key, if it has one."""
        made = Candidate(key=key, cursor=cursor)
        own = text_of(self._cell(row, "key"))
        if own:
            made.key = f"{key}/{own}"
        for field, place in self._texts:
            value = row[place]
            if value:
                setattr(made, field, value if isinstance(value, str) else text_of(value))
        for field, place in self._numbers:
            setattr(made, field, _whole(row[place]))
        if self._has_measures:
            made.measures = self._measures(row)
        if self._headers or "headers" in self.places:
            made.signals, made.signals_read = self._signals(row)
        status = text_of(self._cell(row, "status"))
        if status and status != "success":
            detail = text_of(self._cell(row, "error"))
            made.fault = Fault("not-downloaded", f"{status}: {detail}" if detail else status)
            return made
        if self._has_bytes:
            made.load, made.fault = self._bytes(row)
        return made

    def _cell(self, row: Sequence[Any], field: str) -> Any:
        place = self.places.get(field)
        return None if place is None else row[place]

    def _bytes(self, row: Sequence[Any]) -> tuple[Callable[[], bytes] | None, Fault | None]:
        held = self._cell(row, "image")
        name = text_of(self._cell(row, "file"))
        if isinstance(held, Mapping):  # the Image feature of datasets: {"bytes": …, "path": …}
            name = text_of(held.get("path")) or name
            held = held.get("bytes")
        if isinstance(held, bytes):
            data = held
            return (lambda: data), None
        name = name or text_of(held)
        if not name or self._root is None or name.startswith(("http://", "https://")):
            return None, None
        path = inside(self._root, name)
        if path is None:
            return None, Fault(
                "missing-file", "the row names a file that is not there, or lies outside the folder"
            )
        return bounded_reader(path), None

    def _measures(self, row: Sequence[Any]) -> dict[str, int]:
        found = {}
        for field in ("nsfw", "watermark"):
            score = _score(self._cell(row, field))
            if score is not None:
                found[field] = score
        word = text_of(self._cell(row, "nsfw_word")).lower()
        if "nsfw" not in found and word in _WORDS:
            found["nsfw"] = _WORDS[word]
        faces = self._cell(row, "faces")
        if faces is not None:
            found["faces"] = min(_whole(faces), 1000) * 1_000_000
        return found

    def _signals(self, row: Sequence[Any]) -> tuple[tuple[Signal, ...], bool]:
        headers = {field: text_of(row[place]) for field, place in self._headers}
        kept = self._cell(row, "headers")
        if isinstance(kept, str) and kept:
            try:
                kept = json.loads(kept)
            except (ValueError, RecursionError):
                kept = None
        if isinstance(kept, Mapping):
            headers = {**{str(name): text_of(value) for name, value in kept.items()}, **headers}
        read_us = _whole(self._cell(row, "read_at"))
        return read_headers(headers, read_us=read_us), bool(headers)


def _whole(value: Any) -> int:
    try:
        return max(0, min(int(value), 2**62)) if value is not None else 0
    except (ValueError, TypeError, OverflowError):
        return 0


def _score(value: Any) -> int | None:
    try:
        score = float(value)
    except (ValueError, TypeError):
        return None
    return round(score * 1_000_000) if 0 <= score <= 1 else None
