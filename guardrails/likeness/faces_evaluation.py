"""Measure the faces: `python -m clearmark.guardrails.likeness.faces_evaluation --same DIR --small FILE`.

`--same` is a folder with one folder of pictures for each person; `--groups` a folder of pictures that each
show several people, once each; `--small` an array [n, height, width] of
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
from clearmark.guardrails._media import read_rgb
from clearmark.guardrails.likeness._faces import Face, embed_faces, find_faces
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


def _rate(distances: list[float], threshold: float) -> dict[str, Any]:
    """Return how many pairs lie nearer than `threshold`, with Wilson's 95% interval."""
    count = len(distances)
    hits = sum(one < threshold for one in distances)
    share, z = hits / count, 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    interval = [max(0.0, middle - half), min(1.0, middle + half)]
    return {"pairs": count, "taken for one": hits, "share": share, "interval": interval}


def _at_rates(same: list[float], other: list[float]) -> dict[str, Any]:
    """Return, for false match rates, the distance at which they are reached and how many pairs that finds.

    A rate that is less than one of the pairs at hand cannot be stated, and is left out.
    """
    ranked = sorted(other)
    out = {}
    for rate in (0.01, 0.001):
        allowed = int(rate * len(ranked))
        if allowed >= 1:
            out[f"{rate:g}"] = {"distance": ranked[allowed], **_rate(same, ranked[allowed])}
    return out


def _groups(folder: Path) -> tuple[list[float], int]:
    """Return the distances between the faces of each picture of `folder`, and the number of faces."""
    import numpy as np

    out: list[float] = []
    count = 0
    for path in sorted(folder.iterdir()):
        rgb = read_rgb(path.read_bytes())
        rows = embed_faces(rgb, find_faces(rgb))
        count += len(rows)
        out += [float(np.linalg.norm(a - b)) for a, b in itertools.combinations(rows, 2)]
    return out, count


def _grey(path: Path) -> list[float]:
    import cv2
    import numpy as np

    rows = []
    for face in np.load(path, allow_pickle=False)[:100]:
        large = cv2.resize((255 * face).astype(np.uint8), (200, 200), interpolation=cv2.INTER_CUBIC)
        rgb = np.repeat(cv2.copyMakeBorder(large, 50, 50, 50, 50, cv2.BORDER_REPLICATE)[:, :, None], 3, 2)
        rows.append(embed_faces(rgb, [Face(Box(50, 50, 200, 200), 1.0)])[0])
    return [float(np.linalg.norm(a - b)) for a, b in itertools.combinations(rows, 2)]


def main() -> None:
    """Print one JSON document: rates of same and different people, and what alterations cost."""
    import numpy as np

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--same", type=Path, required=True)
    parser.add_argument("--groups", type=Path)
    parser.add_argument("--small", type=Path)
    args = parser.parse_args()
    people: dict[str, list[Any]] = {}
    altered: dict[str, list[float]] = {}
    missed: list[str] = []
    for path in sorted(args.same.glob("*/*")):
        row = _embed(path.read_bytes())
        if row is None:
            missed.append(path.name)
            continue
        people.setdefault(path.parent.name, []).append(row)
        for name, data in _altered(path.read_bytes()).items():
            again = _embed(data)
            altered.setdefault(name, []).append(9.0 if again is None else float(np.linalg.norm(row - again)))
    same = {
        name: [float(np.linalg.norm(a - b)) for a, b in itertools.combinations(rows, 2)]
        for name, rows in people.items()
        if len(rows) > 1
    }
    other = [
        float(np.linalg.norm(a - b))
        for one, two in itertools.combinations(people, 2)
        for a in people[one]
        for b in people[two]
    ]
    grouped, faces = _groups(args.groups) if args.groups else ([], 0)
    pairs = [distance for distances in same.values() for distance in distances]
    out: dict[str, Any] = {
        "people": len(people),
        "pictures without a face found": missed,
        "faces in groups": faces,
        "same": {**_rate(pairs, MATCH_DISTANCE), "max": max(pairs)},
        "same, by person": {name: _rate(distances, MATCH_DISTANCE) for name, distances in same.items()},
        "other": {**_rate(other, MATCH_DISTANCE), "min": min(other)},
        "other, with groups": _rate(other + grouped, MATCH_DISTANCE),
        "at false match rates": _at_rates(pairs, other + grouped),
        "altered": {name: _rate(rows, MATCH_DISTANCE) for name, rows in altered.items()},
    }
    if args.small:
        far = _grey(args.small)
        out["small grey faces"] = {
            **_rate(far, MATCH_DISTANCE), "distance at 1 in 1000": float(np.quantile(far, 0.001))
        }  # fmt: skip
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
