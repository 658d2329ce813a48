"""Make `watermark.png`: a picture, the same with its watermark, and the difference times ten around grey.

python docs/images/make_watermark.py PICTURE --out docs/images/watermark.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from clearmark.provenance.watermark import get_codec

SHOWN = 320


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with Image.open(options.picture) as opened:
        before = np.asarray(opened.convert("RGB"))
    after = get_codec("clearmark", b"figure").embed([before], ["0123456789abcdef"])[0].pixels
    tenfold = np.clip((after.astype(np.int16) - before) * 10 + 128, 0, 255).astype(np.uint8)
    row = np.hstack([part[:SHOWN, :SHOWN] for part in (before, after, tenfold)])
    Image.fromarray(row).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
