"""What a policy asks to be written into released pictures.

Metadata, watermark and manifest are on unless a key that begins with `unsafe_` takes them out. The visible
label is drawn on every picture (`show: always`) or where a verdict's action is `label` (`show: when-asked`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from clearmark.core import Action

__all__ = ["Label", "Manifest", "Marking", "Metadata", "Watermark"]


@dataclass(frozen=True, kw_only=True)
class Label:
    """A visible label: its words, its corner, and the path of a TrueType file (empty: the built-in font)."""

    text: str = "AI-generated"
    position: str = "bottom-right"
    font: str = ""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """IPTC and XMP always; `aigc` adds the implicit label of GB 45438-2025 (China)."""

    aigc: bool = False


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """The invisible watermark; `codec` is a codec's name or `auto`.

    `latent` adds a mark in the initial noise of local diffusion models, where the picture keeps enough of it.
    """

    codec: str = "auto"
    latent: bool = False


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The signed C2PA manifest. `training` is what it says on training with the picture.

    `thumbnail` is the longer side of a small picture inside it, in pixels, 0 for none. Also the pictures that
    went in get one with `input_thumbnails`: that shows everybody what somebody handed in.
    """

    training: str = "notAllowed"
    thumbnail: int = 0
    input_thumbnails: bool = False


@dataclass(frozen=True, kw_only=True)
class Marking:
    """The layers of a released picture; False for a layer that is not written.

    `label` is what every picture gets; `label_when_asked` what a picture gets whose verdict is `label`.
    """

    label: Label | Literal[False] = False
    metadata: Metadata | Literal[False] = field(default_factory=Metadata)
    watermark: Watermark | Literal[False] = field(default_factory=Watermark)
    manifest: Manifest | Literal[False] = field(default_factory=Manifest)
    label_when_asked: Label = field(default_factory=Label)

    def label_for(self, action: Action) -> Label | Literal[False]:
        """Return the label to draw on a picture that is released under `action`."""
        return self.label_when_asked if action is Action.LABEL else self.label

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as it stands in policy files."""
        out: dict[str, Any] = {
            "label": {
                "show": "always" if self.label else "when-asked",
                "text": self.label_when_asked.text,
                "position": self.label_when_asked.position,
                **({"font": self.label_when_asked.font} if self.label_when_asked.font else {}),
            }
        }
        if self.metadata:
            out["metadata"] = {"aigc": self.metadata.aigc}
        else:
            out["unsafe_no_metadata"] = True
        if self.watermark:
            out["watermark"] = {"codec": self.watermark.codec}
            if self.watermark.latent:
                out["watermark"]["latent"] = True
        else:
            out["unsafe_no_watermark"] = True
        if self.manifest:
            out["manifest"] = {"training": self.manifest.training}
            if self.manifest.thumbnail:
                out["manifest"]["thumbnail"] = self.manifest.thumbnail
            if self.manifest.input_thumbnails:
                out["manifest"]["input_thumbnails"] = True
        else:
            out["unsafe_no_manifest"] = True
        return out
