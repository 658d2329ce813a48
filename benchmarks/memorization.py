"""Memorized prompts told from others while a picture is made, on a model with planted duplicates.

`--plant CACHE` first trains the reference model on with planted items (CACHE: what its training prepared);
`--model FOLDER` measures one that was made before. Verbatim and template are reported apart, and nothing is
fitted: the figures are areas under the curve of the statistic itself; where drift looks again was picked on
such a model, mostly by its even probes, so its areas on the odd ones are given as well. With two extra
passes, the first steps of two more seeds are looked at. `--pictures N` also makes N pictures of each prompt:
do they show what was planted (the ground truth), and how little do they differ. The model that the planting
began with, trained on the same items once each, is the control: on it, planted prompts are prompts like any
other.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clearmark.benchmarks._planted import SHARE, Probe, choose, is_copy, plant, read_probes
from clearmark.core.errors import UsageError

__all__ = ["BARS", "auroc", "main", "measure"]

BARS = {"verbatim": 0.98, "template": 0.93}
"""Areas under the curve that are asked of the trace with at most two extra passes."""

MEMORIZED = 0.15
"""Relative error up to which the verbatim items count as memorized, and the figures mean something."""

JUDGED = "drift, 2 extra passes"
"""The statistic that the bars are held against."""

_STEPS = 3
_PLANTED = ("verbatim", "template")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark: a table for people, `--json` for programs."""
    parser = argparse.ArgumentParser(prog="clearmark bench memorization", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", type=Path, help="folder of a model with planted items")
    parser.add_argument("--plant", type=Path, help="cache of the reference model's training: make a model")
    parser.add_argument("--out", type=Path, default=Path("out/planted"), help="where `--plant` puts it")
    parser.add_argument("--steps", type=int, default=1150, help="training steps of `--plant`")
    parser.add_argument("--share", type=float, default=SHARE, help="share of a batch that is planted")
    parser.add_argument(
        "--control", type=Path, help="model without planted items; default: the one that ships"
    )
    parser.add_argument("--items", type=int, default=10, help="planted items of either kind")
    parser.add_argument("--seed", type=int, default=11, help="by which `--plant` draws items and trains")
    parser.add_argument("--seeds", type=int, default=3, help="1, and the extra passes")
    parser.add_argument("--pictures", type=int, default=0, help="pictures of a prompt for the black box")
    parser.add_argument("--most", type=int, default=1000, help="prompts of a kind that are drawn whole")
    options = parser.parse_args(arguments)
    model = options.model
    if options.plant is not None:
        model = _plant(options)
    if model is None:
        raise UsageError("no model to measure", hint="--plant CACHE makes one, --model FOLDER takes one")
    report = measure(
        model, control=options.control, seeds=options.seeds, pictures=options.pictures, most=options.most
    )
    print(json.dumps(report) if options.json else _table(report))
    return 0


def _plant(options: argparse.Namespace) -> Path:
    import torch

    from clearmark.generation.reference.catalogue import WEIGHTS
    from clearmark.generation.reference.data import Dataset

    torch.set_num_threads(1)
    data = Dataset.load(options.plant / "data")
    planted = choose(data, count=options.items, clean=48, seed=options.seed)
    return plant(
        data,
        options.plant,
        WEIGHTS,
        options.out,
        planted=planted,
        steps=options.steps,
        share=options.share,
        seed=options.seed,
    )


def measure(
    model: Path, *, control: Path | None = None, seeds: int = 3, pictures: int = 0, most: int = 1000
) -> dict[str, Any]:
    """Trace the probes of a planted model, and draw them where `pictures` is above 1."""
    import torch

    from clearmark.generation.reference.catalogue import WEIGHTS
    from clearmark.generation.reference.pipeline import load_pipeline
    from clearmark.generation.reference.text import package_folder

    torch.set_num_threads(1)
    probes = read_probes(model)
    kinds = np.array([probe.kind for probe in probes])
    pipeline = load_pipeline(model, package_folder() / "model")
    body = json.loads((model / "probes.json").read_text(encoding="utf-8"))
    report: dict[str, Any] = {
        "model": str(model),
        "probes": {str(kind): int((kinds == kind).sum()) for kind in np.unique(kinds)},
        "planted": {name: value for name, value in body.items() if name != "probes"},
    }
    begun = time.process_time()
    report |= _traced(pipeline, probes, kinds, seeds)
    report["trace_ms_per_pass"] = round(
        1000 * (time.process_time() - begun) / (len(probes) * seeds * _STEPS), 2
    )
    report["attribution"] = _attribution(pipeline, [p.prompt for p in probes if p.kind in _PLANTED])
    if pictures > 1:
        report |= _black_box(pipeline, probes, kinds, pictures, most, model / "originals")
    del pipeline
    clean = load_pipeline(control or WEIGHTS, package_folder() / "model")
    report["control"] = _traced(clean, probes, kinds, seeds)
    if seeds == 3:
        report["bars"] = {
            kind: {"bar": BARS[kind], "measured": value, "met": value >= BARS[kind]}
            for kind in _PLANTED
            for value in [report[JUDGED][kind]["auroc"]]
        }
    return report


def _traced(
    pipeline: Any, probes: Sequence[Probe], kinds: npt.NDArray[np.str_], seeds: int
) -> dict[str, Any]:
    """Return the areas of every statistic of the trace, and of drift."""
    from clearmark.generation.drift import prompt_drift
    from clearmark.generation.guidance import trace_prompts

    prompts = [probe.prompt for probe in probes]
    traces = trace_prompts(pipeline, prompts, range(100, 100 + seeds), steps=_STEPS, guidance=5.0)
    out: dict[str, Any] = {}
    for name in ("whole", "local"):
        values = np.array([[getattr(trace, name) for trace in row] for row in traces])
        for passes in sorted({1, seeds}):
            for steps in (1, _STEPS):
                label = f"{name}, {steps} step{'s' * (steps > 1)}, {passes - 1} extra passes"
                out[label] = _areas(values[:, :passes, :steps].mean(axis=(1, 2)), kinds)
    odd = np.arange(len(kinds)) % 2 == 1
    for passes in (1, 2):
        drift = -np.array(prompt_drift(pipeline, prompts, seed=100, passes=passes))
        label = f"drift, {passes} extra pass{'es' * (passes > 1)}"
        out[label] = _areas(drift, kinds)
        out[f"{label}, odd probes"] = _areas(drift[odd], kinds[odd])
    return out


def _attribution(pipeline: Any, prompts: Sequence[str]) -> dict[str, Any]:
    """Take the token out of each prompt that is said to pull most, then the one that pulls least.

    Attribution is worth something where the former takes away more of the pull.
    """
    from clearmark.generation.guidance import trace_prompts
    from clearmark.generation.steering import token_pulls

    left: dict[str, list[float]] = {"most": [], "least": []}
    better = 0
    for prompt in prompts:
        pulls = token_pulls(pipeline, prompt, seed=100)
        if len(pulls) < 2:
            continue
        ranked = sorted(range(len(pulls)), key=lambda n: -pulls[n].share)
        tokens = [pull.token for pull in pulls]
        cut = [
            pipeline.tokenizer.convert_tokens_to_string(tokens[:n] + tokens[n + 1 :])
            for n in (ranked[0], ranked[-1])
        ]
        traces = trace_prompts(pipeline, [prompt, *cut], [100], steps=1, guidance=5.0)
        whole, most, least = (row[0].whole[0] for row in traces)
        left["most"].append(most / whole)
        left["least"].append(least / whole)
        better += most < least
    count = max(1, len(left["most"]))
    return {
        "prompts": len(left["most"]),
        "strongest_token_matters_more": round(better / count, 4),
        **{f"pull_left_without_{name}": round(float(np.mean(row or [1])), 4) for name, row in left.items()},
    }


def _black_box(  # noqa: PLR0917
    pipeline: Any,
    probes: list[Probe],
    kinds: npt.NDArray[np.str_],
    count: int,
    most: int,
    originals: Path,
) -> dict[str, Any]:
    """Draw every prompt `count` times: is it what was planted, and how little do the pictures differ."""
    import PIL.Image
    import torch

    from clearmark.guardrails.memorization.diversity import diversity

    kept = np.concatenate([np.flatnonzero(kinds == kind)[:most] for kind in np.unique(kinds)])
    found: list[Any] = []
    copies: dict[str, list[int]] = {kind: [] for kind in _PLANTED}
    for place in kept:
        generators = [torch.Generator().manual_seed(200 + n) for n in range(count)]
        made = pipeline(
            [probes[place].prompt] * count,
            generator=generators,
            num_inference_steps=12,
            guidance_scale=5.0,
        ).images
        pixels = [np.asarray(picture) for picture in made]
        found.append(diversity(pixels))
        if probes[place].kind in _PLANTED:
            with PIL.Image.open(originals / f"{place}.png") as opened:
                original = np.asarray(opened.convert("RGB"))
            shown = sum(is_copy(picture, original, probes[place].box) for picture in pixels)
            copies[probes[place].kind].append(shown)
    label = f"black box, {count} pictures"
    return {
        "shown": {
            kind: {
                "prompts": len(row),
                "in_half_of_the_pictures": sum(2 * shown >= count for shown in row),
                "pictures": sum(row),
                "of": count * len(row),
            }
            for kind, row in copies.items()
        },
        f"{label}, whole": _areas(np.array([-row.whole for row in found]), kinds[kept]),
        f"{label}, halves": _areas(np.array([-row.half for row in found]), kinds[kept]),
    }


def auroc(positive: npt.NDArray[np.float64], negative: npt.NDArray[np.float64]) -> float:
    """Return the chance that a positive lies above a negative; equal ones count half."""
    above = (positive[:, None] > negative[None]).mean()
    return float(above + 0.5 * (positive[:, None] == negative[None]).mean())


def _areas(values: npt.NDArray[np.float64], kinds: npt.NDArray[np.str_]) -> dict[str, Any]:
    """Return the area of each planted kind against all clean prompts, with the middle 95% of a bootstrap."""
    clean = values[~np.isin(kinds, _PLANTED)]
    out: dict[str, Any] = {}
    draw = np.random.default_rng(0)
    for kind in _PLANTED:
        mine = values[kinds == kind]
        if not len(mine) or not len(clean):
            continue
        again = [auroc(draw.choice(mine, len(mine)), draw.choice(clean, len(clean))) for _ in range(1000)]
        low, high = np.quantile(again, (0.025, 0.975))
        found = np.mean(mine > np.sort(clean)[-max(1, round(0.01 * len(clean)))])
        out[kind] = {
            "auroc": round(auroc(mine, clean), 4),
            "low": round(float(low), 4),
            "high": round(float(high), 4),
            "found_at_1_percent": round(float(found), 4),
        }
    return out


def _table(report: dict[str, Any]) -> str:
    lines = [f"{'area under the curve':44} verbatim  template"]
    for part, words in ((report, ""), (report["control"], "control: ")):
        for name, row in part.items():
            if isinstance(row, dict) and "auroc" in row.get("verbatim", {}):
                areas = f"{row['verbatim']['auroc']:8.3f}  {row['template']['auroc']:8.3f}"
                lines.append(f"{words + name:44} {areas}")
    for kind, row in report.get("bars", {}).items():
        lines.append(
            f"{kind}: bar {row['bar']}, measured {row['measured']}: {'met' if row['met'] else 'MISSED'}"
        )
    for kind, row in report.get("shown", {}).items():
        lines.append(
            f"{kind}: {row['pictures']} of {row['of']} pictures show what was planted; "
            f"{row['in_half_of_the_pictures']} of {row['prompts']} prompts in half of theirs or more"
        )
    errors = report["planted"]["relative_error"]
    said = ", ".join(f"{kind} {error}" for kind, error in errors.items())
    lines.append(f"relative error of what is seen in pure noise: {said}")
    if errors.get("verbatim", 1.0) > MEMORIZED:
        lines.append("  not memorized yet, so these figures say little: train on with more --steps")
    lines.append(f"attribution {report['attribution']}")
    lines.append(f"probes {report['probes']}; {report['trace_ms_per_pass']} ms a pass")
    return "\n".join(lines)
