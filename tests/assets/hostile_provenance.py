"""Hostile files for the verifier: bombs, nests, lies about lengths, cut and mutated pictures.

As a program it sends many of them through `Verifier` and prints what came back::

    python tests/assets/hostile_provenance.py --count 10000
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

_UUIDS = {
    name: name.encode() + bytes.fromhex("00110010800000aa00389b71")
    for name in ("c2pa", "c2ma", "c2as", "c2cl", "c2cs", "cbor", "json")
}
_LABEL = "urn:c2pa:00000000-0000-4000-8000-000000000000"
_EMPTY_SIGNATURE = b"\xd2\x84\x40\xa0\xf6\x40"


def picture(kind: str = "PNG", side: int = 160) -> bytes:
    """Return a small smooth picture."""
    y, x = np.mgrid[:side, :side]
    waves = [128 + 100 * np.sin(x / 9), 128 + 90 * np.cos(y / 7), (x + y) % 256]
    out = io.BytesIO()
    Image.fromarray(np.stack(waves, -1).astype(np.uint8)).save(out, kind)
    return out.getvalue()


def box(kind: bytes, content: bytes) -> bytes:
    """Return an ISO box."""
    return struct.pack(">I4s", len(content) + 8, kind) + content


def superbox(kind: str, label: str, *content: bytes) -> bytes:
    """Return a JUMBF superbox with its description."""
    description = _UUIDS[kind] + b"\x03" + label.encode() + b"\x00"
    return box(b"jumb", box(b"jumd", description) + b"".join(content))


def manifest(claim: bytes, *, label: str = _LABEL, signature: bytes = _EMPTY_SIGNATURE) -> bytes:
    """Return a manifest that is well formed outside and whatever is asked for inside."""
    return superbox(
        "c2ma",
        label,
        superbox("c2as", "c2pa.assertions", superbox("cbor", "a.b", box(b"cbor", b"\xa0"))),
        superbox("c2cl", "c2pa.claim.v2", box(b"cbor", claim)),
        superbox("c2cs", "c2pa.signature", box(b"cbor", signature)),
    )


def png_with(chunk: bytes, content: bytes) -> bytes:
    """Return a picture with one chunk more, after its header."""
    data = picture()
    body = chunk + content
    return (
        data[:33] + struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]
    )


def store(*manifests: bytes) -> bytes:
    """Return a PNG with a manifest store of these manifests."""
    return png_with(b"caBX", superbox("c2pa", "c2pa", *manifests))


def nested(depth: int) -> bytes:
    """Return superboxes inside superboxes."""
    description = box(b"jumd", _UUIDS["c2ma"] + b"\x03a\x00")
    lengths = [(number + 1) * (8 + len(description)) for number in range(depth)]
    return b"".join(struct.pack(">I4s", length, b"jumb") + description for length in reversed(lengths))


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that says its size and holds no picture."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"\x00\x00\x00\x00IEND\xaeB`\x82"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + end


def xmp(text: bytes) -> bytes:
    """Return a PNG with `text` as its XMP packet."""
    return png_with(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + text)


CORPUS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "boxes nested 100,000 deep": lambda: store(nested(100_000)),
    "CBOR arrays nested 100,000 deep": lambda: store(manifest(b"\x81" * 100_000 + b"\x00")),
    "CBOR maps nested 100,000 deep": lambda: store(manifest(b"\xa1\x61a" * 100_000 + b"\x00")),
    "CBOR tags nested 100,000 deep": lambda: store(manifest(b"\xc1" * 100_000 + b"\x00")),
    "CBOR array of 2**47 items": lambda: store(manifest(b"\x9b\x00\x00\x7f\xff\xff\xff\xff\xff")),
    "CBOR bytes of 2**47": lambda: store(manifest(b"\x5b\x00\x00\x7f\xff\xff\xff\xff\xff")),
    "signature nested 100,000 deep": lambda: store(manifest(b"\xa0", signature=b"\x81" * 100_000)),
    "5,000 manifests": lambda: store(
        *(manifest(b"\xa0", label=f"{_LABEL[:-6]}{number:06x}") for number in range(5000))
    ),
    "two manifest stores": lambda: png_with(b"caBX", superbox("c2pa", "c2pa", manifest(b"\xa0")) * 2),
    "a store that is no box": lambda: png_with(b"caBX", b"\xff" * 5000),
    "a box longer than the file": lambda: png_with(b"caBX", struct.pack(">I4s", 2**31, b"jumb")),
    "header of 2**31 pixels a side": lambda: png_header(2**31 - 1, 2**31 - 1),
    "header of 60,000 pixels a side": lambda: png_header(60_000, 60_000),
    "header without a picture": lambda: png_header(10, 10),
    "XMP with a billion laughs": lambda: xmp(
        b'<!DOCTYPE a [<!ENTITY b "cccccccccc">'
        + b"".join(b'<!ENTITY b%d "%s">' % (n, b"&b%d;" % (n - 1) * 10) for n in range(1, 10))
        + b"]><a>&b9;</a>"
    ),
    "XMP nested 50,000 deep": lambda: xmp(b"<a>" * 50_000 + b"</a>" * 50_000),
    "XMP that points outside": lambda: xmp(b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>'),
    "XMP bomb": lambda: png_with(
        b"iTXt", b"XML:com.adobe.xmp\x00\x01\x00\x00\x00" + zlib.compress(b" " * 50_000_000, 9)
    ),
    "text bomb": lambda: png_with(b"zTXt", b"AIGC\x00\x00" + zlib.compress(b" " * 50_000_000, 9)),
    "100,000 chunks": lambda: picture()[:33] + b"\x00\x00\x00\x00aaAA\x00\x00\x00\x00" * 100_000,
    "JPEG of segments": lambda: b"\xff\xd8" + b"\xff\xeb\x00\x02" * 200_000,
    "JPEG of fill bytes": lambda: b"\xff\xd8" + b"\xff" * 3_000_000,
    "WebP with a wrong length": lambda: b"RIFF\xff\xff\xff\xffWEBPVP8X\xff\xff\xff\xff" + b"\x00" * 64,
    "PNG and ZIP": lambda: picture() + b"PK\x03\x04" + b"\x00" * 4000,
    "PNG and PDF": lambda: picture() + b"%PDF-1.4\n%%EOF",
    "GIF of nothing": lambda: b"GIF89a" + b"\xff" * 4000,
    "TIFF that points at itself": lambda: b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00" * 50,
    "AVIF of nothing": lambda: b"\x00\x00\x00\x1cftypavif" + b"\x00" * 4000,
    "60,000 boxes": lambda: b"\x00\x00\x00\x14ftypavif\x00\x00\x00\x00avif" + box(b"moov", b"") * 60_000,
    "60,000 RIFF chunks": lambda: (
        b"RIFF" + struct.pack("<I", 480_004) + b"WEBP" + b"abcd\x00\x00\x00\x00" * 60_000
    ),
    "60,000 GIF blocks": lambda: b"GIF89a\x01\x00\x01\x00\x00\x00\x00" + b"\x21\xfe\x01a\x00" * 60_000,
    "65,000 TIFF tags": lambda: (
        b"II*\x00\x08\x00\x00\x00\xe8\xfd" + b"\x01\x01\x03\x00\xff\xff\xff\x7f\x08\x00\x00\x00" * 65_000
    ),
    "JPEG with 3 MB between segments": lambda: b"\xff\xd8\xff" + b"\x00" * 3_000_000,
    "JPEG of 40,000 scans": lambda: (
        picture("JPEG")[:-2] + picture("JPEG")[-400:-2] * 2 + b"\xff\xda" * 40_000
    ),
    "SVG that never ends": lambda: b"<svg " + b"a='b' " * 50_000,
    "PDF of nothing": lambda: b"%PDF-1.7\n" + b"1 0 obj <<" * 20_000,
}
"""Files with a name each; none of them has provenance that holds."""


def mutations(sources: list[bytes], seed: int) -> Iterator[bytes]:
    """Yield damaged files without end: bytes changed, runs cut out, doubled or exchanged, ends cut off."""
    rng = random.Random(seed)
    while True:
        data = bytearray(rng.choice(sources))
        for _ in range(rng.randint(1, 8)):
            if len(data) < 8:
                break
            # Headers and manifests stand in front; most of the damage goes there.
            limit = len(data) if rng.random() < 0.3 else min(len(data), 6000)
            at = rng.randrange(limit)
            size = rng.choice((1, 1, 1, 2, 4, 8, 64))
            action = rng.randrange(5)
            if action == 0:
                data[at : at + size] = rng.randbytes(size)
            elif action == 1:
                del data[at : at + size]
            elif action == 2:
                data[at:at] = data[at : at + size]
            elif action == 3:
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            else:
                data[at : at + 4] = struct.pack(">I", rng.choice((0, 1, 2**31 - 1, 2**32 - 1)))
        if rng.random() < 0.1:
            del data[rng.randrange(len(data) + 1) :]
        yield bytes(data)


def read_marks(pixels: np.ndarray) -> list[Any]:
    """Read the watermark that `marked_pictures` writes, and no other: the search for others takes longer."""
    from clearmark.provenance.watermark import Found, get_codec

    found = get_codec("dwt-dct-svd").extract([pixels])[0]
    return [Found(codec="dwt-dct-svd", mark_id=found.mark_id, confidence=found.confidence)] if found else []


def marked_pictures() -> tuple[bytes, list[bytes]]:
    """Return the root to trust, and one picture of every media type with all layers."""
    from clearmark.core import Asset, Origin
    from clearmark.provenance import (
        LabelSettings,
        LedgerRef,
        ManifestSigner,
        Marker,
        MarkJob,
        MetadataSettings,
        make_development_ca,
        new_mark_id,
    )
    from clearmark.provenance.watermark import get_codec

    credentials = make_development_ca()
    marker = Marker(
        signer=ManifestSigner.from_pem(credentials.chain_pem, credentials.key_pem),
        codec=get_codec("dwt-dct-svd"),
        label=LabelSettings(),
        metadata=MetadataSettings(),
    )
    jobs = [
        MarkJob(
            asset=Asset(data=picture(kind), media_type=media_type, origin=Origin(generator="reference")),
            mark_id=new_mark_id(),
            ledger=LedgerRef(event_id="018f", leaf_hash="00" * 32, log="log.example"),
        )
        for media_type, kind in (("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/webp", "WEBP"))
    ]
    return credentials.root_pem, [marked.asset.data for marked in marker.mark(jobs)]


def main() -> None:
    """Fuzz the verifier and print exit codes, the slowest file and the memory used."""
    from clearmark.provenance import Verifier, conclude

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every-codec", action="store_true", help="search for watermarks of every codec")
    options = parser.parse_args()
    root, sources = marked_pictures()
    verifier = Verifier(root, extract=None if options.every_codec else read_marks)
    codes: Counter[int] = Counter()
    slowest = (0.0, "")
    stream = mutations(sources, options.seed)
    files = [*((name, make()) for name, make in CORPUS.items())]
    for number in range(options.count):
        name, data = files[number] if number < len(files) else (f"mutation {number}", next(stream))
        started = time.process_time()
        found = verifier.verify([data])[0]
        json.dumps(found.to_dict())
        conclude(found)
        slowest = max(slowest, (time.process_time() - started, name))
        codes[found.exit_code] += 1
    report = {
        "files": options.count,
        "exit_codes": dict(sorted(codes.items())),
        "slowest_s": round(slowest[0], 3),
        "slowest": slowest[1],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
