"""The index of training data at scale: search, a whole check, building, bytes, and kills, against faiss Flat.

Vectors are synthetic: clusters on the sphere with planted near-copies, so nobody needs a million pictures.
Times are processor time of one thread, medians; ratios are to faiss in the same run.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clearmark.benchmarks._index_kills import kill_writers

__all__ = ["BARS", "main", "measure", "vectors"]

BARS: dict[str, float] = {
    "search_ms": 8.0,
    "check_ms": 100.0,
    "check_nothing_near_ms": 30.0,
    "hashes_ms": 10.0,
    "build_per_second": 40.0,
    "hot_bytes": 100.0,
}
"""What is asked of the numbers: at most, and for `build_per_second` at least."""

PARTS = ("hashes", "search")
"""What can be measured apart."""

_DESCRIPTOR = "synthetic@sha256:00"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark: a table for people, `--json` for programs."""
    parser = argparse.ArgumentParser(prog="clearmark bench index", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--items", type=int, default=1_000_000, help="items of the index")
    parser.add_argument("--hashes", type=int, default=10_000_000, help="PDQ hashes that are searched alone")
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--pictures", type=Path, help="folder of pictures to build from and check")
    parser.add_argument(
        "--strangers",
        type=Path,
        help="folder of pictures of other sources: asked when nothing should be near",
    )
    parser.add_argument("--kills", type=int, default=0, help="kill a writer so many times")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS), help="what is measured")
    options = parser.parse_args(arguments)
    report: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    report |= measure(
        options.items,
        options.hashes,
        queries=options.queries,
        pictures=options.pictures,
        strangers=options.strangers,
        parts=options.parts,
    )
    if options.kills:
        with tempfile.TemporaryDirectory() as folder:
            report["kills"] = kill_writers(Path(folder), options.kills).to_dict()
    print(json.dumps(report) if options.json else _table(report))
    return 0 if report.get("kills", {}).get("ok", True) else 1


