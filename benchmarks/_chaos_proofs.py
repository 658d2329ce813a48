"""Forged proofs and notes by the million against our own verifier: what is accepted must be true.

Receipts, checkpoints, inclusion and consistency proofs of real ledgers are changed as text, as JSON and as
values. A change that is accepted counts as accepted only where it claims something that is not so: another
leaf, place, size or root than the log's own, or an event that is not the one given. What says the same in
other words is counted apart. The bare proofs are checked against a size and root that somebody signed, so
only what an attacker gives is changed there: a proof by itself binds no size (RFC 9162, section 2.1.3.2).
"""

from __future__ import annotations

import dataclasses
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearmark.audits import NoteSigner, Receipt
from clearmark.audits.ledger._merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    hash_leaf,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from clearmark.audits.ledger._notes import parse_checkpoint
from clearmark.benchmarks._chaos_ledgers import filled, opened
from clearmark.core.errors import Error

__all__ = ["LAYERS", "proofs"]

LEDGERS = 3
RECEIPTS = 60
_ODD = ("\n", " ", "\r", "=", "A", "\x00", "\u2014", "\u00a0")
_NUMBER = re.compile(r"(index )?[0-9]+")
_DIGITS = ("0", "00", "+1", "-1", "1e1", "0x1", " 1", "\uff11", "\u0661", str(1 << 63), str(1 << 64), "")


@dataclass(frozen=True)
class Log:
    """One log: what it holds, so that any claim about it can be judged, and genuine proofs to change."""

    signer: NoteSigner
    leaves: list[bytes]
    roots: list[bytes]
    heads: dict[int, str]
    receipts: list[Receipt]
    envelopes: dict[str, bytes]
    growth: list[tuple[int, int, list[bytes]]]
    """Sizes, and the proof that the log of the first is the beginning of that of the second."""

    def holds(self, leaf: bytes, seq: int, size: int, root: bytes) -> bool:
        """Whether leaf `seq` of the log is `leaf`, and `root` its root at `size`."""
        inside = 0 <= seq < size < len(self.roots)
        return inside and self.leaves[seq] == leaf and self.roots[size] == root


def _log(folder: Path, seed: int) -> Log:
    rng = random.Random(seed)  # noqa: S311  repeatable, not secret
    signer = NoteSigner.generate("example.com/pictures")
    with opened(folder / "ledger.db", signer) as ledger:
        filled(ledger, rng.randint(200, 700), rng)
        events = list(ledger.events())
        receipts = [ledger.receipt(event.event_id) for event in rng.sample(events, RECEIPTS)]
    edge, leaves = Frontier(), [bytes.fromhex(event.leaf_hash) for event in events]
    roots = [edge.root()]
    for leaf in leaves:
        edge.append(leaf)
        roots.append(edge.root())
    heads = {receipt.tree_size: receipt.root for receipt in receipts}
    envelopes = {event.event_id: event.envelope for event in events}
    growth = []
    for _ in range(RECEIPTS):
        one, two = sorted(rng.sample(range(1, len(roots)), 2))
        growth.append((one, two, consistency_proof(one, two, lambda level, at: _node(leaves, level, at))))
    return Log(signer, leaves, roots, heads, receipts, envelopes, growth)


def _node(leaves: Sequence[bytes], level: int, index: int) -> bytes:
    return root_of(leaves[index << level : (index + 1) << level])


# Each layer changes one genuine thing, asks the verifier, and returns whether it was accepted and whether
# what it then claims is true; None where the change came out as no change.
Outcome = tuple[bool, bool] | None
Layer = Callable[[Log, random.Random], Outcome]


def _changed_text(text: str, others: Sequence[str], rng: random.Random) -> str:
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if rng.random() < 0.45:
            text = _changed_characters(text, rng)
        else:
            text = "\n".join(_changed_lines(text.split("\n"), rng.choice(others).split("\n"), rng))
    return text


def _changed_characters(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text) + 1)
    match rng.randrange(5):
        case 0:
            return text[:place]
        case 1:
            return text[:place] + rng.choice(_ODD) + text[place:]
        case _:
            raw = bytearray(text.encode() or b"x")
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
            return raw.decode("utf-8", "replace")


