"""The command line. Tables for people, `--json` for programs; exit codes as in `main`."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run `clearmark`.

    Exit codes: 0 done and allowed or valid, 1 error, 2 usage or a file that does not parse, 3 blocked or
    held for review, 4 provenance invalid or ledger tampered, 5 no provenance found, 6 a needed model, server
    or key is missing.
    """
    from clearmark.sdk.cli._app import app

    app()
