"""The noun `Asset`: bytes of one medium, and how they were made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

__all__ = ["EXTENSIONS", "Asset", "Origin"]

EXTENSIONS: Mapping[str, str] = MappingProxyType(
    {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}
)
"""The file ending of every media type that marking can write."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How an asset came to be: the generator, its exact model, and the values that make it again.

    `model_digest` is `sha256:…` over the weights; `parents` are the sha256 of the pictures it was made from.
    """

    generator: str
    model: str = ""
    model_version: str = ""
    model_digest: str = ""
    task: str = "text-to-image"
    seed: int | None = None
    steps: int | None = None
    parents: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True)
class Asset:
    """Encoded bytes of one medium. `width` and `height` in pixels, 0 where unknown."""

    data: bytes = field(repr=False)
    media_type: str
    width: int = 0
    height: int = 0
    origin: Origin | None = None

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of `data`."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def extension(self) -> str:
        """The usual file ending, with its dot."""
        return EXTENSIONS.get(self.media_type, ".bin")

    def save(self, path: str | Path) -> Path:
        """Write `data` to `path` and return it. What is written is what was signed: no re-encoding."""
        target = Path(path)
        target.write_bytes(self.data)
        return target
