"""The power fails at any moment: what was acknowledged is there, and nothing looks tampered with.

A real process writes to a ledger while everything that it writes and synchronises is recorded (by a small
library in front of libc). Afterwards the disk is made again as it may look after a power cut at a random
moment: what was synchronised is there; of what was not, each sector of 512 bytes may or may not be.

CLEARMARK_POWERCUT_ROUNDS sets the number of cuts; needs a C compiler.
"""

import os
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from clearmark.audits import Ledger, NoteSigner
from clearmark.core.errors import Error

ROUNDS = int(os.environ.get("CLEARMARK_POWERCUT_ROUNDS", "40"))
SECTOR = 512

COMPILER = shutil.which("cc") or shutil.which("gcc")
if COMPILER is None or not sys.platform.startswith("linux"):
    pytest.skip("needs a C compiler on Linux", allow_module_level=True)

CHILD = """
import os, sys, threading
from pathlib import Path
from clearmark.audits import Ledger, NoteSigner
from clearmark.core import Event
home = Path(sys.argv[1])
signer = NoteSigner.from_pem(Path(sys.argv[2]).read_bytes(), "example.com/pictures")
acks = os.open(home / "acks", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
with Ledger.open(home / "ledger.db", signer=signer, vault_key=bytes(32)) as ledger:
    if "--weak" in sys.argv:
        from sqlalchemy import event
        event.listen(ledger._store.engine, "connect", lambda c, _: c.execute("PRAGMA synchronous = NORMAL"))
        ledger._store.engine.dispose()
    def work(name):
        for number in range(25):
            body = {"n": number, "text": "x" * (number * 40)}
            batch = [
                Event(kind="a", request_id=name, body=body, personal={"p": b"y" * 50}, subject=name)
                for _ in range(1 + number % 3)
            ]
            for record in ledger.append(batch):
                os.write(acks, f"{record.seq} {record.event_id} {record.leaf_hash}\\n".encode())
        ledger.erase(name)
    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


class Disk:
    """Files as they are on the disk, and the operations since the last synchronisation of each."""

    def __init__(self):
        self.durable = {}
        self.pending = {}
        self.acknowledged = []

    def apply(self, what, name, offset, data):
        if name == ".":
            # A folder: what was removed from it stays removed. That files exist is durable as they are.
            for each, operations in self.pending.items():
                last = max((at for at, kind in enumerate(operations) if kind[0] == "U"), default=-1)
                if last >= 0:
                    self.durable[each] = None
                    del operations[: last + 1]
        elif name == "acks":
            self.acknowledged.append(data)
        elif what == "S":
            self.durable[name] = done(self.durable.get(name, b""), self.pending.pop(name, []))
        elif what == "U":
            # Removing a file is durable at an unknown time; SQLite removes only what it needs no more.
            self.pending.setdefault(name, []).append(("U", 0, b""))
        else:
            self.pending.setdefault(name, []).append((what, offset, data))

    def after_a_cut(self, rng):
        """Return the files as they may be after a power cut now."""
        files = {name: raw for name, raw in self.durable.items() if raw is not None}
        for name, operations in self.pending.items():
            lucky = []
            for what, offset, data in operations:
                if what != "W":
                    if rng.random() < 0.5:
                        lucky.append((what, offset, data))
                    continue
                at = offset
                while at < offset + len(data):
                    end = min(offset + len(data), (at // SECTOR + 1) * SECTOR)
                    if rng.random() < rng.choice((0.1, 0.5, 0.9)):
                        lucky.append(("W", at, data[at - offset : end - offset]))
                    at = end
            content = done(files.get(name, b""), lucky)
            if content is None:
                files.pop(name, None)
            elif lucky or name in files:
                files[name] = content
        return files


def done(content, operations):
    raw = bytearray(content or b"")
    removed = False
    for what, offset, data in operations:
        removed = what == "U"
        if what == "U":
            raw = bytearray()
        elif what == "T":
            raw = raw[:offset] if offset <= len(raw) else raw + bytes(offset - len(raw))
        else:
            raw += bytes(max(0, offset - len(raw)))
            raw[offset : offset + len(data)] = data
    return None if removed else bytes(raw)


def operations(trace, home):
    """Yield (letter, file name, offset, data) of a trace."""
    at = 0
    while at < len(trace):
        what, length = struct.unpack_from("<cH", trace, at)
        path = trace[at + 3 : at + 3 + length].decode()
        offset, size = struct.unpack_from("<qI", trace, at + 3 + length)
        at += 3 + length + 12
        yield what.decode(), str(Path(path).relative_to(home)), offset, trace[at : at + size]
        at += size


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    made = tmp_path_factory.mktemp("library") / "trace.so"
    source = Path(__file__).with_suffix(".c")
    command = [COMPILER, "-O1", "-shared", "-fPIC", "-o", str(made), str(source), "-ldl", "-pthread"]
    subprocess.run(command, check=True, capture_output=True)
    return made


def recording(folder, library, *arguments):
    home = folder / "home"
    home.mkdir()
    signer = NoteSigner.generate("example.com/pictures")
    (folder / "key.pem").write_bytes(signer.to_pem())
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "TRACE_HOME": str(home),
        "TRACE_FILE": str(folder / "trace"),
    }
    child = [sys.executable, "-c", CHILD, str(home), str(folder / "key.pem"), *arguments]
    subprocess.run(child, check=True, env=environment, timeout=300)
    return signer, list(operations((folder / "trace").read_bytes(), home))


@pytest.fixture(scope="module")
def traced(tmp_path_factory, library):
    return recording(tmp_path_factory.mktemp("power"), library)


def test_the_recording_is_complete(traced, tmp_path):
    signer, recorded = traced
    disk = Disk()
    for operation in recorded:
        disk.apply(*operation)
    for name, pending in disk.pending.items():
        disk.durable[name] = done(disk.durable.get(name, b""), pending)
    check(disk, {name: raw for name, raw in disk.durable.items() if raw is not None}, tmp_path, signer)
    assert len(disk.acknowledged) == 3 * sum(1 + n % 3 for n in range(25))
    assert sum(what == "S" for what, *_ in recorded) > 10


def cut_at_random(recorded, rounds, rng):
    """Yield the disk and the files after each of some power cuts."""
    cuts = sorted(rng.randrange(len(recorded)) for _ in range(rounds))
    disk = Disk()
    for number, operation in enumerate(recorded):
        while cuts and cuts[0] == number:
            cuts.pop(0)
            yield disk, disk.after_a_cut(rng)
        disk.apply(*operation)


def test_power_cuts(traced, tmp_path):
    signer, recorded = traced
    cuts = cut_at_random(recorded, ROUNDS, random.Random(29))
    assert sum(check(disk, files, tmp_path, signer) for disk, files in cuts) > 100


def test_the_cuts_are_real(tmp_path, library):
    """With SQLite's weaker setting, which many use for logs, acknowledged events are lost and it shows."""
    signer, recorded = recording(tmp_path, library, "--weak")
    lost = 0
    for disk, files in cut_at_random(recorded, 20, random.Random(31)):
        try:
            check(disk, files, tmp_path, signer)
        except (AssertionError, Error):
            lost += 1
    assert lost > 0


def check(disk, files, tmp_path, signer):
    """Open a ledger on such files: it verifies, holds all that was acknowledged, and goes on."""
    home = tmp_path / "after"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    for name, raw in files.items():
        if not name.endswith("-shm"):
            (home / name).write_bytes(raw)
    acknowledged = [line.decode().split() for line in disk.acknowledged]
    if "ledger.db" not in files:
        assert not acknowledged
        return 0
    with Ledger.open(home / "ledger.db", signer=signer, vault_key=bytes(32)) as ledger:
        report = ledger.verify()
        assert report.ok, "; ".join(item.detail for item in report.checks if not item.ok)
        stored = {event.event_id: event for event in ledger.events()}
        for seq, event_id, leaf in acknowledged:
            assert event_id in stored, "acknowledged and lost"
            assert (stored[event_id].seq, stored[event_id].leaf_hash) == (int(seq), leaf)
        size = ledger.size
        assert ledger.checkpoint().size == size
        assert ledger.verify().ok
    return len(acknowledged)
