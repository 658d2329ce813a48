"""How evenly processes get their turn that write to one SQLite file: the ledger, and plain inserts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from clearmark.audits import NoteSigner

__all__ = ["measure_fairness"]

WRITERS = 8

_WRITER = """
import sqlite3, sys, time
from pathlib import Path
from clearmark.audits import Ledger, NoteSigner
from clearmark.core import Event

path, key, seconds, ours = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "ledger"
if ours:
    signer = NoteSigner.from_pem(key.read_bytes(), "example.com/benchmark")
    ledger = Ledger.open(path, signer=signer, vault_key=bytes(32), busy_timeout_s=60)
    step = lambda: ledger.append([Event(kind="a", request_id="r")])
else:
    peer = sqlite3.connect(path, isolation_level=None, timeout=60)
    peer.execute("PRAGMA journal_mode = WAL")
    peer.execute("PRAGMA synchronous = FULL")
    peer.execute("CREATE TABLE IF NOT EXISTS event (seq INTEGER PRIMARY KEY, body BLOB)")
    def step():
        peer.execute("BEGIN IMMEDIATE")
        peer.execute("INSERT INTO event (body) VALUES (?)", (b"x" * 200,))
        peer.execute("COMMIT")
step()
print("ready", flush=True)
sys.stdin.readline()
end, count = time.perf_counter() + seconds, 0
while time.perf_counter() < end:
    step()
    count += 1
print(count, flush=True)
"""


def measure_fairness(place: Path, seconds: float) -> dict[str, Any]:
    """Let processes write to one SQLite file as fast as they can; return what each of them got done."""
    key = place / "fair.pem"
    key.write_bytes(NoteSigner.generate("example.com/benchmark").to_pem())
    found: dict[str, Any] = {"processes": WRITERS, "seconds": seconds}
    for who in ("ledger", "plain"):
        command = [sys.executable, "-c", _WRITER, str(place / f"fair-{who}.db"), str(key), str(seconds), who]
        children = [
            subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(WRITERS)
        ]
        try:
            pipes = [(child.stdin, child.stdout) for child in children]
            counts = []
            for _, out in pipes:
                if out is None or out.readline() != "ready\n":
                    raise RuntimeError("a writer of the benchmark did not start")
            for into, _ in pipes:
                if into is not None:
                    into.write("\n")
                    into.flush()
            counts = [int(out.readline()) for _, out in pipes if out is not None]
        finally:
            for child in children:
                child.kill()
                child.communicate()
        found[who] = {
            "events": counts,
            "max_to_min": max(counts) / max(1, min(counts)),
            "events_per_s": sum(counts) / seconds,
        }
    return found
