"""How many copies of indexed pictures are found, at one wrong alarm in a thousand: `clearmark bench copies`.

More than 3,000 pictures are indexed; copies of some, each changed in one of the ways of `TRANSFORMS`, and
thousands of pictures that were never indexed are held against them. A copy counts as found when the score of
the picture it came from is above what all but one in a thousand of the others reach with their best match.
All pictures are from packages of Debian that neither the descriptor nor the probability was fitted on; with
`--fetch` they are downloaded. Every stage and every peer that is installed sees the same pictures in the same
run.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearmark.benchmarks import _copies_peers as peers
from clearmark.benchmarks import _copies_report as report
from clearmark.benchmarks._copies_pictures import Picture, encode, fetch, pool, split, synthetic
from clearmark.benchmarks._copies_transforms import TRANSFORMS, Changed
from clearmark.guardrails.memorization import (
    CopyChecker,
    CopyMatch,
    Index,
    Item,
    OnnxDescriptor,
    default_descriptor,
    entry_of,
)
from clearmark.guardrails.memorization.checker import GATE
from clearmark.guardrails.memorization.descriptor import Descriptor

__all__ = ["main", "measure"]

_SHARED = "key points"
_AT_ONCE = 64
_SHARE = 0.38
"""Of the pool that is indexed; the rest are the ones that never are."""


@dataclass(frozen=True, slots=True)
class Query:
    """A picture to be held against the index: `right` is the key that it is a copy of, empty when of none.

    `make` returns it, and where in it the copy is.
    """

    key: str
    package: str
    transform: str
    right: str
    make: Callable[[], tuple[NDArray[np.uint8], NDArray[np.bool_] | None]] = field(repr=False)


class _Remembering:
    """A descriptor that knows its last answers: the stages ask for the same views as the cascade."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        self._last: dict[bytes, NDArray[np.float32]] = {}
        self.ref = descriptor.ref

    def embed(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        digest = hashlib.blake2b()
        for picture in pictures:
            digest.update(repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes())
        if digest.digest() not in self._last:
            self._last = {digest.digest(): self._descriptor.embed(pictures)}
        return self._last[digest.digest()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and write what was asked for."""
    parser = argparse.ArgumentParser(prog="clearmark.benchmarks.copies", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache/clearmark/copies")
    parser.add_argument(
        "--fetch", action="store_true", help="download the packages that are missing (about 1.5 GB)"
    )
    parser.add_argument("--purpose", choices=("test", "dev"), default="test", help="which packages")
    parser.add_argument("--queries", type=int, default=60, help="copies of each kind")
    parser.add_argument("--negatives", type=int, default=6000, help="most pictures that were never indexed")
    parser.add_argument("--only", action="append", default=[], help="a transform; may be given again")
    parser.add_argument("--part", choices=("all", "own", "peers"), default="all", help="what is measured")
    parser.add_argument("--descriptor", type=Path, help="another descriptor than the shipped one, in ONNX")
    parser.add_argument(
        "--everything",
        action="store_true",
        help="let geometry look at every candidate, near enough or not: to fit gate and weights",
    )
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--fpr", type=float, default=1e-3)
    parser.add_argument(
        "--evidence",
        type=Path,
        help="JSON lines of all that was measured, to go on with",
    )
    parser.add_argument(
        "--again", type=Path, action="append", default=[], help="report on such files instead of measuring"
    )
    parser.add_argument("--shard", default="1/1", help="measure the K-th of N parts of the queries: K/N")
    parser.add_argument(
        "--review", type=Path, help="draw the likeliest pairs of negatives here, to be judged by eye"
    )
    parser.add_argument("--plot", type=Path, help="where to draw the figures, as SVG")
    parser.add_argument(
        "--across",
        action="store_true",
        help="count no likeness within a package: icon themes and games draw many pictures from shared parts",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)

    if options.again:
        rows = report.merged(options.again)
    else:
        if options.fetch:
            fetch(options.data, options.purpose)
        # A run that was stopped before its first row leaves an empty file.
        begun = options.evidence and options.evidence.exists() and options.evidence.stat().st_size
        rows = report.merged([options.evidence]) if begun else []
        with (options.evidence or Path(os.devnull)).open("a", encoding="utf-8") as stream:
            for row in measure(options, {row["key"] for row in rows[1:]}):
                if "indexed" not in row or not rows:
                    rows.append(row)
                    stream.write(json.dumps(row) + "\n")
                    stream.flush()
    head, rows = rows[0], rows[1:]
    result = report.summary(head, rows, fpr=options.fpr, across=options.across)
    if options.review:
        report.review(head, rows, options.data, options.purpose, options.review, across=options.across)
    if options.plot:
        options.plot.write_text(report.plot(result))
    if options.json:
        json.dump(result, sys.stdout, indent=2)
        return
    print(report.table(result))


def measure(options: argparse.Namespace, done: Container[str] = frozenset()) -> Iterator[dict[str, Any]]:
    """Return the head (what was indexed), then a row for each query whose key is not in `done`."""
    rng = np.random.default_rng(options.seed)
    pictures = pool(options.data, options.purpose)
    indexed, others = split(pictures, _SHARE, options.seed)
    drawn = synthetic(np.random.default_rng(options.seed + 1), 60)
    descriptor = _Remembering(
        OnnxDescriptor(options.descriptor) if options.descriptor else default_descriptor()
    )
    begun = time.perf_counter()
    index = _index(options.data, indexed, drawn, descriptor)
    _say(f"{len(index)} pictures indexed, {time.perf_counter() - begun:.0f} s")
    checker = CopyChecker(index, descriptor=descriptor, gate=None if options.everything else GATE)
    stages = peers.stages(index, descriptor, part=options.part)
    shown: dict[str, Callable[[], NDArray[np.uint8]]] = {p.path.stem: p.pixels for p in indexed}
    for number, (kind, one, _) in enumerate(drawn):
        if float(one.std()) >= 1:
            shown[f"{kind}-{number}"] = partial(np.copy, one)
    keys = list(shown)
    for stage in stages:
        began = time.perf_counter()
        stage.build([shown[key] for key in keys])
        _say(f"{stage.name}: {time.perf_counter() - began:.0f} s")
    packages = {picture.path.stem: picture.package for picture in indexed}
    yield {
        "indexed": keys,
        "purpose": options.purpose,
        "packages": packages,
        "descriptor": descriptor.ref,
        "gated": not options.everything,
        "stages": [*(stage.name for stage in stages), *([] if options.part == "peers" else [_SHARED])],
        "missing": peers.missing() if options.part != "own" else [],
    }
    begun = time.perf_counter()
    chosen = options.only or list(TRANSFORMS)
    part, parts = (int(n) for n in options.shard.split("/"))
    queries = list(_queries(indexed, others, drawn, chosen, options, rng))
    # In an order without meaning, so that a run that was stopped is a sample of the whole.
    queries.sort(key=lambda query: hashlib.blake2b(query.key.encode()).digest())
    for number, query in enumerate(queries):
        if number % parts != part - 1 or query.key in done:
            continue
        pixels, mask = query.make()
        began = time.process_time()
        found = checker.candidates(pixels) if options.part != "peers" else []
        spent = time.process_time() - began
        row = _row(query, found)
        if mask is not None:
            row["iou"] = _overlap(query, found, mask)
        row["stages"] = {stage.name: _likeness(stage, pixels, keys, query.right) for stage in stages}
        if options.part != "peers":
            row["stages"][_SHARED] = _shared(found, query.right)
        yield row | {"ms": round(1000 * spent, 1)}
        if number % 500 == 499:
            _say(f"{number + 1} queries, {time.perf_counter() - begun:.0f} s")


def _row(query: Query, found: Sequence[CopyMatch]) -> dict[str, Any]:
    return {
        "key": query.key,
        "package": query.package,
        "transform": query.transform,
        "right": query.right,
        "found": [
            {
                "key": match.item.key,
                "evidence": [round(value, 5) for value in match.evidence],
                "near": [match.hash_distance, round(1.0 - match.distance, 4), round(match.votes, 3)],
                "kind": match.kind,
                "inliers": match.region.inliers if match.region else 0,
                "mirrored": bool(match.region and match.region.mirrored),
            }
            for match in found
        ],
    }


def _overlap(query: Query, found: Sequence[CopyMatch], mask: NDArray[np.bool_]) -> float | None:
    right = next((match for match in found if match.item.key == query.right), None)
    if right is None or right.region is None:
        return None
    return round(report.overlap(right.region.mask, mask), 4)


def _likeness(
    stage: peers.Stage, pixels: NDArray[np.uint8], keys: Sequence[str], right: str
) -> dict[str, Any]:
    likeness = stage.likeness(pixels)
    best = np.argsort(-likeness)[:4]
    out: dict[str, Any] = {"best": [[keys[n], round(float(likeness[n]), 5)] for n in best]}
    if right:
        value = likeness[keys.index(right)]
        out |= {"right": round(float(value), 5), "rank": int((likeness > value).sum())}
    return out


def _shared(found: Sequence[CopyMatch], right: str) -> dict[str, Any]:
    """Return the votes of shared key points as those of a stage, from the candidates of the cascade."""
    votes = {match.item.key: round(match.votes, 5) for match in found if match.votes > 0}
    best = sorted(votes, key=lambda key: -votes[key])[:4]
    out: dict[str, Any] = {"best": [[key, votes[key]] for key in best]}
    if right:
        value = votes.get(right, 0.0)
        out |= {"right": value, "rank": sum(other > value for other in votes.values())}
    return out


def _queries(  # noqa: PLR0917  one call
    indexed: Sequence[Picture],
    others: Sequence[Picture],
    drawn: Sequence[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]],
    transforms: Sequence[str],
    options: argparse.Namespace,
    rng: np.random.Generator,
) -> Iterator[Query]:
    """Return the copies, then the pictures that are none."""
    sources = [
        indexed[n] for n in rng.choice(len(indexed), size=min(len(indexed), options.queries), replace=False)
    ]
    for name in transforms:
        for number, picture in enumerate(sources):
            own = np.random.default_rng([options.seed, number, *name.encode()])
            other = others[int(own.integers(len(others)))]
            make = partial(_changed, name, picture, other, own)
            yield Query(f"{picture.path.stem}/{name}", picture.package, name, picture.path.stem, make)
    for number, (kind, _, twin) in enumerate(drawn):
        yield Query(f"{kind}-twin-{number}", f"drawn: {kind}", "", "", partial(_plain, twin))
    order = rng.permutation(len(others))[: options.negatives - len(drawn)]
    for picture in (others[n] for n in order):
        yield Query(picture.path.stem, picture.package, "", "", partial(_unchanged, picture))


def _changed(name: str, picture: Picture, other: Picture, rng: np.random.Generator) -> Changed:
    return TRANSFORMS[name](picture.pixels(), rng, other.pixels())


def _unchanged(picture: Picture) -> tuple[NDArray[np.uint8], None]:
    return picture.pixels(), None


def _plain(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], None]:
    return pixels, None


def _index(data: Path, indexed: Sequence[Picture], drawn: Sequence[Any], descriptor: Descriptor) -> Index:
    """Return the index of these pictures, built on the first call with this descriptor and these measures."""
    state = hashlib.sha256("\n".join([descriptor.ref, *(str(p.path) for p in indexed)]).encode())
    for picture in indexed[:: max(1, len(indexed) // 3)]:
        # Another way of measuring shows in what is measured.
        entry = entry_of(picture.path.read_bytes(), Item(key="k", sha256="-"), descriptor=descriptor)
        state.update(entry.pdq + entry.codes.tobytes() + entry.features + entry.picture)
    folder = data / "index" / state.hexdigest()[:16]
    if (folder / "catalogue.db").exists():
        return Index(folder)
    draft = folder.with_suffix(".part")
    draft.mkdir(parents=True, exist_ok=True)
    with (draft / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other shards wait for it
        if (folder / "catalogue.db").exists():
            return Index(folder)
        begun = (draft / "catalogue.db").exists()
        with Index(draft) if begun else Index.create(draft, descriptor=descriptor.ref) as index:
            rest = [(item, read) for item, read in _items(indexed, drawn) if item.key not in index]
            for first in range(0, len(rest), _AT_ONCE):  # a build that was stopped goes on
                some = rest[first : first + _AT_ONCE]
                index.add(entry_of(read(), item, descriptor=descriptor) for item, read in some)
            index.compact()
        draft.rename(folder)
    return Index(folder)


def _items(indexed: Sequence[Picture], drawn: Sequence[Any]) -> Iterator[tuple[Item, Callable[[], bytes]]]:
    """Return what is indexed, and how to read it."""
    for picture in indexed:
        yield Item(key=picture.path.stem, sha256="", source=picture.package), picture.path.read_bytes
    for number, (kind, pixels, _) in enumerate(drawn):
        if float(pixels.std()) >= 1:
            yield Item(key=f"{kind}-{number}", sha256="", source="drawn"), partial(encode, pixels)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
