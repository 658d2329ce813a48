"""Build an index over many pictures, shard by shard, by any number of workers; resumable.

A shard is a list of items with the places of their bytes. `measure_shard` turns one into a small index of its
own, and is all that a worker runs: in this process, in a pool of processes (`LocalRunner`), or on machines of
a Ray cluster (`RayRunner`). The shards are merged in their order, so the answers do not depend on who built
what. A file that cannot be read is counted, never a reason to fail.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from clearmark.core.errors import MediaError, UsageError
from clearmark.core.optional import import_optional
from clearmark.guardrails.memorization._items import Item
from clearmark.guardrails.memorization.index import Index

__all__ = [
    "Built",
    "LocalRunner",
    "RayRunner",
    "Runner",
    "Shard",
    "build_index",
    "measure_shard",
    "shards_of",
]

SHARD_ITEMS = 2000
_DONE = "done.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Some items and the paths of their pictures; `name` follows from them: a shard is found again."""

    items: tuple[Item, ...]
    paths: tuple[str, ...]
    crops: bool = True

    @property
    def name(self) -> str:
        """A digest of what is in it."""
        said = json.dumps([[asdict(item) for item in self.items], self.paths, self.crops])
        return hashlib.sha256(said.encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a shard or a whole build came to."""

    added: int
    unread: int


class Runner(Protocol):
    """Runs a function over shards and yields what comes back, in any order."""

    def run(
        self, work: Callable[[Shard, str], Built], shards: Sequence[Shard], folder: str
    ) -> Iterator[tuple[Shard, Built]]:
        """Yield each shard with what `work(shard, folder)` returned."""
        ...


class LocalRunner:
    """Runs in `workers` processes of this machine; with one, in this process.

    Processes are spawned, not forked: the runtime of the descriptor has threads.
    """

    def __init__(self, workers: int = 1) -> None:
        if workers < 1:
            raise UsageError("a runner needs at least one worker")
        self._workers = workers

    def run(
        self, work: Callable[[Shard, str], Built], shards: Sequence[Shard], folder: str
    ) -> Iterator[tuple[Shard, Built]]:
        """Yield each shard with what `work(shard, folder)` returned."""
        if self._workers == 1:
            for shard in shards:
                yield shard, work(shard, folder)
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self._workers, mp_context=context) as pool:
            waiting = {pool.submit(work, shard, folder): shard for shard in shards}
            for done in as_completed(waiting):
                yield waiting[done], done.result()


class RayRunner:
    """Runs on a Ray cluster; `folder` and the pictures have one path on all of its machines.

    `address` is that of the cluster ("auto": the one that this machine belongs to). At most `at_once` shards
    are under way, each on `cpus` processors.

    Raises:
        ExtraMissing: Ray is not installed.
    """

    def __init__(self, address: str | None = "auto", *, at_once: int = 64, cpus: float = 1.0) -> None:
        self._ray = import_optional("ray", extra="ray")
        self._address, self._at_once, self._cpus = address, at_once, cpus

    def run(
        self, work: Callable[[Shard, str], Built], shards: Sequence[Shard], folder: str
    ) -> Iterator[tuple[Shard, Built]]:
        """Yield each shard with what `work(shard, folder)` returned."""
        ray = self._ray
        if not ray.is_initialized():
            ray.init(address=self._address, log_to_driver=False)
        remote = ray.remote(num_cpus=self._cpus, max_retries=3)(work)
        rest = iter(shards)
        waiting: dict[Any, Shard] = {}
        while True:
            while len(waiting) < self._at_once and (shard := next(rest, None)) is not None:
                waiting[remote.remote(shard, folder)] = shard
            if not waiting:
                return
            (done, *_), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), ray.get(done)


def shards_of(
    given: Iterable[tuple[Item, str]], *, size: int = SHARD_ITEMS, crops: bool = True
) -> list[Shard]:
    """Cut items and the paths of their pictures into shards, in the order in which they come."""
    rows = list(given)
    parts = (rows[first : first + size] for first in range(0, len(rows), size))
    return [
        Shard(items=tuple(item for item, _ in part), paths=tuple(path for _, path in part), crops=crops)
        for part in parts
    ]


def measure_shard(shard: Shard, folder: str) -> Built:
    """Measure the pictures of a shard and write them as an index of its own into `folder`.

    A shard that was written whole before is not measured again.
    """
    from clearmark.guardrails.memorization.checker import entry_of
    from clearmark.guardrails.memorization.descriptor import default_descriptor

    place = Path(folder) / shard.name
    if (place / _DONE).exists():
        return Built(**json.loads((place / _DONE).read_text(encoding="utf-8")))
    shutil.rmtree(place, ignore_errors=True)
    descriptor = default_descriptor()
    entries, unread = [], 0
    for item, path in zip(shard.items, shard.paths, strict=True):
        try:
            entries.append(entry_of(Path(path).read_bytes(), item, descriptor=descriptor, crops=shard.crops))
        except (MediaError, OSError):
            unread += 1
    with Index.create(place, descriptor=descriptor.ref) as index:
        added = index.add(entries)
    built = Built(added=added, unread=unread)
    draft = place / ".done"
    draft.write_text(json.dumps(asdict(built)), encoding="utf-8")
    draft.replace(place / _DONE)
    return built


def build_index(
    path: str | Path,
    shards: Sequence[Shard],
    *,
    descriptor: str,
    runner: Runner | None = None,
    work: Callable[[Shard, str], Built] = measure_shard,
    advance: Callable[[int], None] = lambda _: None,
) -> Built:
    """Build or go on with the index at `path`; the shards lie beside it until it is whole.

    Raises:
        UsageError: there is an index at `path` that is not of this descriptor.
    """
    path = Path(path)
    folder = path.with_name(path.name + ".shards")
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Built] = {}
    for shard, built in (runner or LocalRunner()).run(work, shards, str(folder)):
        found[shard.name] = built
        advance(len(shard.items))
    index = Index(path) if (path / "catalogue.db").exists() else Index.create(path, descriptor=descriptor)
    with index:
        for shard in shards:
            with Index(folder / shard.name) as part:
                index.merge(part)
        index.compact()
    shutil.rmtree(folder)
    return Built(
        added=sum(built.added for built in found.values()), unread=sum(b.unread for b in found.values())
    )
