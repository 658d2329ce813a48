"""How often harmless pictures are flagged: `python -m clearmark.guardrails.output.nudity_evaluation DIR...`.

For every folder: the share of pictures that reach the scores in general use, and the share that is held for a
person because a part is worse than the whole or because it looks like a painted nude.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clearmark.core import Asset, Finding, Request, Stage, Subject
from clearmark.core.errors import MediaError
from clearmark.core.pixels import read_asset
from clearmark.guardrails.output._nudity import NudityGuard

__all__ = ["main"]

_KINDS = {".jpg", ".jpeg", ".png", ".webp"}
_BATCH = 8


def _assets(folder: Path, most: int) -> Iterator[Asset]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _KINDS)
    for path in paths[:: max(1, len(paths) // most)][:most]:
        try:
            yield read_asset(path.read_bytes(), max_pixels=12_000_000)
        except MediaError:  # not one of the formats that are checked, whatever its name says
            continue


def _measure(folder: Path, most: int) -> dict[str, Any]:
    guard = NudityGuard()
    subjects = [
        Subject(stage=Stage.OUTPUT, request=Request("x"), asset=asset) for asset in _assets(folder, most)
    ]
    found: list[Finding] = []
    for first in range(0, len(subjects), _BATCH):
        found += [findings[0] for findings in guard.check(subjects[first : first + _BATCH])]

    def share(name: str, least: float) -> float:
        return round(sum(float(one.facts[name]) >= least for one in found) / max(1, len(found)), 4)

    return {
        "pictures": len(found),
        "whole at least 0.2": share("nudity_score", 0.2),
        "whole at least 0.5": share("nudity_score", 0.5),
        "a part at least 0.5": share("nudity_part", 0.5),
        "painted": share("nudity_painted", 1),
        "held for a person": share("nudity_unsure", 1),
    }


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--most", type=int, default=120, help="pictures of each folder")
    options = parser.parse_args()
    print(json.dumps({folder.name: _measure(folder, options.most) for folder in options.folders}, indent=1))


if __name__ == "__main__":
    main()
