"""Measure the faces: `python -m clearmark.guardrails.likeness.faces_evaluation --same DIR --small FILE`.

`--same` is a folder with one folder of pictures for each person; `--small` an array [n, height, width] of
grey faces, each of another person (scikit-image's `lfw_subset.npy`, first hundred): false matches.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
from pathlib import Path
from typing import Any

from clearmark.core import Box
from clearmark.guardrails.likeness._faces import Face, embed_faces, find_faces, read_rgb
from clearmark.guardrails.likeness._guard import MATCH_DISTANCE

__all__ = ["main"]


def _embed(data: bytes) -> Any:
    rgb = read_rgb(data)
    faces = find_faces(rgb)
    return embed_faces(rgb, faces[:1])[0] if faces else None


def _altered(data: bytes) -> dict[str, bytes]:
    """Return the picture cropped to the middle, at half its size, and as JPEG of quality 30."""
    import PIL.Image

    picture = PIL.Image.fromarray(read_rgb(data))
    width, height = picture.size
    made = {
        "crop": (picture.crop((width // 8, 0, width - width // 8, height - height // 4)), 95),
        "half": (picture.resize((width // 2, height // 2)), 95),
        "jpeg30": (picture, 30),
    }
    out = {}
    for name, (changed, quality) in made.items():
        stream = io.BytesIO()
        changed.save(stream, "JPEG", quality=quality)
        out[name] = stream.getvalue()
    return out


def main() -> None:
    """Print one JSON document: distances of same and different people, rates, what alterations cost."""
    import numpy as np

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--same", type=Path, required=True)
    parser.add_argument("--small", type=Path)
    args = parser.parse_args()
    people: dict[str, list[Any]] = {}
    altered: dict[str, list[float]] = {}
    missed = 0
    for path in sorted(args.same.glob("*/*")):
        row = _embed(path.read_bytes())
        if row is None:
            missed += 1
            continue
        people.setdefault(path.parent.name, []).append(row)
        for name, data in _altered(path.read_bytes()).items():
            again = _embed(data)
            altered.setdefault(name, []).append(9.0 if again is None else float(np.linalg.norm(row - again)))
    same = [
        float(np.linalg.norm(a - b)) for rows in people.values() for a, b in itertools.combinations(rows, 2)
    ]
    other = [
        float(np.linalg.norm(a - b))
        for one, two in itertools.combinations(people, 2)
        for a in people[one]
        for b in people[two]
    ]
    out: dict[str, Any] = {
        "people": len(people),
        "pictures without a face found": missed,
        "same": {
            "pairs": len(same),
            "max": max(same),
            "found": float(np.mean([d < MATCH_DISTANCE for d in same])),
        },
        "other": {
            "pairs": len(other),
            "min": min(other),
            "wrong": float(np.mean([d < MATCH_DISTANCE for d in other])),
        },
        "altered": {
            name: float(np.mean([d < MATCH_DISTANCE for d in rows])) for name, rows in altered.items()
        },
    }
    if args.small:
        import cv2

        grey = np.load(args.small, allow_pickle=False)[:100]
        rows = []
        for face in grey:
            large = cv2.resize((255 * face).astype(np.uint8), (200, 200), interpolation=cv2.INTER_CUBIC)
            rgb = np.repeat(cv2.copyMakeBorder(large, 50, 50, 50, 50, cv2.BORDER_REPLICATE)[:, :, None], 3, 2)
            rows.append(embed_faces(rgb, [Face(Box(50, 50, 200, 200), 1.0)])[0])
        far = np.array([np.linalg.norm(a - b) for a, b in itertools.combinations(rows, 2)])
        out["small grey faces"] = {
            "pairs": len(far),
            "wrong": float((far < MATCH_DISTANCE).mean()),
            "distance at 1 in 1000": float(np.quantile(far, 0.001)),
        }
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
