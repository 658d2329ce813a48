"""What is left of each watermark after what pictures go through: `clearmark bench watermark`.

Every codec marks the same pictures, each marked picture goes through the same attacks, and a cell counts
only when the exact message is read. The packages invisible-watermark and blind-watermark run beside ours
where they are installed (with `pip install --no-deps`); they have no check word, so for them the bits are
compared with what was written. Pictures: those under `--pictures`, else two photographs (scikit-learn), and
in equal parts wallpapers (the Debian packages mate-backgrounds and gnome-backgrounds), drawings
(openclipart-png), each where it is installed, and generated textures. The regeneration attack takes a
picture through the reference model's autoencoder, which needs `pip install "clearmark[local]"`.

A run with `--state FILE` keeps what it measured there picture by picture; when it is started again with the
same options it goes on where it stopped, and tables come from the whole. Start a new file for a new version.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.table import Table

from clearmark.benchmarks._watermark_attacks import ATTACKS
from clearmark.benchmarks._watermark_contestants import Blind, Contestant, Own, Package
from clearmark.benchmarks._watermark_pictures import pictures
from clearmark.benchmarks._watermark_trials import State, false_accepts, leakage, trial
from clearmark.core.errors import Error

__all__ = ["ATTACKS", "main"]

PARTS = ("attacks", "averaging", "unmarked")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables (or one JSON document with `--json`), and return the exit code."""
    options = _options(sys.argv[1:] if arguments is None else arguments)
    # Times are of one processor, so that load and cores elsewhere do not change them.
    cv2.setNumThreads(1)
    state = State(options.state)
    document: dict[str, Any] = {
        "bench": "watermark",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "size": options.size or "original",
    }
    if "attacks" in options.only:
        named = pictures(options.pictures, size=options.size, count=options.count)
        document["pictures"] = [name for name, _ in named]
        document["codecs"] = [
            trial(contestant, named[:most], options.attacks, state)
            for contestant, most in _contestants(options)
        ]
    if "averaging" in options.only and options.average:
        document["averaging"] = [leakage(options.size or 512, count=n) for n in (10, options.average)]
    if "unmarked" in options.only and options.unmarked:
        document["unmarked"] = false_accepts(options.unmarked, size=options.size or 512, state=state)
    if options.json:
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        _print(document)
    return 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="clearmark bench watermark", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=PARTS, help="parts to measure")
    parser.add_argument("--state", type=Path, help="file to keep results in, and to go on from")
    parser.add_argument("--pictures", type=Path, help="folder of pictures to mark")
    parser.add_argument("--count", type=int, default=12, help="pictures to use at most")
    parser.add_argument(
        "--size", type=int, default=512, help="side to which they are brought, in pixels; 0: as they are"
    )
    parser.add_argument("--codecs", nargs="*", default=["clearmark", "dwt-dct-svd"], help="ours to try")
    at_hand = [name for name in ATTACKS if name != "regeneration" or find_spec("diffusers")]
    parser.add_argument("--attacks", nargs="*", default=at_hand, choices=list(ATTACKS))
    parser.add_argument("--packages", type=int, default=10**6, help="pictures for dwtDct and dwtDctSvd")
    parser.add_argument("--rivagan", type=int, default=0, help="pictures for rivaGan, a minute each")
    parser.add_argument("--blind", type=int, default=0, help="pictures for blind-watermark, slow as well")
    parser.add_argument("--average", type=int, default=0, help="marked pictures to average (issue: 100)")
    parser.add_argument("--unmarked", type=int, default=0, help="pictures and crops without a mark to read")
    return parser.parse_args(list(argv))


def _contestants(options: argparse.Namespace) -> list[tuple[Contestant, int]]:
    """Return who takes part, and with how many pictures at most."""
    out: list[tuple[Contestant, int]] = [(Own(name), options.count) for name in options.codecs]
    if find_spec("imwatermark") is not None and options.packages:
        out += [(Package(method), options.packages) for method in ("dwtDct", "dwtDctSvd")]
    if find_spec("imwatermark") is not None and options.rivagan:
        out.append((Package("rivaGan"), options.rivagan))
    if options.blind and find_spec("blind_watermark") is not None:
        out.append((Blind(), options.blind))
    return out


def _print(document: dict[str, Any]) -> None:
    console = Console()
    if "codecs" in document:
        console.print(_table(document))
    for result in document.get("averaging", ()):
        console.print(
            f"{result['averaged']} marked pictures averaged, the mean subtracted at 40 dB: "
            f"{result['still_read']}/{result['victims']} still read"
        )
    if "unmarked" in document:
        result = document["unmarked"]
        console.print(f"{result['accepted']} marks read in {result['pictures']} pictures that have none")


def _table(document: dict[str, Any]) -> Table:
    codecs = document["codecs"]
    table = Table(title=f"Exact messages, {len(document['pictures'])} pictures, size {document['size']}")
    table.add_column("attack")
    for codec in codecs:
        table.add_column(codec["codec"], justify="right")
    for attack in codecs[0]["exact"]:
        table.add_row(attack, *(f"{codec['exact'][attack]}/{codec['pictures']}" for codec in codecs))
    table.add_section()
    best = max((c["exact_share"] for c in codecs if not c["check_word"]), default=0)
    table.add_row("all", *(f"{codec['exact_share']:.1%}" for codec in codecs))
    if best:
        table.add_row("ratio to the best peer", *(f"{codec['exact_share'] / best:.2f}" for codec in codecs))
    table.add_section()
    rows: dict[str, Callable[[dict[str, Any]], Any]] = {
        "bits": lambda c: c["bits"],
        "PSNR mean (min), dB": lambda c: f"{c['psnr_db']} ({c['psnr_min_db']})",
        "SSIM": lambda c: c["ssim"],
        "flat areas, RMS mean (max)": lambda c: f"{c['flat_rms']} ({c['flat_rms_max']})",
        "not marked (refused)": lambda c: len(c["refused"]),
        "false accepts": lambda c: "no check" if c["false_accepts"] is None else c["false_accepts"],
        "embed, CPU ms": lambda c: c["cpu_ms"].get("embed"),
        "read, CPU ms": lambda c: c["cpu_ms"].get("extract"),
        "read unmarked, CPU ms": lambda c: c["cpu_ms"].get("unmarked", "-"),
    }
    for label, cell in rows.items():
        table.add_row(label, *(str(cell(codec)) for codec in codecs))
    return table


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Error as failed:
        sys.exit(failed.diagnostics())
