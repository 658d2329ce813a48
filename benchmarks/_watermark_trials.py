"""What the watermark bench measures: what attacks and averaging leave, and what unmarked pictures give."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clearmark.benchmarks._watermark_attacks import ATTACKS, rounded
from clearmark.benchmarks._watermark_contestants import KEY, MARK_ID, Contestant
from clearmark.benchmarks._watermark_pictures import texture, unmarked
from clearmark.core.errors import WatermarkFailed
from clearmark.provenance.watermark import Pixels, get_codec
from clearmark.provenance.watermark._front import activity, whiten
from clearmark.provenance.watermark._quality import luma

__all__ = ["State", "false_accepts", "leakage", "trial"]

FLAT_ACTIVITY = 1.0
"""Where detail is weaker than this (grey levels, root mean square), noise would be seen."""

FLAT_SHARE = 0.02
"""A picture with less of such areas says nothing about them."""

OWN = ("clearmark", "dwt-dct-svd")


class State:
    """What was measured so far, in a file of JSON Lines, so that a run may stop and go on; or in memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: dict[str, dict[str, Any]] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                row = json.loads(line)
                self._rows[row["name"]] = row

    def __call__(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what is known under `name`, or measure and keep it."""
        if name not in self._rows:
            row = {"name": name, **measure()}
            self._rows[name] = row
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
        return self._rows[name]

    def known(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Return the rows whose name begins so, under the rest of it."""
        return {n[len(prefix) :]: row for n, row in self._rows.items() if n.startswith(prefix)}


def trial(
    contestant: Contestant, named: Sequence[tuple[str, Pixels]], attacks: Sequence[str], state: State
) -> dict[str, Any]:
    """Mark every picture, attack it, read it, and return rates, quality and CPU times."""
    rows = []
    for name, picture in named:
        place = "x".join(str(side) for side in picture.shape[:2])
        key = f"trial {contestant.name} {place} {name} {'/'.join(attacks)}"
        rows.append(state(key, lambda picture=picture: _tried(contestant, picture, attacks)))  # type: ignore[misc]  # NOTE: bound early
    marked = [row for row in rows if "psnr_db" in row]
    flat = [row["flat_rms"] for row in marked if row["flat_rms"] is not None]
    held = {attack: sum(row["held"].get(attack, False) for row in rows) for attack in attacks}
    spent: dict[str, list[float]] = {}
    for row in marked:
        for kind, times in row["cpu_ms"].items():
            spent.setdefault(kind, []).extend(times)

    def mean(field: str, digits: int) -> float | None:
        return round(float(np.mean([row[field] for row in marked])), digits) if marked else None

    return {
        "codec": contestant.name,
        "bits": 64 if contestant.checked else len(getattr(contestant, "bits", ())),
        "check_word": contestant.checked,
        "pictures": len(named),
        "refused": [name for (name, _), row in zip(named, rows, strict=True) if "psnr_db" not in row],
        "psnr_db": mean("psnr_db", 2),
        "psnr_min_db": round(min(row["psnr_db"] for row in marked), 2) if marked else None,
        "ssim": mean("ssim", 4),
        "flat_rms": round(float(np.mean(flat)), 2) if flat else None,
        "flat_rms_max": round(max(flat), 2) if flat else None,
        "exact": held,
        "exact_share": round(sum(held.values()) / max(1, len(named) * len(attacks)), 4),
        "missed": {
            attack: [n for (n, _), row in zip(named, rows, strict=True) if not row["held"].get(attack)]
            for attack in attacks
            if held[attack] < len(named)
        },
        "false_accepts": sum(row["wrong"] for row in rows) if contestant.checked else None,
        "cpu_ms": {kind: round(float(np.median(times)), 1) for kind, times in spent.items() if times},
    }


def _tried(contestant: Contestant, picture: Pixels, attacks: Sequence[str]) -> dict[str, Any]:
    """Return what one picture shows; without `psnr_db` when it was refused."""
    spent: dict[str, list[float]] = {"embed": [], "extract": [], "unmarked": [], "attacked": []}

    def timed(kind: str, work: Callable[[Pixels], Any], picture: Pixels) -> Any:
        start = time.process_time()
        result = work(picture)
        spent[kind].append(round((time.process_time() - start) * 1e3, 2))
        return result

    try:
        mark = timed("embed", contestant.embed, picture)
    except WatermarkFailed:
        return {"held": {}, "wrong": 0, "cpu_ms": spent}
    still = activity(luma(picture))[1] < FLAT_ACTIVITY
    flat = None
    if still.mean() > FLAT_SHARE:
        flat = float((luma(mark.pixels) - luma(picture))[still].std())
    held, wrong = {}, 0
    for attack in attacks:
        kind = "extract" if attack == "none" else "attacked"
        verdict = timed(kind, contestant.holds, ATTACKS[attack](mark.pixels))
        held[attack] = verdict is True
        wrong += contestant.checked and verdict is False
    wrong += contestant.checked and timed("unmarked", contestant.holds, picture) is not None
    return {
        "psnr_db": mark.psnr_db,
        "ssim": mark.ssim,
        "flat_rms": flat,
        "held": held,
        "wrong": int(wrong),
        "cpu_ms": spent,
    }


def leakage(size: int, *, count: int, victims: int = 8) -> dict[str, Any]:
    """Average `count` marked pictures of one key, subtract the mean from others, and count what still reads.

    The attacker knows the method: whitened pictures are averaged, and the mean is subtracted at 40 dB.
    """
    codec = get_codec("clearmark", KEY)
    total = np.zeros((size, size), np.float64)
    for seed in range(count):
        marked = codec.embed([texture(size, 1000 + seed)], [f"{seed:016x}"])[0].pixels
        total += whiten(luma(marked))
    template = total / total.std() * 255 / math.sqrt(10**4)
    left = 0
    for seed in range(victims):
        mark = codec.embed([texture(size, 5000 + seed)], [MARK_ID])[0]
        found = codec.extract([rounded(mark.pixels - template[..., None])])[0]
        left += found is not None and found.mark_id == MARK_ID
    return {"averaged": count, "subtracted_at_db": 40.0, "victims": victims, "still_read": left}


def false_accepts(count: int, *, size: int, state: State) -> dict[str, Any]:
    """Read `count` pictures and crops that were never marked, with every codec of the base install."""
    codecs = [get_codec(name, KEY) for name in OWN]

    def read(views: Sequence[Pixels]) -> dict[str, Any]:
        found = [codec.extract(views) for codec in codecs]
        return {"read": len(views), "accepted": sum(hit is not None for hits in found for hit in hits)}

    prefix = f"unmarked {size} "
    known = {name: row["read"] for name, row in state.known(prefix).items()}
    total, accepted, told = 0, 0, 0
    for row in state.known(prefix).values():
        total += row["read"]
        accepted += row["accepted"]
    for name, views in unmarked(count, size=size, known=known):
        row = state(prefix + name, lambda views=views: read(views))  # type: ignore[misc]  # NOTE: bound early
        total += row["read"]
        accepted += row["accepted"]
        if total >= told + 50 and sys.stderr is not None:
            told = total
            print(f"{total} unmarked pictures read, {accepted} accepted", file=sys.stderr, flush=True)
    return {"pictures": total, "codecs": list(OWN), "accepted": accepted}
