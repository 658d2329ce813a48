"""The processes that `clearmark bench chaos` kills: they append to a ledger and say what was acknowledged.

    python -m clearmark.benchmarks._chaos_writer KEY.pem

Imports are paid once: this process forks writers on request. It reads one JSON object a line from stdin and
answers in lines on stdout, in which the lines of the writers stand between: `try ID` for an event that is
about to be sent, `ack SEQ ID LEAF` for one that came back, `stop ERROR` for a writer that was refused.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clearmark.audits import Ledger, NoteSigner
from clearmark.core import Event, uuid7
from clearmark.core.errors import LedgerError

__all__ = ["ORIGIN", "VAULT_KEY", "made", "main"]

ORIGIN = "example.com/pictures"
VAULT_KEY = bytes(32)
THREADS = 3


def made(event_id: str) -> Event:
    """Return the event with this id: its content follows from the id, so that anybody can send it again."""
    number = int(event_id[-8:], 16)
    return Event(
        kind="output.decided",
        request_id=f"r-{number}",
        event_id=event_id,
        ts_us=int(event_id.replace("-", "")[:12], 16) * 1000,
        body={"n": number, "text": "x" * (number % 900)},
        mark_ids=(f"{number:016x}",) if number % 3 == 0 else (),
        personal={"prompt": b"an apple on a table"} if number % 2 else {},
        subject=f"user-{number % 5}",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Fork writers until stdin ends."""
    (key,) = sys.argv[1:] if arguments is None else arguments
    signer = NoteSigner.from_pem(Path(key).read_bytes(), ORIGIN)
    _say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        for _ in range(order.get("writers", 1)):
            child = os.fork()
            if child == 0:
                try:
                    _write(order, signer)
                finally:
                    os._exit(1)
            _say(f"pid {child}")
        if order.get("kill"):
            # Only now is it certain that no number of a process is used again.
            sys.stdin.readline()
        for _ in range(order.get("writers", 1)):
            os.wait()
        _say("dead")
    return 0


def _write(order: Mapping[str, Any], signer: NoteSigner) -> None:
    """Append to a ledger from several threads until killed, refused, or done with all `batches`."""
    os.environ.update(order.get("environment", {}))
    try:
        with Ledger.open(order["path"], signer=signer, vault_key=VAULT_KEY) as ledger:
            if order.get("weak"):
                _weaken(ledger)
            threads = [
                threading.Thread(target=_append, args=(ledger, name, order.get("batches")))
                for name in range(THREADS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    except LedgerError as exc:
        _say(f"stop {type(exc).__name__}")


def _append(ledger: Ledger, name: int, batches: int | None) -> None:
    try:
        for number in itertools.count() if batches is None else range(batches):
            ids = [uuid7() for _ in range(1 + number % 4)]
            _say("".join(f"try {each}\n" for each in ids)[:-1])
            for record in ledger.append([made(each) for each in ids]):
                _say(f"ack {record.seq} {record.event_id} {record.leaf_hash}")
            if number % 10 == 9:
                ledger.erase(f"user-{(name + number // 10) % 5}")
    except LedgerError as exc:
        _say(f"stop {type(exc).__name__}")


def _weaken(ledger: Ledger) -> None:
    """Synchronise as many logs do, not at each commit: to see that what is then lost is noticed."""
    from sqlalchemy import event

    engine = ledger._store.engine
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = NORMAL"))
    engine.dispose()


def _say(text: str) -> None:
    # One write of less than a pipe takes at once: lines of several writers never mix, and none is cut.
    os.write(1, f"{text}\n".encode())


if __name__ == "__main__":
    raise SystemExit(main())
