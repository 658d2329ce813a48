"""The process that verifies damaged files for `fuzz_verify`, and may die of one.

    python -m clearmark.benchmarks._fuzz_worker FOLDER SEED START END
    python -m clearmark.benchmarks._fuzz_worker FOLDER SEED 7,12,99

It prints a line before a file (`{"start": 7}`) and one after it, so that whoever started it knows what it
died of. The kernel ends it when a file takes a minute of the processor or eight gigabytes: code of a native
library that spins, or that takes all memory, could not be stopped from within.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from clearmark.provenance import Verifier, conclude

__all__ = ["ANCHORS", "MOST_CPU_S", "SIGNER", "SOURCES", "mutated", "peak_mib", "read_sources", "verified"]

SOURCES = "source-*.bin"
ANCHORS = "anchors.pem"
SIGNER = "signer.txt"

MOST_CPU_S = 60
"""Seconds of the processor after which a file is given up."""

_STUCK_S = 1800
"""Seconds by the clock, for what waits without end; long, because a machine may be asleep for minutes."""

_MOST_BYTES = 8 * 2**30
_LENGTHS = (b"\x00\x00\x00\x00", b"\x00\x00\x00\x01", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff")


def mutated(sources: Sequence[bytes], seed: int, number: int) -> bytes:
    """Return the damaged file of this number; it depends on nothing else, so any one can be made again."""
    rng = random.Random(f"{seed}:{number}")  # noqa: S311  repeatable, not secret
    data = bytearray(rng.choice(sources))
    for _ in range(rng.randint(1, 6)):
        if len(data) < 16:
            break
        # Headers and manifests stand in front; most of the damage goes there.
        at = rng.randrange(len(data) if rng.random() < 0.4 else min(len(data), 8000))
        size = rng.choice((1, 2, 4, 16, 128))
        match rng.randrange(6):
            case 0:
                data[at : at + size] = rng.randbytes(size)
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = data[at : at + size]
            case 3:
                data[at : at + 4] = rng.choice(_LENGTHS)
            case 4:
                other = rng.choice(sources)
                start = rng.randrange(len(other))
                data[at : at + size] = other[start : start + size]
            case _:
                data[at] ^= 1 << rng.randrange(8)
    if rng.random() < 0.1:
        del data[rng.randrange(len(data) + 1) :]
    return bytes(data)


def read_sources(folder: Path) -> list[bytes]:
    """Return the intact files, in order."""
    return [path.read_bytes() for path in sorted(folder.glob(SOURCES))]


def verified(verifier: Verifier, data: bytes, signer: str) -> dict[str, Any]:
    """Verify one file and say what came of it, and what it took by the clock and of the processor."""
    clock, cpu = time.perf_counter(), time.process_time()
    row: dict[str, Any] = {}
    try:
        found = verifier.verify([data])[0]
        json.dumps(found.to_dict())
        conclude(found)
        row["exit_code"] = found.exit_code
        row["forged"] = found.credentials.state == "trusted" and found.credentials.signer != signer
    except Exception as exc:  # noqa: BLE001  whatever it is, it is the finding
        row["raised"] = f"{type(exc).__name__}: {exc}"[:300]
    row["wall_s"] = round(time.perf_counter() - clock, 4)
    row["cpu_s"] = round(time.process_time() - cpu, 4)
    return row


def peak_mib() -> int | None:
    """Return the most memory that this process has held so far; None where the system does not say."""
    with suppress(OSError):
        # Linux counts into `ru_maxrss` what the process held before it became this program, as a copy of its
        # parent.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    try:
        import resource
    except ImportError:  # Windows does not say
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)


def _bounded() -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_BYTES, _MOST_BYTES))


def _armed(*, on: bool = True) -> None:
    import signal

    if hasattr(signal, "setitimer"):  # the signals are not handled: they end the process
        signal.setitimer(signal.ITIMER_PROF, MOST_CPU_S if on else 0)
        signal.setitimer(signal.ITIMER_REAL, _STUCK_S if on else 0)


def main(arguments: Sequence[str]) -> None:
    """Verify the files START to END (exclusive) of SEED, or those that are listed, from what is in FOLDER."""
    folder, seed = Path(arguments[0]), int(arguments[1])
    listed = [int(number) for number in arguments[2].split(",")]
    numbers = listed if len(arguments) == 3 else range(listed[0], int(arguments[3]))
    _bounded()
    sources = read_sources(folder)
    signer = (folder / SIGNER).read_text(encoding="utf-8")
    verifier = Verifier((folder / ANCHORS).read_bytes())
    for one in sources:
        verified(verifier, one, signer)  # what is loaded at the first file is not the file's fault
    for number in numbers:
        print(json.dumps({"start": number}), flush=True)
        data = mutated(sources, seed, number)
        _armed()
        row = verified(verifier, data, signer)
        _armed(on=False)
        print(json.dumps({"file": number, **row, "peak_mib": peak_mib()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
