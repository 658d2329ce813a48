"""What durable, provable recording costs, against plain inserts into the same database in the same run.

The peers write JSON of the same size into one table and acknowledge after the same synchronisation of the
disk, without hashes, tree, signatures or idempotency. All cases take turns, so that a noisy neighbour
disturbs all alike. PostgreSQL is measured when CLEARMARK_TEST_POSTGRES names a server (tests/postgres.sh).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from clearmark.audits import Ledger, NoteSigner
from clearmark.benchmarks._ledger_fairness import measure_fairness
from clearmark.core import Event, uuid7

__all__ = ["main", "measure"]

BODY = {
    "policy": {"name": "default", "version": "2026.11", "digest": "sha256:" + "a" * 64},
    "scores": {f"category-{n}": n * 1000 for n in range(14)},
    "guards": [{"name": f"guard-{n}", "version": "1.0", "model": "m@sha256:" + "b" * 64} for n in range(2)],
    "verdict": "allow",
    "rules": ["sexual-strict", "violence"],
}
ENVELOPE = {
    "body": BODY,
    "kind": "output.decided",
    "request_id": "r",
    "schema_version": 1,
    "tenant": "default",
}
PRODUCERS = 256
SERVER_PRODUCERS = 64
RATE = 2000


PARTS = ("sqlite", "latency", "reading", "fairness", "postgres")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark: a table for people, `--json` for programs."""
    parser = argparse.ArgumentParser(prog="clearmark bench ledger", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each case and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=100_000, help="size of the log that is verified")
    parser.add_argument(
        "--only", action="append", choices=PARTS, help="measure this part only; repeatable, default all"
    )
    options = parser.parse_args(arguments)
    report = measure(
        seconds=options.seconds, rounds=options.rounds, events=options.events, parts=options.only or PARTS
    )
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        _print(report)
    return 0


