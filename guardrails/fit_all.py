"""Fit again what the guards ship: `python -m clearmark.guardrails.fit_all --data F ...` or `make guards`.

Every step writes the list or the weights that it makes, in place; `git diff` shows what came out otherwise.
What a step is made from comes from registries (npm, PyPI, Debian), beside the labelled prompts of `--data`:

    npm pack simple-icons name-suggestion-index    # unpacked: --icons, --index
    pip install nba_api resvg-py
    apt-get install wamerican mate-backgrounds openclipart-svg   # --words, --photos, --drawings
    apt-get install openclipart-png              # --clipart
    apt-get install hedgewars-data supertux-data megaglest-data   # beside the clip art in --paintings
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["STEPS", "Step", "main"]


@dataclass(frozen=True)
class Step:
    """One step: the module that does it, its first argument where it has several jobs, and its options."""

    name: str
    module: str
    job: str
    needs: tuple[str, ...]

    def command(self, given: dict[str, Path]) -> list[str]:
        """Return the command line that does it."""
        options = [part for name in self.needs for part in (f"--{name}", str(given[name]))]
        return [sys.executable, "-m", self.module, *([self.job] if self.job else []), *options]


_ROOM = "clearmark.guardrails"
STEPS: tuple[Step, ...] = (
    Step("words", f"{_ROOM}.prompt.fit", "words", ("data", "drawings")),
    Step("prompts", f"{_ROOM}.prompt.fit", "model", ("data", "drawings")),
    Step("sentences", f"{_ROOM}.prompt.fit", "sentences", ("data", "drawings")),
    Step("calibration", f"{_ROOM}.prompt.fit", "calibrate", ("data", "drawings")),
    Step("card", f"{_ROOM}.prompt.fit", "card", ("data", "drawings")),
    Step("people", f"{_ROOM}.likeness.build", "", ("labels", "data")),
    Step("brands", f"{_ROOM}.trademark.build", "", ("icons", "index", "data", "words")),
    Step("characters", f"{_ROOM}.trademark.descriptions", "fit", ("data",)),
    Step("logos", f"{_ROOM}.trademark.logos", "build", ("icons", "photos", "clipart")),
    Step("logo-weights", f"{_ROOM}.trademark.logos", "fit", ("icons", "photos", "clipart")),
    Step("look", f"{_ROOM}.output.look_fitting", "fit", ("photos", "paintings")),
)
"""In the order in which they build on one another."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps, all or those named; returns the code of the first that fails, 2 for a missing option."""
    parser = argparse.ArgumentParser(prog="python -m clearmark.guardrails.fit_all", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS], help="these steps alone")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and run none")
    needed = dict.fromkeys(name for step in STEPS for name in step.needs)
    for name in needed:
        parser.add_argument(f"--{name}", type=Path)
    options = parser.parse_args(argv)
    given = {name: path for name in needed if (path := getattr(options, name)) is not None}
    chosen = [step for step in STEPS if not options.only or step.name in options.only]
    # Before the first step runs: a fit of an hour must not end at a path that was never there.
    faults = [
        f"{step.name}: --{name} is missing" if name not in given else f"--{name}: there is no {given[name]}"
        for step in chosen
        for name in step.needs
        if name not in given or not given[name].exists()
    ]
    if faults:
        sys.stderr.write("\n".join(dict.fromkeys(faults)) + "\n")
        return 2
    for step in chosen:
        command = step.command(given)
        sys.stdout.write(" ".join(command[1:]) + "\n")
        sys.stdout.flush()
        if options.dry_run:
            continue
        # A process each: what one step has read of the lists must not be what the next one sees.
        done = subprocess.run(  # noqa: S603  our own modules
            command, check=False, env={**os.environ, "PYTHONHASHSEED": "0"}
        )
        code = done.returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
