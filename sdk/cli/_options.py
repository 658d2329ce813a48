"""Options that several commands share, so that they are spelt and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["HomeOption", "JsonOption", "PolicyOption"]

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", envvar="CLEARMARK_HOME", help="State folder: ledger, keys. Default: .clearmark"),
]
PolicyOption = Annotated[
    str,
    typer.Option(
        "--policy", envvar="CLEARMARK_POLICY", help="Policy file, or the name of a shipped profile."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON on stdout (JSON Lines for many inputs), and nothing else.")
]
