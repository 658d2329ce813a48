"""Opt-outs that owners registered with us: by the bytes, by the look, by the address, or by the name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from clearmark.core.errors import UsageError

__all__ = ["OPT_OUT_KINDS", "OptOutList", "normal_value"]

OPT_OUT_KINDS = ("sha256", "phash", "host", "prefix", "creator")
"""`phash` matches within `OptOutList.distance` bits, `host` with its subdomains, `prefix` of an address."""

_HEX = set("0123456789abcdef")


def normal_value(kind: str, value: str) -> str:
    """Return a registered value in the form in which it is compared.

    Raises:
        UsageError: an unknown kind, or a value that is none of that kind.
    """
    if kind not in OPT_OUT_KINDS:
        raise UsageError(f"no opt-out is of kind {kind!r}", hint=f"one of: {', '.join(OPT_OUT_KINDS)}")
    value = value.strip()
    if kind in {"sha256", "phash"}:
        value = value.lower().removeprefix("sha256:")
        if len(value) != {"sha256": 64, "phash": 16}[kind] or not set(value) <= _HEX:
            raise UsageError(f"{kind} must be {64 if kind == 'sha256' else 16} hex digits")
    elif kind in {"host", "creator"}:
        value = value.casefold().rstrip(".")
    if not 0 < len(value) <= 2000:
        raise UsageError(f"{kind} must be 1 to 2,000 characters")
    return value


@dataclass
class OptOutList:
    """Registered opt-outs, ready to be matched. `distance` is in bits of the perceptual hash."""

    distance: int = 3
    _exact: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in OPT_OUT_KINDS})
    _bands: dict[tuple[int, int], list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[tuple[str, str]]) -> OptOutList:
        """Make a list of (kind, value) pairs as the register keeps them."""
        made = cls()
        for kind, value in entries:
            made._exact[kind].add(value)
        for value in made._exact["phash"]:
            for band in _bands(int(value, 16), made.distance):
                made._bands.setdefault(band, []).append(int(value, 16))
        return made

    def __bool__(self) -> bool:
        return any(self._exact.values())

    def match(self, *, sha256: str, phash: int | None, source: str, creator: str) -> tuple[str, str] | None:
        """Return the kind and value of the first opt-out that covers an item, or None."""
        if sha256 in self._exact["sha256"]:
            return "sha256", sha256
        if creator and self._exact["creator"] and creator.casefold() in self._exact["creator"]:
            return "creator", creator.casefold()
        if phash is not None and self._bands:
            for band in _bands(phash, self.distance):
                for known in self._bands.get(band, ()):
                    if (known ^ phash).bit_count() <= self.distance:
                        return "phash", f"{known:016x}"
        if source and (self._exact["host"] or self._exact["prefix"]):
            return self._by_address(source)
        return None

    def _by_address(self, source: str) -> tuple[str, str] | None:
        try:
            host = (urlsplit(source).hostname or "").casefold()
        except ValueError:
            host = ""
        labels = host.split(".")
        for start in range(len(labels)):
            name = ".".join(labels[start:])
            if name and name in self._exact["host"]:
                return "host", name
        for prefix in self._exact["prefix"]:
            if source.startswith(prefix):
                return "prefix", prefix
        return None


def _bands(value: int, distance: int) -> list[tuple[int, int]]:
    """Cut a hash into `distance` + 1 bands: of two hashes that near, at least one band is equal."""
    count = distance + 1
    width = -(-64 // count)
    return [(number, value >> (number * width) & ((1 << width) - 1)) for number in range(count)]
