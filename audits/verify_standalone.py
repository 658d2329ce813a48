#!/usr/bin/env python3
"""Check a receipt of a picture log with nothing but the standard library of Python 3.9 or later.

    python verify_standalone.py RECEIPT --key VERIFIER_KEY [--event EVENT.json] [--witness KEY ...] [--json]
    python verify_standalone.py EXPORT.jsonl --key VERIFIER_KEY [--witness KEY ...] [--json]

RECEIPT is a C2SP tlog-proof: an entry's index, its inclusion proof (RFC 6962) and a signed checkpoint of the
log. VERIFIER_KEY is the log's published key (`name+id+base64`), or a file that holds it. With EVENT, the
recorded JSON of the event, it is checked that this very event is the entry; without, that the entry whose
hash the receipt names is in the log. Each witness must have cosigned the checkpoint (C2SP tlog-cosignature).
An EXPORT holds many events with their proofs. Exit code: 0 it holds, 1 it does not, 2 the call or a file is
unusable.

This file imports nothing of the program that keeps the log, and can be read in full by whoever must trust it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

MAX_BYTES = 4_000_000
EXPORT = "clearmark ledger export v2"

Point = tuple[int, int, int, int]

# --- Ed25519 (RFC 8032, section 5.1); verification only, so nothing here is secret ---

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def _add(a: Point, b: Point) -> Point:
    """Add two points in extended coordinates (X, Y, Z, T)."""
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g = 2 * a[3] * b[3] * D % P
    h = 2 * a[2] * b[2] % P
    return ((f - e) * (h - g) % P, (h + g) * (f + e) % P, (h - g) * (h + g) % P, (f - e) * (f + e) % P)


def _times(scalar: int, point: Point) -> Point:
    total = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = _add(total, point)
        point = _add(point, point)
        scalar >>= 1
    return total


def _same(a: Point, b: Point) -> bool:
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def _point(raw: bytes) -> Point | None:
    """Decompress 32 bytes into a point; None when they are none."""
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * SQRT_M1 % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = _point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little")) or (0, 0, 0, 0)


def ed25519_verify(public: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether `signature` (64 bytes) over `message` was made with the key of `public` (32 bytes)."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, commitment = _point(public), _point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or s >= L:
        return False
    # A key of small order would accept signatures that nobody made.
    if _same(_times(8, key), (0, 1, 1, 0)):
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(digest, "little") % L
    return _same(_times(s, BASE), _add(commitment, _times(challenge, key)))


# --- ML-DSA-44 (FIPS 204, algorithm 3 with an empty context); verification only ---

Q = 8380417
ZETAS = [pow(1753, int(f"{k:08b}"[::-1], 2), Q) for k in range(256)]
LOW = 2 * ((Q - 1) // 88)
Z_BOUND = 2**17


def _ntt(poly: list[int]) -> list[int]:
    """Transform in place (algorithm 41)."""
    m, length = 0, 128
    while length:
        for start in range(0, 256, 2 * length):
            m += 1
            for j in range(start, start + length):
                t = ZETAS[m] * poly[j + length] % Q
                poly[j + length] = (poly[j] - t) % Q
                poly[j] = (poly[j] + t) % Q
        length //= 2
    return poly


def _inverse_ntt(poly: list[int]) -> list[int]:
    """Transform back (algorithm 42)."""
    m, length = 256, 1
    while length < 256:
        for start in range(0, 256, 2 * length):
            m -= 1
            for j in range(start, start + length):
                t = poly[j]
                poly[j] = (t + poly[j + length]) % Q
                poly[j + length] = ZETAS[m] * (poly[j + length] - t) % Q
        length *= 2
    return [value * 8347681 % Q for value in poly]


def _unpack(raw: bytes, bits: int) -> list[int]:
    """Split bytes into little-endian fields of some bits."""
    number, mask = int.from_bytes(raw, "little"), (1 << bits) - 1
    return [number >> at & mask for at in range(0, 8 * len(raw), bits)]


def _uniform(seed: bytes) -> list[int]:
    """Sample a polynomial, transformed (algorithm 30)."""
    poly: list[int] = []
    stream, at = hashlib.shake_128(seed).digest(1344), 0
    while len(poly) < 256:
        if at + 3 > len(stream):
            stream = hashlib.shake_128(seed).digest(2 * len(stream))
        value = stream[at] | stream[at + 1] << 8 | (stream[at + 2] & 127) << 16
        at += 3
        if value < Q:
            poly.append(value)
    return poly


def _ball(seed: bytes) -> list[int]:
    """Sample the challenge: 39 coefficients of 1 or -1 (algorithm 29)."""
    stream, poly, at = hashlib.shake_256(seed).digest(1024), [0] * 256, 8
    signs = int.from_bytes(stream[:8], "little")
    for i in range(217, 256):
        while stream[at] > i:
            at += 1
        poly[i], poly[stream[at]] = poly[stream[at]], -1 if signs & 1 else 1
        signs >>= 1
        at += 1
    return poly


def _hints(raw: bytes) -> list[set[int]] | None:
    """Decode the hints (algorithm 21); None when they are not in their one canonical form."""
    found, at = [], 0
    for end in raw[80:]:
        places = list(raw[at:end])
        if not at <= end <= 80 or sorted(set(places)) != places:
            return None
        found.append(set(places))
        at = end
    return None if any(raw[at:80]) else found


def _high(value: int, hint: bool) -> int:
    """Return the high bits of a coefficient, corrected by its hint (algorithms 36 and 40)."""
    low = value % LOW
    low -= LOW if low > LOW // 2 else 0
    if value - low == Q - 1:
        high, low = 0, low - 1
    else:
        high = (value - low) // LOW
    return (high + (1 if low > 0 else -1)) % 44 if hint else high


def mldsa44_verify(public: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether `signature` over `message` was made with the key of `public`."""
    if len(public) != 1312 or len(signature) != 2420:
        return False
    z = [[Z_BOUND - v for v in _unpack(signature[a : a + 576], 18)] for a in range(32, 2336, 576)]
    hints = _hints(signature[2336:])
    if hints is None or any(abs(value) >= Z_BOUND - 78 for poly in z for value in poly):
        return False
    z = [_ntt(poly) for poly in z]
    challenge = _ntt(_ball(signature[:32]))
    packed = 0
    for r in range(4):
        t1 = _ntt([value << 13 for value in _unpack(public[32 + 320 * r : 352 + 320 * r], 10)])
        row = [_uniform(public[:32] + bytes([s, r])) for s in range(4)]
        product = [
            (sum(row[s][j] * z[s][j] for s in range(4)) - challenge[j] * t1[j]) % Q for j in range(256)
        ]
        for j, value in enumerate(_inverse_ntt(product)):
            packed |= _high(value, j in hints[r]) << 6 * (256 * r + j)
    prefix = hashlib.shake_256(public).digest(64) + b"\0\0"
    mu = hashlib.shake_256(prefix + message).digest(64)
    return hashlib.shake_256(mu + packed.to_bytes(768, "little")).digest(32) == signature[:32]


