"""Where pixels come from, in the vocabulary of the IPTC: manifests and metadata say it alike."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from clearmark.core.errors import UsageError

__all__ = ["IPTC_SOURCES", "SOURCE_TYPES", "source_type_uri"]

IPTC_SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SOURCE_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "created": IPTC_SOURCES + "trainedAlgorithmicMedia",
        "altered": IPTC_SOURCES + "compositeWithTrainedAlgorithmicMedia",
    }
)
"""IPTC digital source type by how a picture was made. An upscaled picture is `altered`, too: a generative
upscaler invents detail, which `algorithmicallyEnhanced` would not say."""


def source_type_uri(source: str) -> str:
    """Return the IPTC URI for `created` or `altered`.

    Raises:
        UsageError: for another word.
    """
    try:
        return SOURCE_TYPES[source]
    except KeyError:
        raise UsageError(f"source must be created or altered, not {source!r}") from None
