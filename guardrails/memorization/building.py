"""Build an index over many pictures, shard by shard, by any number of workers; resumable.

A shard is a list of items with the places of their bytes. `measure_shard` turns one into a small index of its
own, and is all that a worker runs: in this process, in a pool of processes (`LocalRunner`), or on machines of
a Ray cluster (`RayRunner`). The shards are merged in their order, so the answers do not depend on who built
what. A file that cannot be read is counted, never a reason to fail; nor is one that takes its worker down:
a worker writes down where it is, and what killed two of them is passed over.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

from clearmark.core.errors import Error, MediaError, UsageError
from clearmark.core.optional import import_optional
from clearmark.guardrails.memorization._items import Entry, Item
from clearmark.guardrails.memorization.index import Index

__all__ = [
    "Built",
    "LocalRunner",
    "RayRunner",
    "Runner",
    "RunnerFailed",
    "Shard",
    "build_index",
    "measure_shard",
    "shards_of",
    "write_shard",
]

_log = logging.getLogger(__name__)

SHARD_ITEMS = 2000
_DONE, _AT = "done.json", "at.json"
_DEATHS = 2
"""Workers that one item may take down before it is passed over."""

_BREAKS = 40
"""Times that the worker of one shard may die: twenty files that take workers down are passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Some items and the paths of their pictures; `name` follows from them: a shard is found again."""

    items: tuple[Item, ...]
    paths: tuple[str, ...]
    crops: bool = False

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


class RunnerFailed(Error):
    """The workers of a runner died again and again."""


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
        # One process to a pool: where workers share one, the death of any ends all of them, and what the
        # others were at would look as deadly as what killed it.
        pools = [ProcessPoolExecutor(1, mp_context=context) for _ in range(self._workers)]
        idle: SimpleQueue[int] = SimpleQueue()
        for place in range(self._workers):
            idle.put(place)

        def one(shard: Shard) -> Built:
            place = idle.get()
            try:
                for _ in range(_BREAKS):
                    try:
                        return pools[place].submit(work, shard, folder).result()
                    except BrokenProcessPool:
                        # A decoder of any make can crash; the shard says at which file, and goes on past it.
                        pools[place].shutdown()
                        pools[place] = ProcessPoolExecutor(1, mp_context=context)
            finally:
                idle.put(place)
            raise RunnerFailed(
                f"the worker of shard {shard.name} died {_BREAKS} times",
                hint="is there enough memory? fewer workers take less of it",
            )

        threads = ThreadPoolExecutor(self._workers)
        try:
            waiting = {threads.submit(one, shard): shard for shard in shards}
            for done in as_completed(waiting):
                yield waiting.pop(done), done.result()
        finally:
            threads.shutdown(cancel_futures=True)
            for pool in pools:
                pool.shutdown()


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
        remote = ray.remote(num_cpus=self._cpus, max_retries=_DEATHS + 2)(work)
        rest = iter(shards)
        waiting: dict[Any, Shard] = {}
        while True:
            while len(waiting) < self._at_once and (shard := next(rest, None)) is not None:
                waiting[remote.remote(shard, folder)] = shard
            if not waiting:
                return
            (done, *_), _ = ray.wait(list(waiting), num_returns=1)
            shard = waiting.pop(done)
            try:
                built = ray.get(done)
            except ray.exceptions.RayError as exc:
                # Ray has tried it again already, on other machines where there are any.
                raise RunnerFailed(
                    f"shard {shard.name} failed on the cluster: {type(exc).__name__}",
                    hint="run it again: what is done stays done",
                ) from exc
            yield shard, built


def shards_of(
    given: Iterable[tuple[Item, str]], *, size: int = SHARD_ITEMS, crops: bool = False
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

    descriptor = default_descriptor()

    def entry(item: Item, path: str) -> Entry:
        return entry_of(Path(path).read_bytes(), item, descriptor=descriptor, crops=shard.crops)

    return write_shard(shard, folder, descriptor=descriptor.ref, entry=entry)


def write_shard(shard: Shard, folder: str, *, descriptor: str, entry: Callable[[Item, str], Entry]) -> Built:
    """Write a shard as an index of its own into `folder`, unless that was done; `entry` measures one item.

    What `entry` cannot read is counted and passed over, and so is what killed `_DEATHS` workers.
    """
    place = Path(folder) / shard.name
    if (place / _DONE).exists():
        return Built(**json.loads((place / _DONE).read_text(encoding="utf-8")))
    deaths = _deaths(place)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / _AT).write_text(json.dumps({"deaths": deaths}), encoding="utf-8")
    entries, unread = [], 0
    with (place / _AT).open("a", encoding="utf-8") as at:
        for number, (item, path) in enumerate(zip(shard.items, shard.paths, strict=True)):
            if deaths.get(str(number), 0) >= _DEATHS:
                unread += 1
                continue
            at.write(f"\n{number}")
            at.flush()
            try:
                entries.append(entry(item, path))
            except MediaError:
                unread += 1
            except Error:
                raise  # the descriptor is missing or damaged: then all would be passed over
            except Exception as exc:  # noqa: BLE001  a decoder of any make can fail in any way
                _log.warning("%s: %s", item.key, type(exc).__name__)
                unread += 1
    with Index.create(place, descriptor=descriptor) as index:
        added = index.add(entries)
    built = Built(added=added, unread=unread)
    draft = place / ".done"
    draft.write_text(json.dumps(asdict(built)), encoding="utf-8")
    draft.replace(place / _DONE)
    return built


def _deaths(place: Path) -> dict[str, int]:
    """Return how many workers each item has taken down: the one that stands last when a shard is not done.

    A machine that went off looks the same, which is why one death is no verdict.
    """
    try:
        first, *rest = (place / _AT).read_text(encoding="utf-8").splitlines()
        deaths = {str(number): int(count) for number, count in json.loads(first)["deaths"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    if rest:
        deaths[rest[-1]] = deaths.get(rest[-1], 0) + 1
    return deaths


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