# --- The formats ---


class Refused(Exception):
    """The receipt does not hold, and why."""


class Unusable(Exception):
    """What was given cannot be read at all."""


def unbase64(text: str) -> bytes:
    """Decode standard base64, in its one canonical spelling."""
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError as exc:
        raise Refused("something that should be base64 is not") from exc
    if base64.b64encode(raw).decode() != text:
        raise Refused("something is not canonical base64")
    return raw


KEY_SIZES = {1: 33, 4: 33, 6: 1313}
"""Length of a key with its type byte: 1 for logs, 4 for witnesses, 6 for ML-DSA-44 of either."""


def read_key(text: str, kinds: tuple[int, ...] = (1,)) -> tuple[str, bytes, bytes]:
    """Return (name, id, public key with its type byte) of a verifier key of one of these kinds."""
    try:
        name, hexed, encoded = text.strip().split("+", 2)
        raw = base64.b64decode(encoded.encode("ascii"), validate=True)
    except ValueError as exc:
        raise Unusable("that is no verifier key: it looks like name+1a2b3c4d+AQ...") from exc
    key_id = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
    if not raw or raw[0] not in kinds or len(raw) != KEY_SIZES[raw[0]] or key_id.hex() != hexed:
        raise Unusable("that is no verifier key of the right kind, or it is damaged")
    return name, key_id, raw


