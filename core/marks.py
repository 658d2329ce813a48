"""The noun `Mark`: what was written into a picture. Label, metadata, watermark, manifest, in that order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from clearmark.core.findings import Box

__all__ = ["LabelMark", "LatentMark", "ManifestMark", "Mark", "MetadataMark", "WatermarkMark"]


@dataclass(frozen=True, kw_only=True)
class LabelMark:
    """A visible label: its text, where it stands, and its contrast ratio against what is behind it (WCAG)."""

    text: str
    box: Box
    contrast: float


@dataclass(frozen=True, kw_only=True)
class MetadataMark:
    """What was written as metadata: field name to value, per standard (`iptc`, `aigc`)."""

    fields: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True)
class WatermarkMark:
    """An invisible watermark that its own decoder read back; quality against the picture before it."""

    codec: str
    codec_version: str
    mark_id: str
    psnr_db: float
    ssim: float


@dataclass(frozen=True, kw_only=True)
class LatentMark:
    """A mark in the noise that the picture was made from, found again in the picture by inversion.

    `score` is in standard deviations of what pictures without a mark give.
    """

    codec: str
    codec_version: str
    mark_id: str
    score: float


@dataclass(frozen=True, kw_only=True)
class ManifestMark:
    """A signed C2PA manifest: label, signer, `sha256:…` of the manifest store, and the store itself."""

    label: str
    signer: str
    digest: str
    source_type: str
    store: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """All layers of one picture. `id` is the 64-bit mark id as 16 hex digits, the same in every layer."""

    id: str
    label: LabelMark | None = None
    metadata: MetadataMark | None = None
    watermark: WatermarkMark | None = None
    manifest: ManifestMark | None = None
    latent: LatentMark | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: null for a layer that the policy did not ask for."""
        return {
            "id": self.id,
            "label": self.label
            and {"text": self.label.text, "box": self.label.box.to_dict(), "contrast": self.label.contrast},
            "metadata": self.metadata
            and {name: dict(values) for name, values in self.metadata.fields.items()},
            "watermark": self.watermark
            and {
                "codec": self.watermark.codec,
                "codec_version": self.watermark.codec_version,
                "mark_id": self.watermark.mark_id,
                "psnr_db": round(self.watermark.psnr_db, 2),
                "ssim": round(self.watermark.ssim, 4),
            },
            "manifest": self.manifest
            and {
                "label": self.manifest.label,
                "signer": self.manifest.signer,
                "digest": self.manifest.digest,
                "source_type": self.manifest.source_type,
            },
            "latent": self.latent
            and {
                "codec": self.latent.codec,
                "codec_version": self.latent.codec_version,
                "mark_id": self.latent.mark_id,
                "score": self.latent.score,
            },
        }
