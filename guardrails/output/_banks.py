"""Known pictures by hash: banks of PDQ hashes, and a guard that looks every picture up in them.

PDQ is Meta's perceptual hash (Davis and Rosen, "The TMK+PDQF Video-Hashing Algorithm and the PDQ
Image-Hashing Algorithm", 2019): 256 bits, nearly equal for pictures that look the same. Banks are exchanged
as text, one hash a line, as HMA and Hasher-Matcher-Actioner write them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from clearmark.core import CATEGORIES, Evidence, Finding, Match, Stage, Subject
from clearmark.core.errors import UsageError
from clearmark.guardrails._media import pixels_of, read_rgb, unavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PDQ_DISTANCE", "BankMatch", "HashBank", "HashBankGuard", "pdq"]

PDQ_DISTANCE = 31
"""Bits of 256 up to which two hashes are one picture's: the value that PDQ's authors recommend."""

_MIN_QUALITY = 50
_HASH = re.compile(r"[0-9a-fA-F]{64}")
_MOST = 20_000_000
_LONGEST_LABEL = 200


@dataclass(frozen=True, slots=True)
class BankMatch:
    """The nearest entry of a bank: its label, and the distance in bits."""

    label: str
    distance: int


class HashBank:
    """PDQ hashes with a label each, of one category. Looking up costs time linear in their number."""

    def __init__(self, name: str, category: str, entries: Iterable[tuple[str, str]] = ()) -> None:
        """Make a bank of (hex hash, label) pairs.

        Raises:
            UsageError: for an unknown category or something that is no PDQ hash.
        """
        import numpy as np

        if category not in CATEGORIES:
            raise UsageError(f"unknown category {category!r}", hint=f"one of {', '.join(CATEGORIES)}")
        self.name, self.category = name, category
        known: dict[str, str] = {}
        for text, label in entries:
            if not _HASH.fullmatch(text):
                raise UsageError(f"bank {name}: not a PDQ hash of 64 hex digits", hint="export it as text")
            known.setdefault(text.lower(), label)
            if len(known) > _MOST:
                raise UsageError(f"bank {name}: more than {_MOST:,} hashes", hint="split it")
        self._labels = list(known.values())
        self._hashes = list(known)
        packed = np.frombuffer(bytes.fromhex("".join(known)), dtype=np.uint64)
        self._bits: NDArray[np.uint64] = packed.reshape(-1, 4)

    def __len__(self) -> int:
        return len(self._hashes)

    @classmethod
    def read(cls, name: str, category: str, text: str) -> HashBank:
        """Read a bank from text: `hash`, `hash,label` or `hash,quality,label` a line; `#` begins a comment.

        Raises:
            UsageError: for a line that is none of these, with its number.
        """
        entries: list[tuple[str, str]] = []
        for number, line in enumerate(text.splitlines(), 1):
            parts = [part.strip() for part in line.split(",")]
            if not parts[0] or parts[0].startswith("#") or parts[0].lower() in {"hash", "pdq"}:
                continue
            digits = parts[0].lower().removeprefix("pdq:").strip()
            if not _HASH.fullmatch(digits):
                raise UsageError(
                    f"bank {name}: line {number} is no PDQ hash", hint="64 hex digits, then a label"
                )
            label = parts[-1] if len(parts) > 1 and not parts[-1].isdigit() else f"{name}:{number}"
            entries.append((digits, label[:_LONGEST_LABEL]))
        return cls(name, category, entries)

    def write(self) -> str:
        """Return the bank as text that `read` takes."""
        rows = [f"{digits},{label}" for digits, label in zip(self._hashes, self._labels, strict=True)]
        return "\n".join([f"# {self.name} {self.category}", *rows]) + "\n"

    def match(self, bits: bytes) -> BankMatch | None:
        """Return the entry nearest to a hash of 32 bytes, or None where the bank is empty."""
        import numpy as np

        if not len(self):
            return None
        away = np.bitwise_count(self._bits ^ np.frombuffer(bits, dtype=np.uint64)).sum(axis=1)
        at = int(away.argmin())
        return BankMatch(self._labels[at], int(away[at]))


class HashBankGuard:
    """Scores each bank's category by the nearest known picture."""

    name = "hash-banks"
    version = "1"
    stages = frozenset({Stage.INPUT_MEDIA, Stage.OUTPUT})

    def __init__(
        self,
        banks: Sequence[HashBank],
        *,
        hashed: Callable[[NDArray[np.uint8]], tuple[bytes, int]] | None = None,
    ) -> None:
        """Look pictures up in `banks`.

        `hashed` makes 32 bytes and a quality, 0 to 100, of RGB pixels; by default PDQ does.

        Raises:
            UsageError: without a bank: a guard that looks nothing up must not look like one that does.
        """
        if not banks:
            raise UsageError(
                "no hash bank to look pictures up in",
                hint="put one into the state folder: banks/CATEGORY/NAME.txt",
            )
        self._banks = tuple(banks)
        self._hash = hashed or _hash
        self.categories: tuple[str, ...] = tuple(dict.fromkeys(bank.category for bank in banks))

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one finding for each bank and picture.

        Raises:
            GuardUnavailable: when a picture cannot be read.
        """
        with unavailable(self.name, "looking at a picture"):
            return [self._check(subject) for subject in batch]

    def _check(self, subject: Subject) -> list[Finding]:
        began = time.perf_counter()
        bits, quality = self._hash(pixels_of(self.name, subject))
        found = [(bank, bank.match(bits)) for bank in self._banks]
        ms = (time.perf_counter() - began) * 1000
        out: list[Finding] = []
        for bank, match in found:
            # A plain picture's hash says nothing: it is near that of every other plain one.
            near = match is not None and quality >= _MIN_QUALITY
            score = max(0.0, 1 - match.distance / (2 * (PDQ_DISTANCE + 1))) if match and near else 0.0
            out.append(
                Finding(
                    category=bank.category,
                    score=score,
                    guard=self.name,
                    guard_version=self.version,
                    threshold=0.5,
                    evidence=Evidence(match=Match(match.label, bank.name, float(match.distance)))
                    if match is not None and score >= 0.5
                    else Evidence(),
                    facts=MappingProxyType({"known_picture": any(_is_known(m, quality) for _, m in found)})
                    if not out
                    else MappingProxyType({}),
                    ms=ms if not out else 0.0,
                )
            )
        return out


def _is_known(match: BankMatch | None, quality: int) -> bool:
    return match is not None and quality >= _MIN_QUALITY and match.distance <= PDQ_DISTANCE


def pdq(data: bytes) -> tuple[bytes, int]:
    """Return the PDQ hash of a picture (32 bytes) and its quality, 0 to 100.

    Raises:
        MediaError: when it cannot be read.
    """
    return _hash(read_rgb(data))


def _hash(rgb: NDArray[np.uint8]) -> tuple[bytes, int]:
    from clearmark.guardrails.memorization import hashes

    if min(rgb.shape[:2]) < 5:  # the hash needs a few pixels each way
        return bytes(32), 0
    found = hashes.pdq(rgb)
    return found.bits, found.quality
