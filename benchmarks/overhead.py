"""What guarding, marking, signing and recording cost, against generation in the same run.

The peer is the bare pipeline: the same prompts, seeds and steps through the generator alone. The layers of a
mark are timed on the same pictures, one at a time; stages are medians over the pictures after a warm-up.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clearmark.core import Asset, Request

__all__ = ["main", "measure"]

PROMPTS = ("a red apple", "a yellow fish", "a green tree", "a blue house", "a black cat")
STAGES = ("prompt_guards", "policy", "generation", "output_guards", "marking", "ledger", "total")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark: a table for people, `--json` for programs."""
    parser = argparse.ArgumentParser(prog="clearmark bench overhead", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--backend", default="reference")
    parser.add_argument("--steps", type=int, default=None)
    options = parser.parse_args(arguments)
    report = measure(options.backend, steps=options.steps)
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        _print(report)
    return 0


def measure(backend: str = "reference", *, steps: int | None = None) -> dict[str, Any]:
    """Measure every stage in milliseconds for one picture, and the ratio to the bare generator."""
    from clearmark.generation import create
    from clearmark.sdk import Studio

    generator = create(backend)
    requests = [Request(prompt, seed=seed, steps=steps) for seed, prompt in enumerate(PROMPTS)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        studio = Studio.from_policy("default", home=home, backend=generator)
        studio.generate_batch([Request("a warm-up", steps=steps)])
        bare, guarded, pictures = [], [], []
        for request in requests:  # taken in turn, so that a noisy neighbour disturbs both alike
            began = time.perf_counter()
            pictures.append(generator.generate([request])[0][0])
            bare.append((time.perf_counter() - began) * 1000)
            again = Request(request.prompt, seed=request.seed, steps=steps)
            guarded.append(studio.generate_batch([again])[0])
        studio.close()
        layers = _layers(pictures, home)
    stages = {
        stage: statistics.median(result.timings_ms.get(stage, 0.0) for result in guarded) for stage in STAGES
    }
    peer = statistics.median(bare)
    added = sum(stages[stage] for stage in STAGES if stage not in {"generation", "total"})
    return {
        "backend": backend,
        "pictures": len(requests),
        "machine": f"{platform.machine()}, {_cores()} cores",
        "stages_ms": stages,
        "mark_layers_ms": layers,
        "bare_generation_ms": peer,
        "added_ms": added,
        "added_to_bare": added / peer,
        "guarded_to_bare": stages["total"] / peer,
    }


def _layers(pictures: Sequence[Asset], home: Path) -> dict[str, float]:
    from clearmark.policies import Policy
    from clearmark.provenance import LabelSettings, Marker, MetadataSettings
    from clearmark.sdk.home import Home
    from clearmark.sdk.stamping import Stamper

    stamper = Stamper.from_home(Home(home), Policy.load("default"))
    markers = {
        "label": Marker(label=LabelSettings()),
        "metadata": Marker(metadata=MetadataSettings()),
        "watermark": Marker(codec=stamper.codec),
        "manifest": Marker(signer=stamper.signer, trust_anchors_pem=stamper.trust_anchors),
    }
    # Each marker also decodes, encodes and reads back; a marker without layers costs only that.
    base = _median(lambda picture: _mark(Marker(), picture), pictures)
    return {
        "decode, encode, read back": base,
        **{
            name: max(0.0, _median(lambda picture, m=marker: _mark(m, picture), pictures) - base)  # type: ignore[misc]
            for name, marker in markers.items()
        },
    }


def _mark(marker: Any, picture: Asset) -> None:
    from clearmark.provenance import MarkJob, new_mark_id

    marker.mark([MarkJob(asset=picture, mark_id=new_mark_id())])


def _median(function: Callable[[Asset], None], pictures: Sequence[Asset]) -> float:
    times = []
    for picture in pictures:
        began = time.perf_counter()
        function(picture)
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _print(report: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(
        title=f"One picture, {report['backend']}, {report['machine']}, median of {report['pictures']}",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("stage")
    table.add_column("ms", justify="right")
    table.add_column("of bare generation", justify="right")
    peer = report["bare_generation_ms"]
    rows = [("bare generation (the peer)", peer)]
    rows += [(stage.replace("_", " "), ms) for stage, ms in report["stages_ms"].items()]
    rows += [(f"  mark: {layer}", ms) for layer, ms in report["mark_layers_ms"].items()]
    rows += [("all that is added", report["added_ms"])]
    for name, ms in rows:
        table.add_row(name, f"{ms:,.1f}", f"{ms / peer:.3f}")
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(main())
