"""Fit and measure the look of pictures: `python -m clearmark.guardrails.output.look_fitting fit|measure ...`.

`fit --photos DIR... --drawings DIR...` learns from pieces of both; `measure` tells the error on folders that
`fit` has not seen. Every piece is also seen as JPEG of a quality between 40 and 95: what a file format leaves
behind must not be what tells them apart.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clearmark.core.optional import import_optional
from clearmark.guardrails._shipping import ship
from clearmark.guardrails.output._look import LOOKS, look_of, traits

__all__ = ["main", "pieces"]

_LARGEST = 6_000_000  # pixels; the rest take long to decode and show nothing else
_KINDS = {".jpg", ".jpeg", ".png", ".webp"}


def pieces(folders: Sequence[Path], most: int, each: int, seed: int) -> Iterator[Any]:
    """Yield up to `most` pieces of the pictures below `folders`, `each` of one, as JPEG of some quality."""
    import numpy as np
    import PIL.Image

    draw = random.Random(seed)  # noqa: S311  a sample, not a secret
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in _KINDS)
    draw.shuffle(paths)
    count = 0
    for path in paths:
        try:
            stored = PIL.Image.open(path)
            stored.draft("RGB", (1600, 1600))
            if stored.width * stored.height > _LARGEST:
                continue
            clear = stored.convert("RGBA")
        except (OSError, ValueError):
            continue
        ground = (*draw.choice([(255, 255, 255), (255, 255, 255), (225, 228, 235)]), 255)
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", clear.size, ground), clear).convert("RGB")
        if min(picture.size) < 200:
            continue
        for _ in range(each):
            side = draw.randint(max(200, int(0.6 * min(picture.size))), min(picture.size))
            x, y = draw.randint(0, picture.width - side), draw.randint(0, picture.height - side)
            piece = picture.crop((x, y, x + side, y + side)).resize((512, 512), PIL.Image.Resampling.LANCZOS)
            out = io.BytesIO()
            piece.save(out, "JPEG", quality=draw.randint(40, 95))
            yield np.asarray(PIL.Image.open(out))
            count += 1
            if count == most:
                return


def _fit(options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    linear = import_optional("sklearn.linear_model", pip="pip install scikit-learn")
    photos = [traits(piece) for piece in pieces(options.photos, options.most, options.each, 1)]
    drawn = [traits(piece) for piece in pieces(options.drawings, options.most, 1, 2)]
    x, y = np.stack([*photos, *drawn]), np.array([1] * len(photos) + [0] * len(drawn))
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-3)
    rows = np.clip((x - mean) / scale, -5, 5)
    model = linear.LogisticRegression(C=0.3, max_iter=3000, class_weight="balanced")
    model.fit(np.concatenate([rows, rows**2], axis=1), y)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        mean=mean,
        scale=scale,
        weights=np.append(model.coef_[0], model.intercept_).astype(np.float32),
    )
    data = buffer.getvalue()
    return {
        "photographs": len(photos),
        "drawings": len(drawn),
        "weights": dict(zip(LOOKS, [round(float(one), 2) for one in model.coef_[0]], strict=False)),
        "size": len(data),
        "sha256": ship("picture-look", "models/weights/picture-look.npz", data),
    }


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    photos = np.array([look_of(p).photograph for p in pieces(options.photos, options.most, options.each, 3)])
    drawn = np.array([look_of(p).photograph for p in pieces(options.drawings, options.most, 1, 4)])
    ranked = np.sort(drawn)
    below = np.searchsorted(ranked, photos, side="left") + np.searchsorted(ranked, photos, side="right")
    bins = []
    for low in np.arange(0, 1, 0.2):
        inside = [((one >= low) & (one < low + 0.2 + 1e-9)).sum() for one in (photos, drawn)]
        bins.append({"from": round(float(low), 1), "photographs": int(inside[0]), "drawings": int(inside[1])})
    return {
        "photographs": len(photos),
        "drawings": len(drawn),
        "area": round(float(below.mean() / (2 * max(1, len(drawn)))), 4),
        "photographs taken for one": round(float((photos >= 0.5).mean()), 4),
        "drawings taken for a photograph": round(float((drawn >= 0.5).mean()), 4),
        "calibration": bins,
    }


def main() -> None:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["fit", "measure"])
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--drawings", "--paintings", type=Path, nargs="+", required=True)
    parser.add_argument("--most", type=int, default=400, help="pieces of each kind")
    parser.add_argument("--each", type=int, default=4, help="pieces of each photograph")
    options = parser.parse_args()
    print(json.dumps(_fit(options) if options.step == "fit" else _measure(options), indent=1))


if __name__ == "__main__":
    main()