def measure(
    items: int,
    hashes: int,
    *,
    queries: int = 40,
    pictures: Path | None = None,
    strangers: Path | None = None,
    parts: Sequence[str] = PARTS,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the chosen parts; what is known is said on stderr at once, for long runs get cut off."""
    report: dict[str, Any] = {}

    def note(found: dict[str, Any]) -> None:
        report.update(found)
        print(json.dumps(found), file=sys.stderr, flush=True)

    if "hashes" in parts:
        note(_hashes(hashes, queries, seed))
    if "search" in parts:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index"
            base, seconds = _timed_once(lambda: _fill(path, items, seed))
            note({"items": items, "synthetic_build_s": seconds})
            note(_search(path, base, queries, seed))
            note(_flat(base, queries, seed))
            note({"ratio_to_flat": round(report["search_ms"] / report["flat_ms"], 4)})
            del base
            if pictures is not None:
                others = sorted(_files(strangers)) if strangers is not None else []
                note(_pictures(Path(folder), path, sorted(_files(pictures)), others, seed))
    report["bars"] = {
        name: {"bar": bar, "measured": report[name], "met": _met(name, report[name])}
        for name, bar in BARS.items()
        if name in report
    }
    return report


def vectors(first: int, count: int, *, seed: int = 0, clusters: int = 4096) -> npt.NDArray[np.float32]:
    """Return unit vectors [count, 512] around centres, the same for the same `first` and `seed`.

    Items of a cluster have a cosine of about 0.3 to each other, as pictures of one kind have.
    """
    centre = np.random.default_rng((seed, clusters)).standard_normal((clusters, 512), dtype=np.float32)
    draw = np.random.default_rng((seed, first))
    rows = centre[draw.integers(0, clusters, count)] * np.float32(0.65)
    rows += draw.standard_normal((count, 512), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _near(rows: npt.NDArray[np.float32], cosine: float, draw: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return unit vectors at about `cosine` from `rows`."""
    noise = draw.standard_normal(rows.shape, dtype=np.float32)
    noise -= (noise * rows).sum(axis=1, keepdims=True) * rows
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    out: npt.NDArray[np.float32] = (cosine * rows + np.sqrt(1 - cosine**2) * noise).astype(np.float32)
    return out


_STEP = 50_000


def _fill(path: Path, items: int, seed: int) -> npt.NDArray[np.float32]:
    from clearmark.guardrails.memorization import Entry, Index, Item
    from clearmark.guardrails.memorization.descriptor import sign_codes

    base = np.empty((items, 512), dtype=np.float32)
    with Index.create(path, descriptor=_DESCRIPTOR) as index:
        for first in range(0, items, _STEP):
            count = min(_STEP, items - first)
            rows = vectors(first, count, seed=seed)
            base[first : first + count] = rows
            codes = sign_codes(rows)
            hashes = np.random.default_rng((seed, first, 1)).bytes(32 * count)
            index.add(
                Entry(
                    Item(key=f"k{first + n}", sha256=f"{first + n:064x}"),
                    hashes[32 * n : 32 * n + 32],
                    codes[n : n + 1],
                )
                for n in range(count)
            )
        index.compact()
    return base


def _search(path: Path, base: npt.NDArray[np.float32], queries: int, seed: int) -> dict[str, Any]:
    """Measure one search (eight hashes and one descriptor), and how many planted near-copies come first."""
    from clearmark.guardrails.memorization import Index

    draw = np.random.default_rng((seed, 2))
    chosen = draw.choice(len(base), queries, replace=False)
    out: dict[str, Any] = {}
    with Index(path) as index:
        _, out["open_s"] = _timed_once(lambda: index.near_hashes(np.zeros((1, 32), np.uint8), 1))
        stored = index._segments
        for cosine in (0.75, 0.5):
            near = _near(base[chosen], cosine, draw)
            ids = [index.near_vectors(near[n : n + 1], 1)[0].id for n in range(queries)]
            keys = [index.item(number).key for number in ids]
            out[f"recall_at_1_cosine_{cosine}"] = sum(
                key == f"k{row}" for key, row in zip(keys, chosen, strict=True)
            ) / len(chosen)
        turns = draw.integers(0, 256, (queries, 8, 32), dtype=np.uint8)
        out["descriptor_ms"] = _median_ms(lambda n: index.near_vectors(near[n : n + 1], 8), queries)
        out["eight_hashes_ms"] = _median_ms(lambda n: index.near_hashes(turns[n], 3), queries)
        out["search_ms"] = round(out["descriptor_ms"] + out["eight_hashes_ms"], 3)
        rows = sum(len(segment.owner) for segment in stored)
        # Scanned for every query: the sign codes; looked up by hash: the PDQ.
        out["hot_bytes"] = round(sum(s.codes.nbytes + s.pdq.nbytes for s in stored) / len(base), 1)
        tables = sum(table.nbytes for table in index._tables.values())
        out["table_bytes"] = round(tables / len(base), 1)
        out["rows"] = rows
        out["file_bytes"] = round(index.stats()["bytes_codes"] / len(base), 1)
    return out


def _flat(base: npt.NDArray[np.float32], queries: int, seed: int) -> dict[str, Any]:
    import faiss

    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(512)
    flat.add(base)
    near = _near(base[:queries], 0.75, np.random.default_rng((seed, 3)))
    count = min(queries, 7)
    return {"flat_ms": _median_ms(lambda n: flat.search(near[n : n + 1], 50), count)}


def _hashes(count: int, queries: int, seed: int) -> dict[str, Any]:
    """Search `count` hashes alone, beside faiss' exact binary index over the same ones."""
    import faiss

    from clearmark.guardrails.memorization._hashing import REACH, HashTable

    faiss.omp_set_num_threads(1)
    draw = np.random.default_rng((seed, 4))
    hashes = draw.integers(0, 256, (count, 32), dtype=np.uint8)
    table, build = _timed_once(lambda: HashTable(hashes))
    chosen = draw.choice(count, queries, replace=False)
    near = np.unpackbits(hashes[chosen], axis=1)
    for row in near:
        row[draw.permutation(256)[: draw.integers(0, REACH + 1)]] ^= 1
    turned = np.packbits(near, axis=1)
    found = sum(chosen[n] in table.within(turned[n : n + 1])[0][0] for n in range(queries))
    flat = faiss.IndexBinaryFlat(256)
    flat.add(hashes)
    return {
        "hashes": count,
        "hashes_ms": _median_ms(lambda n: table.within(turned[n : n + 1]), queries),
        "hashes_eight_ms": _median_ms(lambda n: table.within(np.repeat(turned[n : n + 1], 8, 0)), 7),
        "hashes_found": found / queries,
        "hashes_tables_s": build,
        "binary_flat_ms": _median_ms(lambda n: flat.search(turned[n : n + 1], 3), 5),
    }


def _files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.suffix.lower() in {".png", ".jpg", ".jpeg"} and p.is_file()]


