"""Damaged files by the thousand through `verify`: no crash, no hang, bounded memory.

    python -m clearmark.benchmarks.fuzz_verify --count 10000

Signed files of every format are cut, doubled, overwritten and exchanged in part, and each result is verified
with all layers and put into words. It fails when anything is raised, when one file takes longer than
`--seconds`, when memory grows over `--mib`, or when a damaged file is said to be signed by somebody else.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from clearmark.benchmarks.credentials import FORMATS, MARK_ID, sample
from clearmark.core.errors import Error
from clearmark.provenance import ManifestSigner, Verifier, conclude, make_development_ca
from clearmark.provenance.credentials import ManifestSpec

__all__ = ["fuzz", "main", "mutations"]

_LENGTHS = (b"\x00\x00\x00\x00", b"\x00\x00\x00\x01", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff")


def mutations(sources: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Yield damaged copies without end."""
    rng = random.Random(seed)  # noqa: S311  repeatable, not secret
    while True:
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
        yield bytes(data)


def fuzz(count: int, *, seed: int = 1, side: int = 56) -> dict[str, Any]:
    """Verify `count` damaged files; `side` is the pictures', from 64 on watermarks are searched, too."""
    ca = make_development_ca()
    signer = ManifestSigner.from_pem(ca.chain_pem, ca.key_pem)
    sources = [signer.sign(sample(kind, side), kind, ManifestSpec(mark_id=MARK_ID)).data for kind in FORMATS]
    verifier = Verifier(ca.root_pem)
    codes: Counter[int] = Counter()
    raised: Counter[str] = Counter()
    forged, slowest = 0, 0.0
    stream = mutations(sources, seed)
    for _ in range(count):
        data = next(stream)
        started = time.process_time()
        try:
            found = verifier.verify([data])[0]
            json.dumps(found.to_dict())
            conclude(found)
        except Exception as exc:  # noqa: BLE001  whatever it is, it is the finding
            raised[type(exc).__name__] += 1
            continue
        finally:
            slowest = max(slowest, time.process_time() - started)
        codes[found.exit_code] += 1
        forged += found.credentials.state == "trusted" and found.credentials.signer != signer.name
    return {
        "bench": "fuzz_verify",
        "files": count,
        "formats": len(FORMATS),
        "seed": seed,
        "exit_codes": dict(sorted(codes.items())),
        "raised": dict(raised),
        "forged": forged,
        "slowest_s": round(slowest, 3),
        "peak_mib": _peak_mib(),
    }


def _peak_mib() -> int | None:
    try:
        import resource
    except ImportError:  # Windows does not say
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz and print one JSON document; 1 when a bound was passed."""
    parser = argparse.ArgumentParser(prog="clearmark bench fuzz_verify", description=__doc__)
    parser.add_argument("--json", action="store_true", help="it prints JSON in any case")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side", type=int, default=56, help="pixels; from 64 on marks are searched, too")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--mib", type=int, default=1024)
    options = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments))
    report = fuzz(options.count, seed=options.seed, side=options.side)
    sys.stdout.write(json.dumps(report) + "\n")
    fine = not report["raised"] and not report["forged"] and report["slowest_s"] <= options.seconds
    return 0 if fine and (report["peak_mib"] or 0) <= options.mib else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Error as failed:
        sys.exit(failed.diagnostics())