def measure(
    *, seconds: float = 1.0, rounds: int = 3, events: int = 100_000, parts: Sequence[str] = PARTS
) -> dict[str, Any]:
    """Measure rates in events per second, latencies in milliseconds, and the ratios of ours to the peers."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        report: dict[str, Any] = {
            "machine": f"{platform.machine()}, {_cores()} cores",
            "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
            "event_bytes": len(_event().envelope(BODY)),
        }
        if "sqlite" in parts:
            report["sqlite"] = _store(_sqlite_cases(place), seconds, rounds, PRODUCERS)
        if "latency" in parts:
            report["latency"] = _latency(place / "latency.db", place, seconds * rounds)
        if "reading" in parts:
            report["reading"] = _reading(place, events)
        if "fairness" in parts:
            report["fairness"] = measure_fairness(place, seconds * rounds)
        server = os.environ.get("CLEARMARK_TEST_POSTGRES")
        if server and "postgres" in parts:
            with _postgres_cases(server) as (cases, url):
                report["postgres"] = _store(cases, seconds, rounds, SERVER_PRODUCERS)
                report["postgres"]["latency"] = _latency(url, place, seconds * rounds)
    return report


def _event() -> Event:
    return Event(kind="output.decided", request_id="r", body=BODY)


def _row() -> tuple[str, bytes]:
    event_id = uuid7()
    return event_id, json.dumps({**ENVELOPE, "event_id": event_id, "ts_us": time.time_ns() // 1000}).encode()


def _store(
    cases: dict[str, Callable[[float], float]], seconds: float, rounds: int, producers: int
) -> dict[str, Any]:
    """Run all cases in turn; return the median rate of each, and ours as a share of its peer."""
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            rates[name].append(case(seconds))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    batched = "SQLAlchemy Core, 100 per commit"
    pairs = {
        "1 per commit": ("ledger, 1 per append", "insert, 1 per commit"),
        "100 per commit": ("ledger, 100 per append", "insert, 100 per commit"),
        f"{producers} producers": (f"ledger, {producers} producers", "insert, 100 per commit"),
        f"{producers} producers to SQLAlchemy Core": (f"ledger, {producers} producers", batched),
        f"{producers} tasks to SQLAlchemy Core": (f"ledger, {producers} tasks", batched),
        "100 per append to SQLAlchemy Core": ("ledger, 100 per append", batched),
    }
    ratios = {name: medians[ours] / medians[peer] for name, (ours, peer) in pairs.items()}
    return {"events_per_s": medians, "ours_to_peer": ratios}


def _repeated(step: Callable[[], int]) -> Callable[[float], float]:
    """Return a case: `step` again and again for some seconds, as a rate."""

    def case(seconds: float) -> float:
        began, done, spent = time.perf_counter(), 0, 0.0
        while (spent := time.perf_counter() - began) < seconds:
            done += step()
        return done / spent

    return case


def _sqlite_cases(place: Path) -> dict[str, Callable[[float], float]]:
    peer = sqlite3.connect(place / "peer.db", isolation_level=None)
    peer.execute("PRAGMA journal_mode = WAL")
    peer.execute("PRAGMA synchronous = FULL")
    peer.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, event_id TEXT UNIQUE, body BLOB)")
    stream = (place / "peer.jsonl").open("ab", buffering=0)

    def line() -> int:
        stream.write(_row()[1] + b"\n")
        os.fsync(stream.fileno())
        return 1

    def insert(count: int) -> Callable[[], int]:
        def step() -> int:
            peer.execute("BEGIN IMMEDIATE")
            rows = [_row() for _ in range(count)]
            peer.executemany("INSERT INTO event (event_id, body) VALUES (?, ?)", rows)
            peer.execute("COMMIT")
            return count

        return step

    return {
        "file, fsync per line": _repeated(line),
        "insert, 1 per commit": _repeated(insert(1)),
        "insert, 100 per commit": _repeated(insert(100)),
        "SQLAlchemy Core, 100 per commit": _repeated(_core(f"sqlite:///{place / 'core.db'}")),
        **_ledger_cases(_opened(place / "ours.db"), PRODUCERS),
    }


def _core(url: str) -> Callable[[], int]:
    from sqlalchemy import (
        BigInteger,
        Column,
        Integer,
        LargeBinary,
        MetaData,
        Table,
        Text,
        create_engine,
        event,
    )

    engine = create_engine(url)
    lite = engine.dialect.name == "sqlite"
    if lite:
        event.listen(engine, "connect", lambda dbapi, _: dbapi.execute("PRAGMA synchronous = FULL"))
    tables = MetaData()
    table = Table(
        "core_event",
        tables,
        Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("event_id", Text, unique=True),
        Column("body", LargeBinary),
    )
    with engine.begin() as conn:
        tables.create_all(conn)
    if lite:
        with engine.connect() as conn:
            conn.exec_driver_sql("PRAGMA journal_mode = WAL")

    def step() -> int:
        with engine.begin() as conn:
            rows = [dict(zip(("event_id", "body"), _row(), strict=True)) for _ in range(100)]
            conn.execute(table.insert(), rows)
        return 100

    return step


@contextmanager
def _postgres_cases(server: str) -> Iterator[tuple[dict[str, Callable[[float], float]], str]]:
    import psycopg

    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS bench_ledger WITH (FORCE)")
        admin.execute("CREATE DATABASE bench_ledger")
    url = server.replace("/postgres?", "/bench_ledger?")
    with psycopg.connect(url) as peer, closing(_opened(url)) as ledger:
        peer.execute("CREATE TABLE peer (seq bigserial PRIMARY KEY, event_id text UNIQUE, body bytea)")
        peer.commit()

        def insert(count: int) -> Callable[[], int]:
            def step() -> int:
                rows = [_row() for _ in range(count)]
                peer.cursor().executemany("INSERT INTO peer (event_id, body) VALUES (%s, %s)", rows)
                peer.commit()
                return count

            return step

        cases = {
            "insert, 1 per commit": _repeated(insert(1)),
            "insert, 100 per commit": _repeated(insert(100)),
            "SQLAlchemy Core, 100 per commit": _repeated(
                _core(url.replace("postgresql://", "postgresql+psycopg://"))
            ),
            **_ledger_cases(ledger, SERVER_PRODUCERS),
        }
        yield cases, url


def _ledger_cases(ledger: Ledger, count: int) -> dict[str, Callable[[float], float]]:
    def append(size: int) -> Callable[[], int]:
        return lambda: len(ledger.append([_event() for _ in range(size)]))

    def producers(seconds: float) -> float:
        done = [0] * count
        end = time.perf_counter() + seconds

        def work(place: int) -> None:
            while time.perf_counter() < end:
                ledger.append([_event()])
                done[place] += 1

        began = time.perf_counter()
        threads = [threading.Thread(target=work, args=(place,)) for place in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(done) / (time.perf_counter() - began)

    def tasks(seconds: float) -> float:
        return asyncio.run(_tasks(ledger, count, seconds))

    return {
        "ledger, 1 per append": _repeated(append(1)),
        "ledger, 100 per append": _repeated(append(100)),
        f"ledger, {count} producers": producers,
        f"ledger, {count} tasks": tasks,
    }


async def _tasks(ledger: Ledger, count: int, seconds: float) -> float:
    """Return the rate of `count` tasks of one event loop, each of which awaits one event after the other."""
    end = time.perf_counter() + seconds

    async def work() -> int:
        done = 0
        while time.perf_counter() < end:
            await ledger.append_async([_event()])
            done += 1
        return done

    began = time.perf_counter()
    done = await asyncio.gather(*(work() for _ in range(count)))
    return sum(done) / (time.perf_counter() - began)


def _latency(database: str | Path, place: Path, seconds: float) -> dict[str, Any]:
    """Measure the time to acknowledgement of single events that arrive at a fixed rate."""
    times: list[float] = []
    with _opened(database) as ledger, ThreadPoolExecutor(PRODUCERS) as pool:
        list(pool.map(lambda _: ledger.append([_event()]), range(PRODUCERS)))

        def one(due: float) -> None:
            ledger.append([_event()])
            times.append((time.perf_counter() - due) * 1000)

        began = time.perf_counter()
        for number in range(round(RATE * seconds)):
            due = began + number / RATE
            while (wait := due - time.perf_counter()) > 0:
                time.sleep(wait)
            pool.submit(one, due)
        in_tasks = asyncio.run(_latency_of_tasks(ledger, seconds))
    floor: list[float] = []
    with (place / "floor").open("ab", buffering=0) as stream:
        for _ in range(200):
            start = time.perf_counter()
            stream.write(b"x" * 1000)
            os.fsync(stream.fileno())
            floor.append((time.perf_counter() - start) * 1000)
    return {
        "events_per_s": RATE,
        "acknowledged_ms": _quantiles(times),
        "acknowledged_to_tasks_ms": _quantiles(in_tasks),
        "fsync_of_1_kb_ms": _quantiles(floor),
    }


async def _latency_of_tasks(ledger: Ledger, seconds: float) -> list[float]:
    """Measure the same where each event has a task of one event loop, in place of a thread."""
    times: list[float] = []

    async def one(due: float) -> None:
        await ledger.append_async([_event()])
        times.append((time.perf_counter() - due) * 1000)

    tasks: list[asyncio.Task[None]] = []
    began = time.perf_counter()
    for number in range(round(RATE * seconds)):
        due = began + number / RATE
        while (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    return times


def _reading(place: Path, events: int) -> dict[str, Any]:
    """Measure proofs and verification of a log of `events`."""
    path = place / "reading.db"
    ids: list[str] = []
    with _opened(path) as ledger:
        for start in range(0, events, 1000):
            batch = [_event() for _ in range(min(1000, events - start))]
            ids.append(ledger.append(batch)[0].event_id)
    began = time.perf_counter()
    with _opened(path) as ledger:
        opened = time.perf_counter() - began
        times: list[float] = []
        for event_id in ids:
            began = time.perf_counter()
            receipt = ledger.receipt(event_id)
            times.append((time.perf_counter() - began) * 1000)
        began, busy_then = time.perf_counter(), time.process_time()
        report = ledger.verify()
        wall, busy = time.perf_counter() - began, time.process_time() - busy_then
        size = ledger.stats()["bytes"]
    if not report.ok:
        raise RuntimeError("the ledger of the benchmark does not verify")
    return {
        "events": events,
        "open_ms": opened * 1000,
        "receipt_ms": _quantiles(times),
        "receipt_bytes": len(receipt.text),
        "verify_events_per_s": events / wall,
        "verify_events_per_cpu_s": events / busy,
        "bytes_per_event": size / events,
    }


_SIGNER = NoteSigner.generate("example.com/benchmark")


def _opened(database: str | Path) -> Ledger:
    return Ledger.open(database, signer=_SIGNER, vault_key=bytes(32))


def _quantiles(times: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        name: ordered[min(len(ordered) - 1, round(share * len(ordered)))]
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _print(report: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    where = f"{report['event_bytes']} bytes an event, {report['machine']}, load {report['load']}"
    for store in ("sqlite", "postgres"):
        if store not in report:
            continue
        table = Table(title=f"Durable events per second, {store}: {where}", box=box.SIMPLE_HEAD)
        table.add_column("case")
        table.add_column("events/s", justify="right")
        for name, rate in report[store]["events_per_s"].items():
            table.add_row(name, f"{rate:,.0f}")
        for name, ratio in report[store]["ours_to_peer"].items():
            table.add_row(f"ours to peer, {name}", f"{ratio:.2f}")
        console.print(table)
    table = Table(title="Latency, reading, fairness", box=box.SIMPLE_HEAD)
    table.add_column("figure")
    table.add_column("", justify="right")
    for row in _rows(report):
        table.add_row(*row)
    console.print(table)


def _rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for store, latency in (
        ("SQLite", report.get("latency")),
        ("PostgreSQL", report.get("postgres", {}).get("latency")),
    ):
        if latency:
            acknowledged, floor = latency["acknowledged_ms"], latency["fsync_of_1_kb_ms"]
            yield (
                f"{store}, acknowledged to threads at {RATE:,}/s, p50 / p99 ms",
                f"{acknowledged['p50']:.1f} / {acknowledged['p99']:.1f}",
            )
            acknowledged = latency["acknowledged_to_tasks_ms"]
            yield (
                f"{store}, acknowledged to tasks at {RATE:,}/s, p50 / p99 ms",
                f"{acknowledged['p50']:.1f} / {acknowledged['p99']:.1f}",
            )
            yield "fsync of 1 kB, p50 / p99 ms (the floor)", f"{floor['p50']:.1f} / {floor['p99']:.1f}"
    if "reading" in report:
        reading = report["reading"]
        yield f"receipt of {reading['events']:,} events, p50 ms", f"{reading['receipt_ms']['p50']:.2f}"
        yield "receipt, bytes", f"{reading['receipt_bytes']:,}"
        yield "opening, ms", f"{reading['open_ms']:.0f}"
        yield "verified events/s", f"{reading['verify_events_per_s']:,.0f}"
        yield "verified events per second of one core", f"{reading['verify_events_per_cpu_s']:,.0f}"
        yield "bytes on disk per event", f"{reading['bytes_per_event']:,.0f}"
    if "fairness" in report:
        fairness = report["fairness"]
        for who in ("ledger", "plain"):
            name = {"ledger": "ledger", "plain": "plain inserts"}[who]
            yield (
                f"{fairness['processes']} processes, {name}, max / min",
                f"{fairness[who]['max_to_min']:.2f} at {fairness[who]['events_per_s']:,.0f}/s",
            )


if __name__ == "__main__":
    raise SystemExit(main())
