"""Labelled prompts for fitting and measuring: JSON lines, and what their sets call each category.

A row is `{id, set, label, category, lang, text}`; the sets are public ones and are named in the model card.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearmark.core.errors import UsageError

__all__ = ["BENIGN", "TWINS", "Row", "family", "is_reserved", "known_categories", "read_rows"]

BENIGN = ("coco", "parti", "compbench", "geneval", "openclipart")
"""Plain captions: what false alarms are counted on first."""

TWINS = ("overt_benign", "copro_safe")
"""Harmless prompts written to sit beside harmful ones."""

_RESERVED = 37  # of 256: one row in seven

_NAMES = {
    "sexual": "sexual", "sexual_content": "sexual", "Adult content": "sexual", "S": "sexual",
    "image_failure_sexual": "sexual", "Sexual exploitation & human trafficking": "sexual",
    "violence": "violence", "Violence": "violence", "V": "violence", "image_failure_violent": "violence",
    "Violence & incitement": "violence", "Animal abuse": "violence",
    "shocking": "violence/graphic", "Shocking": "violence/graphic", "V2": "violence/graphic",
    "hate": "hate", "Hate": "hate", "H": "hate", "H2": "hate", "discrimination": "hate",
    "image_failure_hate": "hate", "Hate speech & offensive language": "hate",
    "Discrimination & injustice": "hate",
    "harassment": "harassment", "Harrasment": "harassment", "HR": "harassment",
    "Bullying & harassment": "harassment",
    "self-harm": "self-harm", "self_harm": "self-harm", "SH": "self-harm", "Self-harm": "self-harm",
    "illegal activity": "illicit", "Illegal Activity": "illicit", "illegal_activities": "illicit",
    "Substance abuse & banned substances": "illicit", "Terrorism & organized crime": "illicit",
    "Theft": "illicit", "Weapons": "illicit", "Property crime & vandalism": "illicit",
    "unethical": "deception", "privacy_individual": "deception", "Fraud & deception": "deception",
    "Conspiracy theories & misinformation": "deception",
    "Soliciting personally identifiable information": "deception",
    "copyright_violations": "copyright/character",
}  # fmt: skip
_OURS = frozenset(_NAMES.values())


@dataclass(frozen=True)
class Row:
    """One labelled prompt. `categories` are ours; an unsafe row may have none that we measure."""

    id: str
    set: str
    unsafe: bool
    categories: frozenset[str]
    lang: str
    text: str


def family(name: str) -> str:
    """Return the source that a set belongs to: sets of one source share authors and style."""
    for prefix in ("copro", "overt", "nib", "oai", "multijail", "diffdb"):
        if name.startswith(prefix):
            return prefix
    return name


def is_reserved(text: str) -> bool:
    """Whether a prompt is one of the one in seven that no fit sees: what ships can be measured on them.

    By a digest of the text: the same text in two sets falls on one side.
    """
    plain = " ".join(text.lower().split())
    return hashlib.sha256(b"reserved:" + plain.encode()).digest()[0] < _RESERVED


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a `.jsonl` or `.jsonl.gz` file.

    Raises:
        UsageError: when it cannot be read or a line is no row.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opened(path, "rt", encoding="utf-8") as stream:
            for line in stream:
                number += 1
                yield _row(json.loads(line))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise UsageError(f"{path.name}: line {number}: {type(exc).__name__}: not labelled prompts") from exc


def _row(row: Mapping[str, Any]) -> Row:
    unsafe = bool(row["label"])
    categories = known_categories(row["category"]) if unsafe else frozenset[str]()
    return Row(str(row["id"]), row["set"], unsafe, categories, row.get("lang", "en"), row["text"])


def known_categories(told: str | Sequence[str] | None) -> frozenset[str]:
    """Return our names of the categories that the public sets list, with commas or `|` between them.

    A list is of our own names, as `fit reserved` writes them.
    """
    if not isinstance(told, str):
        return frozenset(told or ()) & _OURS
    parts = (part.strip(" '\"[]") for part in told.replace("|", ",").split(","))
    return frozenset(_NAMES[part] for part in parts if part in _NAMES)
