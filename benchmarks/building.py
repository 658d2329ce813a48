"""Build one index with processes of this machine and on a Ray cluster of two nodes, and compare the answers.

Items are synthetic (`clearmark bench index` measures pictures); every shard is written, moved and merged as
for real. Both indexes have to hold the same rows and answer the same; what ran where is counted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clearmark.benchmarks._index_items import DESCRIPTOR, entries, item
from clearmark.benchmarks.index import vectors
from clearmark.guardrails.memorization.building import (
    Built,
    LocalRunner,
    RayRunner,
    Runner,
    Shard,
    build_index,
    shards_of,
    write_shard,
)

if TYPE_CHECKING:
    from clearmark.guardrails.memorization import Entry, Item

__all__ = ["main", "measure"]

_BROKEN = 997
"""Every so many-th item cannot be read."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark: a table for people, `--json` for programs."""
    parser = argparse.ArgumentParser(prog="clearmark bench building", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--shard", type=int, default=20_000, help="items of a shard")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--folder", type=Path, help="where the indexes are built (and removed again)")
    parser.add_argument("--local", action="store_true", help="no Ray: one process against two")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report = measure(
            options.items,
            Path(folder),
            size=options.shard,
            queries=options.queries,
            ray=not options.local,
        )
    if options.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name:24} {value}")
    return 0 if report["identical"] else 1


def measure(items: int, folder: Path, *, size: int, queries: int, ray: bool = True) -> dict[str, Any]:
    """Build twice and compare: rows, digests of what each index holds, and answers."""
    shards = shards_of(((item(n), str(n)) for n in range(items)), size=size)
    report: dict[str, Any] = {"items": items, "shards": len(shards)}
    found = []
    for name in ("local", "ray" if ray else "processes"):
        place = folder / name
        begun = time.monotonic()
        built = _build(name, place, shards)
        report[f"{name}_s"] = round(time.monotonic() - begun, 1)
        report[f"{name}_added"], report[f"{name}_unread"] = built.added, built.unread
        if (workers := _workers(folder / f"{name}.shards")) is not None:
            report[f"{name}_shards_of_each_node"] = workers
        found.append(_answers(place, queries))
    report["rows_digest"] = found[0][0]
    report["answers"] = len(found[0][1])
    report["identical"] = found[0] == found[1]
    return report


def _build(name: str, place: Path, shards: list[Shard]) -> Built:
    if name != "ray":
        runner: Runner = LocalRunner(1 if name == "local" else 2)
        return build_index(place, shards, descriptor=DESCRIPTOR, runner=runner, work=synthetic)
    from clearmark.core.optional import import_optional

    ray = import_optional("ray", extra="ray")
    cluster_utils = import_optional("ray.cluster_utils", extra="ray")
    cluster = _cluster(cluster_utils)
    try:
        return build_index(
            place, shards, descriptor=DESCRIPTOR, runner=RayRunner(cluster.address), work=synthetic
        )
    finally:
        ray.shutdown()
        cluster.shutdown()


def _cluster(cluster_utils: Any) -> Any:
    """Start two raylets, each with one processor, that know each other over the network alone.

    A node has half a minute to come up, which a busy machine may not give it; then it is tried again.
    """
    for last in (False, False, True):
        cluster = cluster_utils.Cluster()
        try:
            for _ in range(2):
                cluster.add_node(num_cpus=1)
        except Exception:  # Ray raises the base class itself
            cluster.shutdown()
            if last:
                raise
        else:
            return cluster
    raise AssertionError


def synthetic(shard: Shard, folder: str) -> Built:
    """Write a shard of synthetic items, some of which cannot be read; note on which node it ran."""
    from clearmark.core.errors import MediaError

    first = int(shard.paths[0])
    made = entries(first, len(shard.items))

    def entry(_: Item, path: str) -> Entry:
        if int(path) % _BROKEN == _BROKEN - 1:
            raise MediaError("broken on purpose")
        return made[int(path) - first]

    built = write_shard(shard, folder, descriptor=DESCRIPTOR, entry=entry)
    notes = Path(folder + ".nodes")
    notes.mkdir(exist_ok=True)
    (notes / shard.name).write_text(_node(), encoding="utf-8")
    return built


def _node() -> str:
    import sys

    ray = sys.modules.get("ray")
    return str(ray.get_runtime_context().get_node_id()) if ray is not None and ray.is_initialized() else ""


def _workers(folder: Path) -> list[int] | None:
    notes = Path(f"{folder}.nodes")
    counts = Counter(path.read_text(encoding="utf-8") for path in notes.iterdir()) if notes.exists() else {}
    return sorted(counts.values(), reverse=True) if "" not in counts else None


def _answers(place: Path, queries: int) -> tuple[str, list[Any]]:
    """Return a digest over all rows by key, and the answers to random and to near queries, by key."""
    from clearmark.guardrails.memorization import Index

    state = hashlib.sha256()
    with Index(place) as index:
        rows = sorted(
            (e.item.key, hashlib.sha256(e.pdq + e.codes.tobytes() + e.picture).digest())
            for e in index.entries()
        )
        for key, digest in rows:
            state.update(key.encode() + b"\0" + digest)
        draw = np.random.default_rng(3)
        answers: list[Any] = []
        for number in draw.integers(0, len(rows), queries).tolist():
            asked = vectors(number, 1)
            near = index.near_vectors(asked, 8)
            answers.append([(index.item(hit.id).key, hit.value) for hit in near])
            hashes = draw.integers(0, 256, (8, 32), dtype=np.uint8)
            answers.append([(index.item(hit.id).key, hit.value) for hit in index.near_hashes(hashes, 3)])
    return state.hexdigest(), answers