def _pictures(
    folder: Path, large: Path, paths: list[Path], strangers: list[Path], seed: int
) -> dict[str, Any]:
    """Build from pictures, and check some of them and some new ones against a large index that holds them.

    Pictures of one source are near each other without being copies, and cost more than `strangers` do.
    """
    from clearmark.core.errors import MediaError
    from clearmark.guardrails.memorization import CopyChecker, Index, Item, default_descriptor, entry_of
    from clearmark.guardrails.memorization._pictures import read_pixels
    from clearmark.guardrails.memorization.geometry import features

    descriptor = default_descriptor()
    draw = np.random.default_rng((seed, 5))
    chosen = [paths[n] for n in draw.permutation(len(paths))[:120].tolist()]
    held, asked = chosen[: 2 * len(chosen) // 3], chosen[2 * len(chosen) // 3 :]
    entries, out = [], {}
    for crops in (False, True):
        begun, done = time.process_time(), 0
        for path in held:
            data = path.read_bytes()
            try:
                entry = entry_of(data, Item(key=str(path), sha256=""), descriptor=descriptor, crops=crops)
            except MediaError:
                continue
            done += 1
            if not crops:
                entries.append(entry)
        name = "build_with_crops_per_second" if crops else "build_per_second"
        out[name] = round(done / (time.process_time() - begun), 1)
    out["kept_bytes"] = round(sum(len(e.features) + len(e.picture) for e in entries) / len(entries), 1)
    # The synthetic million lies around the real pictures: the search sees all, the verification real ones.
    with Index.create(folder / "real", descriptor=_DESCRIPTOR) as real:
        real.add(entries)
        with Index(large) as index:
            index.merge(real)
            index.compact()
            checker = CopyChecker(index, descriptor=_Named(descriptor))
            copies, others = [_square(path) for path in held], [_square(path) for path in asked]
            checker.check(copies[0])
            postings = _postings(index, seed)
            out["posting_bytes"] = round(postings[0].nbytes / len(index), 1)
            _lay_around(index, *postings)
            found = [features(read_pixels(data)) for data in others]
            out["key_points_ms"] = _median_ms(lambda n: index.near_features(found[n], 24), len(found))
            hits = (checker.check(data).matches for data in copies)
            keys = [matches[0].item.key if matches else "" for matches in hits]
            out["copies_found_first"] = sum(k == str(p) for k, p in zip(keys, held, strict=True)) / len(held)
            out["check_ms"] = _median_ms(lambda n: checker.check(copies[n]), len(copies))
            out["check_no_copy_ms"] = _median_ms(lambda n: checker.check(others[n]), len(others))
            if strangers:
                far = [_square(strangers[n]) for n in draw.permutation(len(strangers))[:40].tolist()]
                out["check_nothing_near_ms"] = _median_ms(lambda n: checker.check(far[n]), len(far))
    return out


def _postings(index: Any, seed: int) -> tuple[Any, Any]:
    """Return as many postings as key points of all items would have, and where their words begin.

    The halves of words and the signatures are drawn, each by itself, from those of the real pictures.
    """
    from clearmark.guardrails.memorization._words import CENTRES, INDEXED, Postings, offsets

    real = Postings.together([s.postings for s in index._segments if len(s.postings)])
    count = INDEXED * len(index)
    draw = np.random.default_rng((seed, 6))
    words = real.words[draw.integers(0, len(real), count, dtype=np.uint32)] // CENTRES * CENTRES
    words += real.words[draw.integers(0, len(real), count, dtype=np.uint32)] % CENTRES
    words.sort()
    rows = draw.integers(0, len(real), count, dtype=np.uint32)
    made = Postings(
        words,
        draw.integers(0, len(index), count, dtype=np.uint32),
        real.signatures[rows],
        draw.integers(0, 256, count, dtype=np.uint8),
        real.octaves[rows],
    )
    return made, offsets(words)


def _lay_around(index: Any, postings: Any, starts: Any) -> None:
    """Let an open index search these postings, too, as a segment that has nothing else."""
    from clearmark.guardrails.memorization._segment import Segment

    none = np.zeros(0, dtype=np.uint8)
    ids = np.concatenate([segment.ids for segment in index._segments])
    codes, owner = none.reshape(0, 64), none.astype(np.uint32)
    index._segments.append(Segment("synthetic", none.reshape(0, 32), ids, codes, owner, postings))
    index._starts["synthetic"] = starts


class _Named:
    """The descriptor under the name of the synthetic index."""

    ref = _DESCRIPTOR

    def __init__(self, descriptor: Any) -> None:
        self.embed = descriptor.embed


def _square(path: Path) -> bytes:
    """Return a picture as a PNG of 512 x 512."""
    import PIL.Image

    out = io.BytesIO()
    with PIL.Image.open(path) as picture:
        clear = picture.convert("RGBA")
        white = PIL.Image.alpha_composite(PIL.Image.new("RGBA", clear.size, "white"), clear)
        white.convert("RGB").resize((512, 512)).save(out, "PNG")
    return out.getvalue()


def _timed_once(work: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.process_time()
    made = work()
    return made, round(time.process_time() - begun, 2)


def _median_ms(work: Callable[[int], Any], count: int) -> float:
    times = []
    for number in range(count):
        begun = time.process_time()
        work(number)
        times.append((time.process_time() - begun) * 1000)
    return round(statistics.median(times), 3)


def _met(name: str, value: float) -> bool:
    return value >= BARS[name] if name == "build_per_second" else value <= BARS[name]


def _table(report: dict[str, Any]) -> str:
    lines = [f"{name:32} {value}" for name, value in report.items() if not isinstance(value, dict)]
    for name, row in report.get("bars", {}).items():
        lines.append(
            f"{name:32} {row['measured']:>10} bar {row['bar']:>6} {'met' if row['met'] else 'MISSED'}"
        )
    lines += [f"kills: {name:25} {value}" for name, value in report.get("kills", {}).items()]
    return "\n".join(lines)
