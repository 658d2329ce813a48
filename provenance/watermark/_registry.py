"""Codecs by name."""

from __future__ import annotations

from collections.abc import Sequence

from clearmark.core.errors import UsageError
from clearmark.provenance.watermark._clearmark import Clearmark
from clearmark.provenance.watermark._dwt_dct_svd import DwtDctSvd
from clearmark.provenance.watermark._invisible import METHODS, Invisible
from clearmark.provenance.watermark._payload import check_pixels
from clearmark.provenance.watermark.codec import Found, Pixels, WatermarkCodec

__all__ = ["codecs", "extract_any", "get_codec"]

AUTO = "clearmark"
_OWN = ("clearmark", "dwt-dct-svd")


def codecs() -> tuple[str, ...]:
    """Return the names of the codecs that the base install can use, best first."""
    return _OWN


def get_codec(name: str = "auto", key: bytes | None = None) -> WatermarkCodec:
    """Return the codec `name`; `auto` is the best that the base install has.

    What a codec wrote with a `key` only a codec with the same key reads. The names `invisible:dwtDct` and
    `invisible:dwtDctSvd` are the package invisible-watermark's, where it is installed.

    Raises:
        UsageError: an unknown name.
        ExtraMissing: a codec whose package is not installed.
    """
    chosen = AUTO if name == "auto" else name
    if chosen == "clearmark":
        return Clearmark(key=key)
    if chosen == "dwt-dct-svd":
        return DwtDctSvd(key=key)
    package, _, method = chosen.partition(":")
    if package == "invisible" and method in METHODS:
        return Invisible(method, key=key)
    known = ", ".join(("auto", *_OWN, *(f"invisible:{method}" for method in METHODS)))
    raise UsageError(f"no watermark codec is called {name!r}", hint=f"one of: {known}")


def extract_any(pixels: Pixels, *, keys: Sequence[bytes] = ()) -> list[Found]:
    """Return every mark that a codec of the base install reads from one picture, without a key and with each.

    Each codec and key may accept a wrong message with a small chance of its own, so it grows with `keys`.

    Raises:
        UsageError: not an array of uint8, height x width x 3.
    """
    check_pixels(pixels)
    found: dict[tuple[str, str], Found] = {}
    for name in codecs():
        for key in (None, *keys):
            hit = get_codec(name, key).extract([pixels])[0]
            if hit is not None and (name, hit.mark_id) not in found:
                found[name, hit.mark_id] = Found(codec=name, mark_id=hit.mark_id, confidence=hit.confidence)
    return list(found.values())
