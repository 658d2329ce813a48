"""From what the copy benchmark measured to its figures, tables and drawings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearmark.benchmarks._copies_transforms import BARS, HARD, TEMPLATE, TRANSFORMS
from clearmark.guardrails.memorization.calibration import EVIDENCE, interval, probability
from clearmark.guardrails.memorization.checker import GATE

__all__ = ["merged", "overlap", "plot", "review", "summary", "table"]

Row = Mapping[str, Any]
Score = Callable[[Row, str], float]


def overlap(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Return the intersection over the union of two masks, of which the first may be smaller."""
    import cv2

    height, width = true.shape
    grown = cv2.resize(found.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    return float((grown & true).sum() / max(1, (grown | true).sum()))


def merged(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the head and the rows of files that were measured in parts, one row for a query."""
    head: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {}
    for path in paths:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if "indexed" in row:
                stages = [*head.get("stages", []), *row["stages"]]
                head = row | {"stages": list(dict.fromkeys(stages))}
                continue
            other = rows.setdefault(row["key"], row)
            if other is not row:
                stages = other["stages"] | row["stages"]
                rows[row["key"]] = (row if row["found"] else other) | {"stages": stages}
    whole = set(head["stages"])
    return [head, *(row for row in rows.values() if whole <= set(row["stages"]))]


def reuse() -> dict[str, list[str]]:
    """Return which pictures that were not indexed do re-use an indexed one, as was judged by eye."""
    document = json.loads((files("clearmark.benchmarks") / "copies_reuse.json").read_bytes())
    return {key: list(items) for key, items in document["pairs"].items()}


def summary(head: Row, rows: Sequence[Row], *, fpr: float, across: bool = False) -> dict[str, Any]:
    """Return all figures at the query-FPR `fpr`; `across` packages only where that is asked for."""
    known = reuse()
    negatives = [row for row in rows if not row["right"]]
    positives = [row for row in rows if row["right"]]
    packages: Mapping[str, str] = head.get("packages", {})

    def excused(row: Row) -> Sequence[str]:
        some = list(known.get(row["key"], ()))
        return some + [k for k, package in packages.items() if package == row["package"]] if across else some

    out: dict[str, Any] = {
        "across_packages": across,
        "indexed": len(head["indexed"]),
        "copies": len(positives),
        "transforms": len({row["transform"] for row in positives}),
        "negatives": len(negatives),
        "labelled_reuse": sum(row["key"] in known for row in negatives),
        "fpr": fpr,
        "descriptor": head["descriptor"],
        "purpose": head["purpose"],
        "missing_peers": head["missing"],
        "stages": {},
    }
    for name in ["cascade", *head["stages"]]:
        best = np.array([_best(row, name, excused(row)) for row in negatives])
        threshold = _threshold(best, fpr)
        out["stages"][name] = _stage(name, positives, negatives, best, threshold)
    found = [row for row in positives if row.get("iou") is not None]
    reached = out["stages"]["cascade"]["threshold"]
    sure = [row for row in found if _right(row, "cascade") > reached]
    out["mask_iou"] = {
        name: _mean([row["iou"] for row in sure if row["transform"] == name]) for name in _names(positives)
    }
    out["mask_iou_mean"] = _mean([row["iou"] for row in sure])
    parts = [
        r["iou"]
        for r in sure
        if r["transform"].split()[0] in {"crop", "paste", "template", "border", "screenshot"}
    ]
    out["mask_iou_of_parts"] = _mean(parts)
    out["kinds"] = _kinds(positives)
    out["gate"] = _gate(positives, negatives, reached)
    out["among_candidates"] = {
        name: _mean([_right(row, "cascade") > -1 for row in positives if row["transform"] == name])
        for name in _names(positives)
    }
    spent = [row["ms"] for row in negatives]
    out["ms_per_picture"] = (
        {"median": float(np.median(spent)), "p95": float(np.percentile(spent, 95))} if spent else {}
    )
    return out


def _names(positives: Sequence[Row]) -> list[str]:
    present = {row["transform"] for row in positives}
    return [name for name in TRANSFORMS if name in present]


def _mean(values: Sequence[Any]) -> float | None:
    return round(float(np.mean(values)), 4) if len(values) else None


def _score(match: Row) -> float:
    """Return the probability by the weights of now, whichever those of the measurement were."""
    return probability(match["evidence"])


def _near(match: Row) -> bool:
    """Return whether the gate of now lets a candidate through."""
    if "near" not in match:
        return True
    bits, cosine, votes = match["near"]
    if GATE.passes(bits=bits, cosine=cosine, votes=votes):
        return True
    at = dict(zip(EVIDENCE, match["evidence"], strict=True))
    if votes > 0 and match["inliers"] >= GATE.places:
        return True
    return GATE.passes_softly(bits=bits, cosine=cosine, layout=at["layout"])


def _best(row: Row, stage: str, excused: Sequence[str]) -> float:
    """Return the highest likeness to any indexed picture that is not excused, as one that it does re-use."""
    known = frozenset(excused)
    if stage == "cascade":
        return max((_score(m) for m in row["found"] if m["key"] not in known and _near(m)), default=0.0)
    return max((value for key, value in row["stages"][stage]["best"] if key not in known), default=0.0)


def _right(row: Row, stage: str) -> float:
    """Return the likeness to the picture that it is a copy of; -1 where that was not looked at."""
    if stage == "cascade":
        return max((_score(m) for m in row["found"] if m["key"] == row["right"] and _near(m)), default=-1.0)
    return float(row["stages"][stage]["right"])


def _threshold(best: NDArray[Any], fpr: float) -> float:
    """Return the value that at most `fpr` of the negatives exceed."""
    if not len(best):
        return 0.0
    ordered = np.sort(best)[::-1]
    return float(ordered[min(len(ordered) - 1, int(fpr * len(ordered)))])


def _stage(
    name: str, positives: Sequence[Row], negatives: Sequence[Row], best: NDArray[Any], threshold: float
) -> dict[str, Any]:
    recall, counts = {}, {}
    for transform in _names(positives):
        some = [_right(row, name) > threshold for row in positives if row["transform"] == transform]
        recall[transform], counts[transform] = round(float(np.mean(some)), 4), len(some)
    alarms: dict[str, int] = {}
    for row, value in zip(negatives, best, strict=True):
        if value > threshold:
            alarms[row["package"]] = alarms.get(row["package"], 0) + 1
    low, high = interval(sum(alarms.values()), len(negatives))
    return {
        "threshold": round(threshold, 6),
        "recall": recall,
        "counts": counts,
        "mean": _mean(list(recall.values())),
        "hard": _mean([recall[t] for t in HARD if t in recall]),
        "template": _mean([recall[t] for t in TEMPLATE if t in recall]),
        "not_template": _mean([value for t, value in recall.items() if t not in TEMPLATE]),
        "least_of_bars": min((recall[t] for t in BARS if t in recall), default=None),
        "alarms": alarms,
        "fpr_interval_95": [low, high],
    }


def _gate(positives: Sequence[Row], negatives: Sequence[Row], reached: float) -> dict[str, Any]:
    """Say what the gate of now lets through of what geometry has looked at.

    `lost` is the recall that it costs at the same threshold: more than nothing only when the rows were
    measured with `--everything`; `nothing_near` is the share of negatives that cost no geometry.
    """

    found = [
        (row["transform"], match)
        for row in positives
        for match in row["found"]
        if match["key"] == row["right"] and _score(match) > reached
    ]
    quiet = [not any(map(_near, row["found"])) for row in negatives]
    names = _names(positives)
    counts = {name: sum(row["transform"] == name for row in positives) for name in names}
    shut = [name for name, match in found if not _near(match)]
    return {
        "bits": GATE.bits,
        "cosine": GATE.cosine,
        "votes": GATE.votes,
        "lost": round(sum(shut.count(name) / counts[name] for name in names) / max(1, len(names)), 5),
        "nothing_near": _mean(quiet),
    }


def _kinds(positives: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Count which kind the cascade names for the right picture, by transform."""
    out: dict[str, dict[str, int]] = {}
    for row in positives:
        kind = next((m["kind"] for m in row["found"] if m["key"] == row["right"]), "not found")
        counts = out.setdefault(row["transform"], {})
        counts[kind] = counts.get(kind, 0) + 1
    return out


def table(result: Mapping[str, Any]) -> str:
    """Return the tables as text."""
    names = list(result["stages"])
    head = (
        f"{result['indexed']} pictures indexed, {result['copies']} copies in {result['transforms']} ways, "
        f"{result['negatives']} that were never indexed ({result['labelled_reuse']} of them re-use one, "
        f"judged by eye); recall at query-FPR {result['fpr']:g}"
    )
    wide = [max(7, len(name)) for name in names]
    lines = [
        head,
        "",
        "| transform | " + " | ".join(n.rjust(w) for n, w in zip(names, wide, strict=True)) + " | IoU |",
    ]
    lines.append("|---|" + "".join("-" * (w + 1) + ":|" for w in wide) + "---:|")
    transforms = list(result["stages"][names[0]]["recall"])
    for transform in transforms:
        cells = [
            f"{result['stages'][n]['recall'][transform]:.2f}".rjust(w)
            for n, w in zip(names, wide, strict=True)
        ]
        iou = result["mask_iou"].get(transform)
        lines.append(f"| {transform} | " + " | ".join(cells) + f" | {'' if iou is None else f'{iou:.2f}'} |")
    for label, key in (
        ("**mean**", "mean"),
        ("hard twelve", "hard"),
        ("template", "template"),
        ("all but template", "not_template"),
        ("least of the five", "least_of_bars"),
    ):
        values = [result["stages"][n][key] for n in names]
        cells = [("" if v is None else f"{v:.3f}").rjust(w) for v, w in zip(values, wide, strict=True)]
        lines.append(f"| {label} | " + " | ".join(cells) + " | |")
    lines += ["", f"mask IoU: mean {result['mask_iou_mean']}, of parts {result['mask_iou_of_parts']}"]
    lines.append(f"alarms of the cascade: {result['stages']['cascade']['alarms']}")
    lines.append(f"the right one is among the candidates: {result['among_candidates']}")
    lines.append(f"gate: {result['gate']}")
    lines.append(f"ms a picture that is no copy: {result['ms_per_picture']}")
    lines.extend(f"peer not installed: {command}" for command in result["missing_peers"])
    return "\n".join(lines)


def plot(result: Mapping[str, Any]) -> str:
    """Return the recall of each stage by transform as a drawing (SVG) that follows light and dark."""
    names = list(result["stages"])
    transforms = sorted(
        result["stages"]["cascade"]["recall"], key=lambda t: result["stages"]["cascade"]["recall"][t]
    )
    hues = [int(210 + 360 * n / max(1, len(names))) % 360 for n in range(len(names))]
    row, left, wide = 20, 150, 520
    height = 60 + row * len(transforms) + 18 * ((len(names) + 2) // 3)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + wide + 30} {height}"'
        ' font-family="sans-serif" font-size="12" fill="currentColor" color="#333">'
        "<style>@media (prefers-color-scheme: dark) { svg { color: #ddd } }</style>"
    ]
    for tick in range(0, 11, 2):
        x = left + wide * tick / 10
        bottom = 30 + row * len(transforms)
        parts.append(f'<line x1="{x}" x2="{x}" y1="24" y2="{bottom}" stroke="currentColor" opacity=".15"/>')
        parts.append(f'<text x="{x}" y="16" text-anchor="middle">{tick / 10:.1f}</text>')
    for number, transform in enumerate(transforms):
        y = 40 + row * number
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{transform}</text>')
        for name, hue in list(zip(names, hues, strict=True))[::-1]:
            value = result["stages"][name]["recall"][transform]
            radius = 6 if name == "cascade" else 3.5
            title = f"<title>{name}: {value:.2f}</title>"
            colour = f"hsl({hue} 65% 50%)"
            at = f"{left + wide * value:.1f}"
            parts.append(f'<circle cx="{at}" cy="{y}" r="{radius}" fill="{colour}">{title}</circle>')
    for number, (name, hue) in enumerate(zip(names, hues, strict=True)):
        x, y = left + (number % 3) * 175, 56 + row * len(transforms) + 18 * (number // 3)
        parts.append(f'<circle cx="{x}" cy="{y - 4}" r="5" fill="hsl({hue} 65% 50%)"/>')
        parts.append(f'<text x="{x + 10}" y="{y}">{name}</text>')
    return "".join(parts) + "</svg>\n"


def review(
    head: Row, rows: Sequence[Row], data: Path, purpose: str, out: Path, *, across: bool = False
) -> None:
    """Draw the pairs of negatives that any stage finds likeliest, numbered, for somebody to say which are
    re-use.

    Of every stage the forty likeliest, of the cascade 120; those that are labelled are left out, and with
    `across` those of one package.
    """
    import PIL.Image
    import PIL.ImageDraw

    known = reuse()
    packages: Mapping[str, str] = head.get("packages", {}) if across else {}
    pairs: dict[tuple[str, str], None] = {}
    negatives = [row for row in rows if not row["right"] and not row["package"].startswith("drawn")]
    for name in ["cascade", *head["stages"]]:
        ranked = []
        for row in negatives:
            seen = (
                [(_score(m), m["key"]) for m in row["found"]]
                if name == "cascade"
                else [(value, key) for key, value in row["stages"][name]["best"]]
            )
            ranked += [
                (v, row["key"], k)
                for v, k in seen
                if k not in known.get(row["key"], ()) and "-" not in k and packages.get(k) != row["package"]
            ]
        ranked.sort(reverse=True)
        pairs.update({(q, k): None for _, q, k in ranked[: 120 if name == "cascade" else 40]})
    folder = data / "pool" / purpose
    out.mkdir(parents=True, exist_ok=True)
    (out / "pairs.json").write_text(json.dumps(list(pairs)))
    side, columns, lines = 120, 5, 8
    for first in range(0, len(pairs), columns * lines):
        sheet = PIL.Image.new("RGB", (columns * (2 * side + 20), lines * (side + 18)), "white")
        draw = PIL.ImageDraw.Draw(sheet)
        for place, pair in enumerate(list(pairs)[first : first + columns * lines]):
            left, top = place % columns * (2 * side + 20), place // columns * (side + 18)
            draw.text((left, top + side + 2), str(first + place), fill="black")
            for number, key in enumerate(pair):
                with PIL.Image.open(folder / f"{key}.png") as picture:
                    picture.thumbnail((side, side))
                    sheet.paste(picture, (left + number * (side + 2), top))
        sheet.save(out / f"pairs-{first // (columns * lines):02}.png")