def _changed_lines(lines: list[str], theirs: Sequence[str], rng: random.Random) -> list[str]:
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(7):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[other])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines[at] = theirs[min(at, len(theirs) - 1)]
        case 4:
            lines[at] = lines[at].swapcase()
        case 5:
            lines.append(theirs[-2])
        case _:
            numbered = [n for n, line in enumerate(lines) if _NUMBER.fullmatch(line)]
            for at in rng.sample(numbered, min(1, len(numbered))):
                head, gap, number = lines[at].rpartition(" ")
                value = str(int(number) + rng.choice((-2, -1, 1, 2, 256)))
                lines[at] = head + gap + (value if rng.random() < 0.6 else rng.choice(_DIGITS))
    return lines


def _judge(log: Log, receipt: Receipt, rng: random.Random) -> tuple[bool, bool]:
    """Verify a receipt, half of the time for the bytes of an event, and judge what it claims."""
    envelope = log.envelopes.get(receipt.event_id) if rng.random() < 0.5 else None
    accepted = receipt.verify(log.signer.verifier_key, envelope=envelope)
    leaf, root = bytes.fromhex(receipt.leaf_hash), bytes.fromhex(receipt.root)
    true = log.holds(leaf, receipt.seq, receipt.tree_size, root)
    return accepted, true and (envelope is None or hash_leaf(envelope) == leaf)


def _receipt_text(log: Log, rng: random.Random) -> Outcome:
    genuine = rng.choice(log.receipts).text
    text = _changed_text(genuine, [rng.choice(log.receipts).text], rng)
    if text == genuine:
        return None
    return _judge(log, Receipt.parse(text), rng)


def _receipt_json(log: Log, rng: random.Random) -> Outcome:
    genuine = rng.choice(log.receipts).to_dict()
    other = rng.choice(log.receipts).to_dict()
    row = dict(genuine)
    name = rng.choice(list(row))
    match rng.randrange(4):
        case 0:
            row[name] = other[name]
        case 1:
            row[name] = rng.choice((None, -1, 0, 1.5, "", "x", [], {}, True, 1 << 70))
        case 2:
            proof = list(row["proof"])
            at = rng.randrange(len(proof) + 1)
            proof[at:at] = [rng.choice((*other["proof"], row["root"], row["leaf_hash"]))]
            row["proof"] = proof if rng.random() < 0.5 else proof[: rng.randrange(len(proof))]
        case _:
            row["seq"] += rng.choice((-1, 1, 2, 64, 256))
            row["tree_size"] += rng.choice((0, 0, 1, -1))
    if row == genuine:
        return None
    return _judge(log, Receipt.from_dict(row), rng)


def _receipt_values(log: Log, rng: random.Random) -> Outcome:
    genuine, other = rng.choice(log.receipts), rng.choice(log.receipts)
    names = rng.sample([field.name for field in dataclasses.fields(Receipt)], rng.randint(1, 3))
    changed = dataclasses.replace(genuine, **{name: getattr(other, name) for name in names})
    if rng.random() < 0.5:
        changed = dataclasses.replace(changed, seq=changed.seq + rng.choice((-1, 1, 2, 128)))
    if changed == genuine:
        return None
    return _judge(log, changed, rng)


def _note(log: Log, rng: random.Random) -> Outcome:
    genuine = rng.choice(log.receipts).note
    note = _changed_text(genuine, [rng.choice(log.receipts).note], rng)
    if note == genuine:
        return None
    head = parse_checkpoint(note, log.signer.verifier)
    return True, head.origin == log.signer.name and log.heads.get(head.size) == head.root


def _hashes(log: Log, proof: list[bytes], rng: random.Random) -> list[bytes]:
    """Return a changed proof."""
    proof = list(proof)
    at = rng.randrange(len(proof) + 1)
    some = rng.choice((rng.choice(log.leaves), rng.choice(log.roots), rng.randbytes(32)))
    match rng.randrange(5):
        case 0:
            proof.insert(at, some)
        case 1:
            del proof[at : at + 1]
        case 2:
            proof[at : at + 1] = [some]
        case 3:
            rng.shuffle(proof)
        case _:
            if proof:
                raw = bytearray(proof[at - 1])
                raw[rng.randrange(32)] ^= 1 << rng.randrange(8)
                proof[at - 1] = bytes(raw)
    return proof


