"""Invisible watermarks: a 64-bit mark id written into pixels and read back from them.

>>> import numpy as np
>>> from clearmark.provenance.watermark import get_codec
>>> picture = np.full((256, 256, 3), 255, np.uint8)
>>> codec = get_codec("dwt-dct-svd")
>>> marked = codec.embed([picture], ["0123456789abcdef"])[0]
>>> codec.extract([marked.pixels])[0].mark_id
'0123456789abcdef'

Every codec checks itself: what `embed` returns was read back by the codec's own decoder, and a picture that
cannot be marked is a `WatermarkFailed` with the reason, never an unmarked picture. `extract` accepts a
message only when its check word fits, so `None` means *nothing found*, which proves nothing.
"""

from clearmark.provenance.watermark._registry import codecs, extract_any, get_codec
from clearmark.provenance.watermark.codec import Embedded, Extracted, Found, Pixels, WatermarkCodec

__all__ = [
    "Embedded",
    "Extracted",
    "Found",
    "Pixels",
    "WatermarkCodec",
    "codecs",
    "extract_any",
    "get_codec",
]
