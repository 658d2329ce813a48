"""What the metadata says: the IPTC fields on synthetic media, and the label that GB 45438 asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from clearmark.core.assets import Origin
from clearmark.core.errors import MediaError, MetadataFailed
from clearmark.core.marks import MetadataMark
from clearmark.core.pixels import sniff
from clearmark.provenance._containers import get_text, get_xmp, set_xmp
from clearmark.provenance._sources import source_type_uri
from clearmark.provenance.metadata.xmp import AIGC, IPTC_EXT, merge, parse

__all__ = ["MetadataSettings", "read_metadata", "write_metadata"]

_IPTC_FIELDS = (
    "DigitalSourceType",
    "AISystemUsed",
    "AISystemVersionUsed",
    "AIPromptInformation",
    "AIPromptWriterName",
)
_AIGC_KEYS = (
    "Label",
    "ContentProducer",
    "ProduceID",
    "ReservedCode1",
    "ContentPropagator",
    "PropagateID",
    "ReservedCode2",
)
_MAX_VALUE = 4096


@dataclass(frozen=True, kw_only=True)
class MetadataSettings:
    """Which standards are written.

    `producer` is the provider's code or name for `ContentProducer`. The prompt and its writer are personal
    data, so nothing here writes them.
    """

    iptc: bool = True
    aigc: bool = True
    producer: str = "clearmark"

    def fields(self, *, mark_id: str, source: str, origin: Origin | None) -> dict[str, dict[str, str]]:
        """Return the fields of one picture, per standard."""
        out: dict[str, dict[str, str]] = {}
        if self.iptc:
            out["iptc"] = {"DigitalSourceType": source_type_uri(source)}
            if origin is not None and (origin.model or origin.generator):
                out["iptc"]["AISystemUsed"] = origin.model or origin.generator
                if origin.model_version:
                    out["iptc"]["AISystemVersionUsed"] = origin.model_version
        if self.aigc:
            # Label 1: the content is known to be generated, because whoever writes this generated it.
            out["aigc"] = {"Label": "1", "ContentProducer": self.producer, "ProduceID": mark_id}
        return out


def write_metadata(
    data: bytes, fields: Mapping[str, Mapping[str, str]], *, base: bytes | None = None
) -> tuple[bytes, MetadataMark]:
    """Write `fields` into the picture's XMP packet, and read them back.

    `base` is a packet to merge into, for a picture that was encoded anew; by default the picture's own.

    Raises:
        MetadataFailed: when the container cannot take them, or they do not read back.
    """
    wanted: dict[tuple[str, str], str] = {
        (IPTC_EXT, name): value for name, value in fields.get("iptc", {}).items()
    }
    if "aigc" in fields:
        label = {key: fields["aigc"].get(key, "") for key in _AIGC_KEYS}
        wanted[AIGC, "AIGC"] = json.dumps(label, ensure_ascii=False, separators=(",", ":"))
    try:
        marked = set_xmp(data, merge(base if base is not None else get_xmp(data), wanted))
        found = read_metadata(marked)
    except MediaError as exc:
        raise MetadataFailed(f"the metadata cannot be written: {exc}", hint=exc.hint) from exc
    for standard, values in fields.items():
        read = found.get(standard) or {}
        lost = [name for name, value in values.items() if read.get(name) != value]
        if lost:
            raise MetadataFailed(f"the metadata do not read back: {standard} {', '.join(lost)}")
    frozen = {name: MappingProxyType(dict(values)) for name, values in fields.items()}
    return marked, MetadataMark(fields=MappingProxyType(frozen))


def read_metadata(data: bytes) -> dict[str, dict[str, str] | None]:
    """Return the fields on synthetic media that a picture carries: `iptc` and `aigc`, None where absent.

    Raises:
        MediaError: when the container or the packet is broken.
    """
    packet = get_xmp(data)
    properties = parse(packet) if packet else {}
    iptc = {
        name: _clip(properties[IPTC_EXT, name]) for name in _IPTC_FIELDS if properties.get((IPTC_EXT, name))
    }
    label = properties.get((AIGC, "AIGC"))
    if label is None and sniff(data) == "image/png":
        label = get_text(data, b"AIGC")
    return {"iptc": iptc or None, "aigc": _aigc(label) if label else None}


def _aigc(label: str) -> dict[str, str] | None:
    try:
        values = json.loads(label)
    except (ValueError, RecursionError):
        return None
    if isinstance(values, dict) and isinstance(values.get("AIGC"), dict):  # some writers wrap it once more
        values = values["AIGC"]
    if not isinstance(values, dict):
        return None
    return {key: _clip(str(values[key])) for key in _AIGC_KEYS if values.get(key) not in {None, ""}} or None


def _clip(value: str) -> str:
    return "".join(char for char in value[:_MAX_VALUE] if char.isprintable())