def _inclusion(log: Log, rng: random.Random) -> Outcome:
    receipt = rng.choice(log.receipts)
    leaf, seq, size = bytes.fromhex(receipt.leaf_hash), receipt.seq, receipt.tree_size
    proof, root = list(receipt.proof), bytes.fromhex(receipt.root)
    genuine = (leaf, seq, size, proof, root)
    match rng.randrange(5):
        case 0:
            proof = _hashes(log, proof, rng)
        case 1:
            seq += rng.choice((-1, 1, 2, 4, 8, 256, -size))
        case 2:
            size = rng.randrange(len(log.roots))
            root = log.roots[size]
        case 3:
            leaf = rng.choice((*log.leaves[:50], log.roots[-1], EMPTY_ROOT))
        case _:
            seq = rng.randrange(len(log.leaves))
            proof = _hashes(log, proof, rng)
    if (leaf, seq, size, proof, root) == genuine:
        return None
    return verify_inclusion(leaf, seq, size, proof, root), log.holds(leaf, seq, size, root)


def _consistency(log: Log, rng: random.Random) -> Outcome:
    first, second, proof = rng.choice(log.growth)
    genuine = (first, second, log.roots[first], log.roots[second], proof)
    a, b, one, two, path = genuine
    match rng.randrange(4):
        case 0:
            path = _hashes(log, proof, rng)
        case 1:
            a = rng.randrange(b + 1)
            one = log.roots[a]
        case 2:
            b = rng.randrange(a, len(log.roots))
            two = log.roots[b]
        case _:
            other = rng.choice((rng.choice(log.roots), rng.choice(proof or log.roots)))
            one, two = (other, two) if rng.random() < 0.5 else (one, other)
    if (a, b, one, two, path) == genuine:
        return None
    true = a <= b < len(log.roots) and log.roots[a] == one and log.roots[b] == two
    return verify_consistency(a, b, one, two, path), true


LAYERS: dict[str, Layer] = {
    "receipt as text": _receipt_text,
    "receipt as JSON": _receipt_json,
    "receipt as values": _receipt_values,
    "checkpoint note": _note,
    "inclusion proof": _inclusion,
    "consistency proof": _consistency,
}


def proofs(count: int, *, seed: int, moved: Callable[[int], None]) -> dict[str, Any]:
    """Offer `count` changed proofs and notes, the layers in turn."""
    rng = random.Random(seed)  # noqa: S311  repeatable, not secret
    counts = {name: Counter[str]() for name in LAYERS}
    first: list[str] = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        logs = [_log(Path(name) / str(n), seed + n) for n in range(LEDGERS)]
    layers = list(LAYERS.items())
    done = 0
    while done < count:
        layer, change = layers[done % len(layers)]
        try:
            outcome = change(rng.choice(logs), rng)
        except Error:
            outcome = (False, False)
        except Exception as exc:  # noqa: BLE001  whatever it is, it is the finding
            counts[layer]["raised"] += 1
            first.append(f"{layer}: {type(exc).__name__}: {exc}"[:200])
            outcome = (False, False)
        if outcome is None:
            continue
        accepted, true = outcome
        what = ("accepted" if not true else "same in other words") if accepted else "refused"
        counts[layer][what] += 1
        if what == "accepted":
            first.append(f"{layer}: number {done} of seed {seed}")
        done += 1
        if done % 1000 == 0:
            moved(1000)
    moved(done % 1000)
    total = sum(counts.values(), Counter[str]())
    return {
        "proofs": done,
        "accepted": total["accepted"],
        "raised": total["raised"],
        "refused": total["refused"],
        "same_in_other_words": total["same in other words"],
        "by_layer": {layer: dict(sorted(counted.items())) for layer, counted in counts.items()},
        **({"first": first[:5]} if first else {}),
        "seconds": round(time.perf_counter() - started, 1),
    }
