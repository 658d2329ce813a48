"""Build the training set of the reference model from the Open Clip Art collection.

Debian's `openclipart-png` holds the pictures and `openclipart-svg` the Dublin Core of each under the same
relative path. What is kept is dedicated to the public domain by its own metadata, shows a thing rather than a
gradient or a button, and is no near-copy of another. The result is one array in memory order, read whole:
a memory map was four times slower in training.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clearmark.core.dublin_core import DublinCore, UnsafeXml, read_dublin_core
from clearmark.generation.reference.captions import captions_of, keywords_of, subject_of
from clearmark.generation.reference.colours import main_colours
from clearmark.generation.reference.pictures import UnusablePicture, load_square

DROPPED_FOLDERS = (
    "shapes/stars", "special", "shapes/flowchart", "shapes/jigsaw", "shapes/callouts",
    "signs_and_symbols/led", "computer/buttons",
)  # fmt: skip
"""Folders of pictures that say nothing: gradients, patterns, buttons, hundreds of generated stars."""

NO_FLIP_FOLDERS = (
    "signs_and_symbols", "recreation/games", "transportation/roadsigns", "transportation/aiga-symbols",
    "computer", "geography", "shapes/arrows", "office", "education", "recreation/music", "unsorted",
    "recreation/holiday", "people/bodypart",
)  # fmt: skip
"""Folders whose pictures hold text, flags, maps or directions: mirrored they would be wrong."""

_NEAR_COPY_RMS = 5.0
_THUMB = 16


@dataclass(frozen=True, slots=True)
class Item:
    """One training picture: where it comes from, who made it, and what is said about it."""

    path: str
    title: str
    creator: str
    licence: str
    captions: tuple[str, ...]
    flip: bool
    weight: float


@dataclass(frozen=True, slots=True)
class Dataset:
    """Pictures (N, side, side, 3) uint8 and one `Item` each, with a digest over both and the skip counts."""

    pictures: npt.NDArray[np.uint8]
    items: tuple[Item, ...]
    skipped: dict[str, int]
    digest: str

    def held_out(self) -> npt.NDArray[np.bool_]:
        """Mark the one picture in fifty (by the hash of its path) that is never trained on."""
        marks = [hashlib.sha256(item.path.encode()).digest()[0] < 5 for item in self.items]
        return np.array(marks, dtype=bool)

    def without(self, denied: Collection[str]) -> Dataset:
        """Leave out the items whose paths are in `denied`; they are counted in `skipped`."""
        kept = np.array([item.path not in denied for item in self.items], dtype=bool)
        pictures = self.pictures[kept]
        items = tuple(item for item, keep in zip(self.items, kept, strict=True) if keep)
        skipped = {**self.skipped, "denied by the data policy": int((~kept).sum())}
        return Dataset(pictures, items, skipped, _digest(pictures, items))

    def save(self, folder: Path) -> None:
        """Write `pictures.npy` and `items.json` into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "pictures.npy", self.pictures)
        body = {
            "digest": self.digest,
            "skipped": self.skipped,
            "items": [asdict(item) for item in self.items],
        }
        (folder / "items.json").write_text(json.dumps(body, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Dataset:
        """Read what `save` wrote."""
        body = json.loads((folder / "items.json").read_text(encoding="utf-8"))
        items = tuple(Item(**{**row, "captions": tuple(row["captions"])}) for row in body["items"])
        return cls(np.load(folder / "pictures.npy"), items, body["skipped"], body["digest"])


def build(png: Path, svg: Path, *, side: int = 256, workers: int = 2, limit: int | None = None) -> Dataset:
    """Decode the collection under `png`, described by the tree `svg`, into a `Dataset`.

    `limit` keeps the first so many candidates, for a trial run. Nothing here fails on a bad file: the reason
    is counted in `skipped`.
    """
    skipped: Counter[str] = Counter()
    described = list(_described(png, svg, skipped))[:limit]
    titles = Counter(meta.title for _, meta in described)
    repeated = frozenset(title for title, count in titles.items() if count > 4)
    paths = [png / name for name, _ in described]
    with ProcessPoolExecutor(workers) as pool:
        decoded = list(pool.map(_load, paths, [side] * len(paths), chunksize=32))
    kept: list[tuple[npt.NDArray[np.uint8], Item]] = []
    for (name, meta), picture in zip(described, decoded, strict=True):
        if isinstance(picture, str):
            skipped[picture] += 1
        else:
            kept.append((picture, _item(name, meta, repeated, main_colours(picture))))
    pictures = np.stack([picture for picture, _ in kept])
    first = first_of_copies(pictures)
    skipped["near copy of another"] += int((~first).sum())
    items = tuple(item for (_, item), keep in zip(kept, first, strict=True) if keep)
    pictures = pictures[first]
    return Dataset(pictures, items, dict(skipped), _digest(pictures, items))


def read_denied(audit: Path) -> frozenset[str]:
    """Return the keys of the items that `clearmark data audit --json` denied, from what it printed."""
    rows = (json.loads(line) for line in audit.read_text(encoding="utf-8").splitlines() if line)
    return frozenset(row["key"] for row in rows if row.get("allowed") is False)


def first_of_copies(pictures: npt.NDArray[np.uint8], rms: float = _NEAR_COPY_RMS) -> npt.NDArray[np.bool_]:
    """Mark pictures (N, side, side, 3) that are not within `rms` grey levels of an earlier kept one."""
    count, side = pictures.shape[:2]
    cell = max(1, side // _THUMB)
    thumbs = np.stack([_thumb(picture, cell) for picture in pictures])
    squares = (thumbs**2).sum(1)
    keep = np.ones(count, dtype=bool)
    for i in range(1, count):
        distance = squares[:i] + squares[i] - 2 * (thumbs[:i] @ thumbs[i])
        keep[i] = not bool((distance[keep[:i]] < rms**2 * thumbs.shape[1]).any())
    return keep


def _thumb(picture: npt.NDArray[np.uint8], cell: int) -> npt.NDArray[np.float32]:
    side = picture.shape[0] // cell * cell
    blocks = picture[:side, :side].reshape(side // cell, cell, side // cell, cell, 3)
    thumb: npt.NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32).ravel()
    return thumb


def _described(png: Path, svg: Path, skipped: Counter[str]) -> Iterator[tuple[str, DublinCore]]:
    for path in sorted(png.rglob("*.png")):
        name = path.relative_to(png).as_posix()
        if _in_any(name, DROPPED_FOLDERS):
            skipped["folder without things"] += 1
            continue
        try:
            meta = read_dublin_core((svg / name).with_suffix(".svg"))
        except FileNotFoundError:
            skipped["no metadata"] += 1
        except UnsafeXml:
            skipped["unreadable metadata"] += 1
        else:
            if meta.is_public_domain:
                yield name, meta
            else:
                skipped["not public domain"] += 1


def _load(path: Path, side: int) -> npt.NDArray[np.uint8] | str:
    try:
        return load_square(path, side)
    except UnusablePicture as exc:
        return str(exc)


def _item(name: str, meta: DublinCore, repeated: frozenset[str], colours: str) -> Item:
    path = Path(name)
    folder = path.parent.as_posix()
    subject = subject_of(meta, path.stem, folder, repeated)
    captions = captions_of(subject, keywords_of(meta, folder), colours, folder)
    flip = not _in_any(name, NO_FLIP_FOLDERS)
    return Item(name, meta.title, meta.creator, meta.licence, captions, flip, _weight(name))


_WEIGHTS = (
    # What a demonstration asks for most, and of which the collection holds only some dozens each.
    (
        12.0,
        (
            "animals/birds", "animals/bugs", "transportation/boating", "people/smilies",
            "signs_and_symbols/clocks",
        ),
    ),
    (5.0, ("plants/flowers", "plants/trees", "buildings/homes")),
    (0.1, ("computer/icons", "recreation/games/cards", "computer/network")),
    (0.2, ("signs_and_symbols/map_symbols", "signs_and_symbols/flags/semaphore", "people/stickmen")),
    (0.35, ("signs_and_symbols/flags", "transportation/roadsigns", "shapes/arrows")),
    (1.0, ("signs_and_symbols/weather", "geography/astronomy")),
    (
        0.5,
        ("signs_and_symbols", "computer", "geography", "unsorted", "office", "transportation/aiga-symbols"),
    ),
    (2.0, ("animals", "food", "plants", "buildings", "transportation")),
)  # fmt: skip


def _weight(name: str) -> float:
    """How often a picture is drawn: icon themes, flags and card decks would drown everything else."""
    return next((weight for weight, folders in _WEIGHTS if _in_any(name, folders)), 1.0)


def _in_any(name: str, folders: Iterable[str]) -> bool:
    return any(name.startswith(folder + "/") for folder in folders)


def _digest(pictures: npt.NDArray[np.uint8], items: tuple[Item, ...]) -> str:
    state = hashlib.sha256(np.ascontiguousarray(pictures).tobytes())
    state.update(json.dumps([asdict(item) for item in items], sort_keys=True).encode())
    return state.hexdigest()