def open_note(note: str, key: tuple[str, bytes, bytes]) -> str:
    """Return the text of a note that `key` signed."""
    name, key_id, public = key
    if re.search("[\x00-\x09\x0b-\x1f]", note) or not note.endswith("\n"):
        raise Refused("the checkpoint is not a signed note")
    text, gap, tail = note.rpartition("\n\n")
    if not gap or not text:
        raise Refused("the checkpoint has no signature")
    text += "\n"
    good = False
    lines = tail[:-1].split("\n")
    if len(lines) > 64:
        raise Refused("the checkpoint has too many signatures")
    for line in lines:
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014" or not parts[1] or "+" in parts[1]:
            raise Refused("a signature line of the checkpoint is malformed")
        raw = unbase64(parts[2])
        if parts[1] == name and raw[:4] == key_id:
            if not ed25519_verify(public[1:], raw[4:], text.encode()):
                raise Refused(f"the signature of {name} is wrong")
            good = True
    if not good:
        raise Refused(f"the checkpoint is not signed by {name}")
    return text


def open_checkpoint(note: str, key: tuple[str, bytes, bytes]) -> tuple[int, bytes]:
    """Return (tree size, root) of a signed checkpoint of the log that `key` belongs to."""
    name = key[0]
    text = open_note(note, key)
    head = text.split("\n")[:-1]
    if len(head) < 3 or not all(head) or not re.fullmatch("0|[1-9][0-9]{0,18}", head[1]):
        raise Refused("the signed note is not a checkpoint")
    root = unbase64(head[2])
    if len(root) != 32 or head[0] != name:
        raise Refused(f"the signed note is not a checkpoint of {name}")
    return int(head[1]), root


def check_witnesses(note: str, keys: list[str]) -> None:
    """Check that every witness cosigned a note that was opened before. Raises Refused."""
    text, _, tail = note.rpartition("\n\n")
    for name, key_id, public in [read_key(key, (4, 6)) for key in keys]:
        good = False
        for line in tail.split("\n")[:-1]:
            raw = unbase64(line.split(" ")[2])
            if line.split(" ")[1] == name and raw[:4] == key_id and len(raw) > 12:
                stamp, signature = raw[4:12], raw[12:]
                if public[0] == 4:
                    message = f"cosignature/v1\ntime {int.from_bytes(stamp, 'big')}\n{text}\n".encode()
                    good = good or ed25519_verify(public[1:], signature, message)
                else:
                    message = _cosigned_message(name, stamp, text)
                    good = good or mldsa44_verify(public[1:], signature, message)
        if not good:
            raise Refused(f"the checkpoint is not cosigned by {name}")


def _cosigned_message(name: str, stamp: bytes, text: str) -> bytes:
    """Return what an ML-DSA-44 cosignature over a checkpoint is over (C2SP tlog-cosignature)."""
    origin, size, root = text.split("\n")[:3]
    parts = [name.encode(), origin.encode()]
    if not all(1 <= len(part) < 256 for part in parts):
        raise Refused("a name in the checkpoint is too long")
    signer, log = (bytes([len(part)]) + part for part in parts)
    whole = bytes(8) + int(size).to_bytes(8, "big")
    return b"subtree/v1\n\0" + signer + stamp + log + whole + unbase64(root)


