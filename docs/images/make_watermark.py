"""Make `watermark.png`: pictures, the same with their watermark, and the difference times ten around grey.

python docs/images/make_watermark.py PICTURE ... --out docs/images/watermark.png

The one that is there shows china.jpg and flower.jpg of scikit-learn's examples, and coffe_tea_01.png of the
Debian package openclipart-png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from clearmark.provenance.watermark import get_codec

SIDE = 512
SHOWN = 256


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = []
    for path in options.pictures:
        with Image.open(path) as opened:
            clear = opened.convert("RGBA")
        white = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
        before = np.asarray(ImageOps.fit(white, (SIDE, SIDE)))
        after = get_codec("clearmark", b"figure").embed([before], ["0123456789abcdef"])[0].pixels
        tenfold = np.clip((after.astype(np.int16) - before) * 10 + 128, 0, 255).astype(np.uint8)
        # Their middles, pixel by pixel: made smaller, the mark would not show.
        at = (SIDE - SHOWN) // 2
        rows.append(np.hstack([part[at : at + SHOWN, at : at + SHOWN] for part in (before, after, tenfold)]))
    Image.fromarray(np.vstack(rows)).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
