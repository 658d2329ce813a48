"""The other end of `_chaos_writer`: orders writers, and keeps account of what they tried and were told."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from clearmark.audits import Ledger, NoteSigner
from clearmark.benchmarks._chaos_writer import VAULT_KEY, made
from clearmark.core.errors import Error

__all__ = ["Account", "Zygote", "zygote"]


@dataclass
class Account:
    """What writers of one ledger tried, and which events they were told are on record."""

    tried: dict[str, None] = field(default_factory=dict)
    acknowledged: dict[str, tuple[int, str]] = field(default_factory=dict)
    twice: int = 0
    refused: int = 0

    def take(self, line: str) -> None:
        """Read one line of a writer."""
        what, *rest = line.split()
        if what == "try":
            self.tried[rest[0]] = None
        elif what == "ack":
            seq, event_id, leaf = rest
            self.twice += event_id in self.acknowledged
            self.acknowledged[event_id] = (int(seq), leaf)
        elif what == "stop":
            self.refused += 1

    def check(self, path: Path, signer: NoteSigner, *, again: int = 8) -> dict[str, int]:
        """Open the ledger at `path` and count what is wrong with it; all zero is right.

        The newest `again` events of which nobody was told that they are on record are sent again, as a
        caller would: each must then be there once.
        """
        wrong = dict.fromkeys(("lost", "doubled", "gaps", "tampered", "unopened"), 0)
        wrong["doubled"] += self.twice
        unknown = [each for each in self.tried if each not in self.acknowledged][-again:]
        try:
            with Ledger.open(path, signer=signer, vault_key=VAULT_KEY) as ledger:
                wrong["tampered"] += not ledger.verify().ok
                before = _stored(path)
                if unknown:
                    ledger.append([made(each) for each in unknown])
                    wrong["tampered"] += not ledger.verify().ok
        except Error:
            wrong["unopened"] += 1
            return wrong
        after = _stored(path)
        ids = [event_id for _, event_id, _ in after]
        places = {event_id: (seq, leaf.hex()) for seq, event_id, leaf in after}
        wrong["doubled"] += len(ids) - len(places)
        wrong["gaps"] += [seq for seq, _, _ in after] != list(range(len(after)))
        wrong["lost"] += sum(places.get(each) != told for each, told in self.acknowledged.items())
        wrong["lost"] += sum(each not in places for each in unknown)
        wrong["lost"] += after[: len(before)] != before
        return wrong


def _stored(path: Path) -> list[tuple[int, str, bytes]]:
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute("SELECT seq, event_id, leaf_hash FROM event ORDER BY seq").fetchall()


class Zygote:
    """A process that forks writers. One order at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def _in(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _out(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def lines(self) -> Iterator[str]:
        """Yield what is said."""
        while line := self._out.readline():
            yield line
        raise RuntimeError("the process that forks writers ended")

    def order(self, **order: Any) -> None:
        """Start writers."""
        self._in.write(json.dumps(order) + "\n")
        self._in.flush()

    def run(self, account: Account, **order: Any) -> None:
        """Let writers run to their end."""
        self.order(**order)
        for line in self.lines():
            if line == "dead\n":
                return
            account.take(line)

    def killed(self, account: Account, when: Callable[[Iterator[str]], None], **order: Any) -> int:
        """Start writers and kill them with SIGKILL once `when` returns; return how many were alive then.

        `when` is given the lines that they say, and may read as many as it likes.
        """
        self.order(kill=True, **order)
        pids: list[int] = []

        def heard() -> Iterator[str]:
            for line in self.lines():
                if line.startswith("pid "):
                    pids.append(int(line[4:]))
                else:
                    account.take(line)
                    yield line

        stream = heard()
        while len(pids) < order.get("writers", 1):
            # Lines of a writer may come before the number of the next one.
            line = self._out.readline()
            if line.startswith("pid "):
                pids.append(int(line[4:]))
            else:
                account.take(line)
        when(stream)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.order()
        for line in self.lines():
            if line == "dead\n":
                return len(pids)
            account.take(line)
        return 0


@contextmanager
def zygote(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[tuple[Zygote, NoteSigner]]:
    """Start a process that forks writers; its key stands in `folder`."""
    from clearmark.benchmarks._chaos_writer import ORIGIN

    signer = NoteSigner.generate(ORIGIN)
    (folder / "key.pem").write_bytes(signer.to_pem())
    command = [sys.executable, "-m", "clearmark.benchmarks._chaos_writer", str(folder / "key.pem")]
    process = subprocess.Popen(  # noqa: S603  our own module
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    made_one = Zygote(process)
    try:
        assert next(made_one.lines()) == "ready\n"
        yield made_one, signer
    finally:
        process.stdin.close()  # type: ignore[union-attr]  # NOTE: made with a pipe
        process.stdout.close()  # type: ignore[union-attr]  # NOTE: made with a pipe
        process.wait(timeout=60)