def read_proof(text: str) -> tuple[dict[str, Any], int, list[bytes], str]:
    """Return (extra, index, proof hashes, checkpoint note) of a tlog-proof."""
    head, gap, note = text.partition("\n\n")
    lines = head.split("\n")
    if not gap or lines[0] != "c2sp.org/tlog-proof@v1":
        raise Unusable("that is no tlog-proof")
    lines = lines[1:]
    extra: Any = {}
    if lines and lines[0].startswith("extra "):
        try:
            extra = json.loads(unbase64(lines.pop(0)[6:]))
        except (ValueError, RecursionError) as exc:
            raise Unusable("the extra line of the receipt is not JSON") from exc
    index = re.fullmatch("index (0|[1-9][0-9]{0,18})", lines[0]) if lines else None
    if index is None or not isinstance(extra, dict):
        raise Unusable("that is no tlog-proof of a picture log")
    if len(lines) > 64:
        raise Refused("the proof is longer than any tree is high")
    return extra, int(index.group(1)), [unbase64(line) for line in lines[1:]], note


def hash_node(left: bytes, right: bytes) -> bytes:
    """Hash two children (RFC 6962)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def leads_to(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> bool:
    """Check an inclusion proof (RFC 9162, section 2.1.3.2)."""
    if index >= size or any(len(item) != 32 for item in proof):
        return False
    at, last, top = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            top = hash_node(sibling, top)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            top = hash_node(top, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and top == root


def event_hashes(raw: bytes) -> tuple[set[bytes], Any]:
    """Return the possible leaf hashes of an event file (its bytes, their canonical form), and its JSON."""
    candidates = [raw, raw.rstrip(b"\r\n")]
    value: Any = None
    try:
        # Recorded events hold no floats and have ASCII keys, for which this is RFC 8785.
        value = json.loads(raw.decode("utf-8"), parse_float=_no_floats)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        candidates.append(text.encode("utf-8"))
    except (ValueError, RecursionError):
        pass
    return {hashlib.sha256(b"\x00" + item).digest() for item in candidates}, value


def _no_floats(text: str) -> Any:
    raise ValueError("a recorded event holds no floats: " + text[:20])


def check_export(path: str, verifier_key: str, witnesses: list[str]) -> dict[str, Any]:
    """Check every line of an export; return what was found out. Raises Refused or Unusable."""
    key = read_key(verifier_key)
    with Path(path).open("rb") as stream:
        line = stream.readline(MAX_BYTES)
        digest = hashlib.sha256(line)
        first = _row(line)
        note = first.get("checkpoint")
        if first.get("format") != EXPORT or not isinstance(note, str):
            raise Unusable("that is no export of a picture log")
        size, root = open_checkpoint(note, key)
        check_witnesses(note, witnesses)
        last = -1
        for count, line in enumerate(iter(lambda: stream.readline(MAX_BYTES), b"")):
            row = _row(line)
            if "events" in row:
                # The seal is over the number of events and all lines before; its text is no checkpoint's.
                text = f"{key[0]}/export\n{count}\n{base64.b64encode(digest.digest()).decode()}\n"
                seal = row.get("seal")
                sealed = isinstance(seal, str) and open_note(seal, key) == text
                if not sealed or row["events"] != count or stream.read(1):
                    raise Refused("the export is not what was sealed, or not all of it")
                return {"ok": True, "log": key[0], "events": count, "tree_size": size, "root": root.hex()}
            if not _row_holds(row, size, root):
                raise Refused(f"event {count + 1} of the export is not in the log as it stands there")
            if row["seq"] <= last:
                raise Refused(f"event {count + 1} of the export is out of its order")
            last = row["seq"]
            digest.update(line)
    raise Refused("the export was cut short")


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise Refused("a line of the export is not JSON") from exc
    if not isinstance(row, dict):
        raise Refused("a line of the export is not an object")
    return row


def _row_holds(row: dict[str, Any], size: int, root: bytes) -> bool:
    try:
        leaf = bytes.fromhex(row["leaf_hash"])
        if "pruned" not in row:
            raw = row["envelope"].encode()
            same = hashlib.sha256(b"\x00" + raw).digest() == leaf
            if not same or json.loads(raw)["event_id"] != row["event_id"]:
                return False
        proof = [bytes.fromhex(item) for item in row["proof"][:64]]
        return row["seq"] >= 0 and leads_to(leaf, row["seq"], size, proof, root)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return False


def check(
    receipt: str, verifier_key: str, event: bytes | None = None, witnesses: list[str] | None = None
) -> dict[str, Any]:
    """Check everything; return what was found out. Raises Refused or Unusable."""
    key = read_key(verifier_key)
    extra, index, proof, note = read_proof(receipt)
    size, root = open_checkpoint(note, key)
    check_witnesses(note, witnesses or [])
    named = extra.get("leaf_hash")
    if event is not None:
        hashes, value = event_hashes(event)
        for leaf in hashes:
            if leads_to(leaf, index, size, proof, root):
                break
        else:
            raise Refused(f"this event is not entry {index} of the log")
        event_id = value.get("event_id") if isinstance(value, dict) else None
        if extra.get("event_id") not in (None, event_id):
            raise Refused("the receipt names another event than the one it proves")
    else:
        if not isinstance(named, str) or not re.fullmatch("[0-9a-f]{64}", named):
            raise Unusable("the receipt names no hash; give the event with --event")
        leaf, event_id = bytes.fromhex(named), extra.get("event_id")
        if not leads_to(leaf, index, size, proof, root):
            raise Refused("the proof does not lead to the signed root")
    return {
        "ok": True,
        "log": key[0],
        "index": index,
        "tree_size": size,
        "root": root.hex(),
        "leaf_hash": leaf.hex(),
        "event_id": event_id,
        "event_checked": event is not None,
    }


def _is_export(path: str) -> bool:
    try:
        with Path(path).open("rb") as stream:
            return stream.read(1) == b"{"
    except OSError as exc:
        raise Unusable(f"{path}: {exc.strerror}") from exc


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as exc:
        raise Unusable(f"{path}: {exc.strerror}") from exc
    if len(raw) > MAX_BYTES:
        raise Unusable(f"{path} is too large")
    return raw


def _read_text(path: str) -> str:
    try:
        return _read(path).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise Unusable(f"{path} is not text") from exc


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("receipt", help="the .tlog-proof file, or an export")
    parser.add_argument("--key", required=True, help="the log's verifier key, or a file that holds it")
    parser.add_argument("--event", help="the recorded event, as JSON")
    parser.add_argument(
        "--witness",
        action="append",
        default=[],
        help="key, or a file that holds it, that must have cosigned: of a witness, or the log's second key",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(argv)
    try:
        key = options.key if options.key.count("+") >= 2 else _read_text(options.key)
        also = [text if text.count("+") >= 2 else _read_text(text) for text in options.witness]
        if _is_export(options.receipt):
            found = check_export(options.receipt, key, also)
        else:
            event = _read(options.event) if options.event else None
            found = check(_read_text(options.receipt), key, event, also)
        code = 0
    except (Refused, Unusable) as exc:
        found, code = {"ok": False, "problem": str(exc)}, 1 if isinstance(exc, Refused) else 2
    if options.json:
        print(json.dumps(found, sort_keys=True))
    elif code:
        print(f"NOT VERIFIED: {found['problem']}", file=sys.stderr)
    elif "events" in found:
        print(f"verified: {found['events']} events in the log {found['log']} of {found['tree_size']} entries")
    else:
        what = "this event" if found["event_checked"] else f"the entry with hash {found['leaf_hash']}"
        print(f"verified: {what} is entry {found['index']} of {found['tree_size']} in the log {found['log']}")
        print(f"event {found['event_id']}, root {found['root']}")
        if not found["event_checked"]:
            print(
                "The event itself was not given; the id above is what the receipt says, not what was proven."
            )
    return code


if __name__ == "__main__":
    sys.exit(main())
