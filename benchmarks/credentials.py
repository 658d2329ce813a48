"""What Content Credentials cost, and whether tampering is found: `clearmark bench c2pa`.

Every format is signed and read at every size, then tampered with in every way: a bit of the content, of a
statement, of the claim, of the signature and of the certificate changed, bytes appended, the end cut off, the
manifest of another file put in. Whoever tampers mends what anybody can mend, as the checksum of a chunk. A
tampered file counts as found when it reads as invalid.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import platform
import statistics
import sys
import time
import wave
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from clearmark.core.errors import Error
from clearmark.provenance.credentials import (
    CredentialReader,
    ManifestSigner,
    ManifestSpec,
    make_development_ca,
)
from clearmark.provenance.credentials.jumbf import active_manifest, find_content

__all__ = ["FORMATS", "TAMPERS", "main", "measure", "sample", "tampered"]

MARK_ID = "5eb63bbbe01eeed0"
_PICTURES = {
    "image/png": ("PNG", {}),
    "image/jpeg": ("JPEG", {"quality": 95}),
    "image/webp": ("WEBP", {"lossless": True, "method": 0}),
    "image/avif": ("AVIF", {"speed": 10}),
    "image/tiff": ("TIFF", {}),
    "image/gif": ("GIF", {}),
    "application/pdf": ("PDF", {}),
}
_VIDEOS = {"video/mp4": ".mp4", "video/quicktime": ".mov"}
FORMATS = (*_PICTURES, "image/svg+xml", *_VIDEOS, "audio/wav", "audio/mpeg")
TAMPERS = (
    "content",
    "statement",
    "claim",
    "signature",
    "certificate",
    "appended",
    "cut off",
    "other's manifest",
)


def sample(media_type: str, side: int, seed: int = 1) -> bytes:
    """Return a small file of a media type; pictures are side x side, sounds as many samples."""
    rng = np.random.default_rng(seed)
    if media_type == "image/svg+xml":
        lines = "".join(f'<rect x="{x}" width="{x % 7 + seed}" height="3"/>' for x in range(side))
        return f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">{lines}</svg>'.encode()
    out = io.BytesIO()
    if media_type == "audio/wav":
        with wave.open(out, "wb") as stream:
            stream.setnchannels(1)
            stream.setsampwidth(2)
            stream.setframerate(8000)
            stream.writeframes(rng.bytes(2 * side * side))
        return out.getvalue()
    if media_type == "audio/mpeg":
        # Frames of silence, 128 kbit/s at 44.1 kHz: 417 bytes each.
        return (b"\xff\xfb\x90\x00" + bytes(413)) * max(8, side * side // 417) + bytes([seed])
    if media_type in _VIDEOS:
        return _video(_VIDEOS[media_type], side, rng)
    from PIL import Image

    coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    kind, options = _PICTURES[media_type]
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(out, kind, **options)
    return out.getvalue()


def _video(suffix: str, side: int, rng: np.random.Generator) -> bytes:
    import tempfile
    from pathlib import Path

    import cv2

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (side, side))
        for _ in range(5):
            coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            writer.write(cv2.resize(coarse, (side, side)))
        writer.release()
        return path.read_bytes()


def tampered(how: str, signed: bytes, store: bytes, other: bytes) -> bytes | None:
    """Return a file after one kind of tampering; None where the kind cannot be done to it.

    `other` is the manifest store of another file, of the same length.
    """
    at = signed.find(store[:64])
    if how == "appended":
        return signed + b"\x00tampered" * 4
    if how == "cut off":
        return signed[:-9]
    if how == "content" and at < 0:  # a manifest in base64, in a file of text, or in blocks
        changed = signed.replace(b'height="3"', b'height="4"', 1)
        changed = changed if changed != signed else _touched(signed, 0, 0)
    elif how == "content":
        changed = _touched(signed, at, at + len(store))
    else:
        held = other if how == "other's manifest" else _changed(how, store)
        changed = _with_store(signed, store, held) if len(held) == len(store) else signed
    return None if changed == signed else changed


def _touched(signed: bytes, start: int, end: int) -> bytes:
    """Change a bit in the middle of the longer of what stands before and after the manifest: the content."""
    place = start // 2 if start > len(signed) - end else (end + len(signed)) // 2
    return signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :]


def _changed(how: str, store: bytes) -> bytes:
    """Return a manifest store with one bit of one of its parts changed, or a name in it turned around."""
    if how == "statement":
        return store.replace(MARK_ID.encode(), MARK_ID[::-1].encode())
    label = active_manifest(store)
    name = "c2pa.claim.v2" if how == "claim" else "c2pa.signature"
    part = find_content(store, label, name) or b""
    # The signature is the envelope's last value; the certificate stands in its protected header.
    at = {"claim": part.find(b"clearmark"), "signature": len(part) - 20, "certificate": len(part) // 8}[how]
    start = store.index(part) + at
    return store[:start] + bytes([store[start] ^ 1]) + store[start + 1 :]


def _with_store(signed: bytes, store: bytes, held: bytes) -> bytes:
    """Return the file with another manifest store of the same length in its place."""
    if signed[:6] in {b"GIF87a", b"GIF89a"}:
        return signed.replace(_gif_blocks(store), _gif_blocks(held))
    for one, new in ((store, held), (base64.b64encode(store), base64.b64encode(held))):
        at = signed.find(one)
        if at >= 0:
            changed = signed[:at] + new + signed[at + len(one) :]
            if signed.startswith(b"\x89PNG"):
                check = zlib.crc32(b"caBX" + new).to_bytes(4, "big")
                changed = changed[: at + len(new)] + check + changed[at + len(new) + 4 :]
            return changed
    return signed


def _gif_blocks(data: bytes) -> bytes:
    pieces = [data[at : at + 255] for at in range(0, len(data), 255)]
    return b"".join(bytes([len(piece)]) + piece for piece in pieces)


def measure(*, sides: Sequence[int] = (512, 2048), rounds: int = 5) -> dict[str, Any]:
    """Sign, read and tamper; return milliseconds by the clock and of the processor, and what was found."""
    ca = make_development_ca()
    signer = ManifestSigner.from_pem(ca.chain_pem, ca.key_pem)
    reader = CredentialReader(ca.root_pem)
    rows = [_times(kind, side, rounds, signer, reader) for kind in FORMATS for side in sides]
    found: dict[str, dict[str, bool | None]] = {}
    for media_type in FORMATS:
        found[media_type] = _tampers(media_type, signer, reader)
    cells = [cell for row in found.values() for cell in row.values() if cell is not None]
    return {
        "bench": "c2pa",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "times": rows,
        "tampering": found,
        "tampered": len(cells),
        "found": sum(cells),
    }


def _times(
    media_type: str, side: int, rounds: int, signer: ManifestSigner, reader: CredentialReader
) -> dict[str, Any]:
    data = sample(media_type, side)
    spec = ManifestSpec(mark_id=MARK_ID)
    signing, reading, working = [], [], []
    for _ in range(rounds):
        start, cpu = time.perf_counter(), time.process_time()
        signed = signer.sign(data, media_type, spec)
        middle = time.perf_counter()
        state = reader.read(signed.data, media_type).state
        working.append((time.process_time() - cpu) * 1e3)
        reading.append((time.perf_counter() - middle) * 1e3)
        signing.append((middle - start) * 1e3)
        if state != "trusted":
            raise RuntimeError(f"{media_type} of {side} reads as {state} right after it was signed")
    return {
        "media_type": media_type,
        "side": side,
        "bytes": len(data),
        "added_bytes": len(signed.data) - len(data),
        "sign_ms": round(statistics.median(signing), 1),
        "read_ms": round(statistics.median(reading), 1),
        "both_cpu_ms": round(statistics.median(working), 1),
    }


def _tampers(media_type: str, signer: ManifestSigner, reader: CredentialReader) -> dict[str, bool | None]:
    spec = ManifestSpec(mark_id=MARK_ID)
    signed = signer.sign(sample(media_type, 128), media_type, spec)
    other = signer.sign(sample(media_type, 128, seed=2), media_type, spec)
    out: dict[str, bool | None] = {}
    for how in TAMPERS:
        changed = tampered(how, signed.data, signed.mark.store, other.mark.store)
        out[how] = None if changed is None else reader.read(changed, media_type).state == "invalid"
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables (or one JSON document with `--json`); 1 when a tampered file was not found."""
    parser = argparse.ArgumentParser(prog="clearmark bench c2pa", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sides", type=int, nargs="*", default=[512, 2048])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments))
    report = measure(sides=options.sides, rounds=options.rounds)
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        _print(report)
    return 0 if report["found"] == report["tampered"] else 1


def _print(report: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.width = max(console.width, 120)
    table = Table(title="Content Credentials: median times", box=box.SIMPLE_HEAD)
    names = ("media_type", "side", "bytes", "added_bytes", "sign_ms", "read_ms", "both_cpu_ms")
    for name in names:
        table.add_column(name.replace("_", " "), justify="left" if name == "media_type" else "right")
    for row in report["times"]:
        table.add_row(*(f"{row[name]:,}" if name != "media_type" else row[name] for name in names))
    console.print(table)
    table = Table(title=f"Tampering found: {report['found']} of {report['tampered']}", box=box.SIMPLE_HEAD)
    table.add_column("format")
    words: Callable[[bool | None], str] = lambda cell: {True: "found", False: "MISSED", None: "-"}[cell]  # noqa: E731
    for how in TAMPERS:
        table.add_column(how)
    for media_type, row in report["tampering"].items():
        table.add_row(media_type, *(words(row[how]) for how in TAMPERS))
    console.print(table)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Error as failed:
        sys.exit(failed.diagnostics())
