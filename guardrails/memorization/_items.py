"""What an index holds and says: items, entries, hits, and the account of a removal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Entry", "Hit", "Item", "Removal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A picture on record: its key, the SHA-256 of its bytes, and what is known of its rights."""

    id: int = 0
    key: str
    sha256: str
    source: str = ""
    licence: str = ""
    creator: str = ""
    opt_out: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "item": self.key,
            "sha256": self.sha256,
            "source": self.source,
            "licence": self.licence,
            "creator": self.creator,
            "opt_out": self.opt_out,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """What is added: an item, its PDQ (32 bytes), sign codes [views, 64], the small picture (WebP), and the
    packed features of its key points."""

    item: Item
    pdq: bytes = field(repr=False)
    codes: NDArray[np.uint8] = field(repr=False)
    picture: bytes = field(repr=False, default=b"")
    features: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True)
class Hit:
    """An item that a search found; `value` is a distance in bits, a cosine, or votes."""

    id: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What a removal did: how many items, the files rewritten, and the digest of the index before and
    after."""

    items: int
    rewritten: int
    before: str
    after: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"items": self.items, "rewritten": self.rewritten, "before": self.before, "after": self.after}
