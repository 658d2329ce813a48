"""The command tree: this module only wires."""

from __future__ import annotations

import typer

from clearmark.sdk.cli import (
    _ledger_database as database,
)
from clearmark.sdk.cli import (
    bench,
    check,
    data,
    generate,
    index,
    ledger,
    mark,
    memorization,
    models,
    policy,
    report,
    review,
    trust,
    verify,
)
from clearmark.sdk.cli import (
    eval as evaluation,
)

__all__ = ["app"]

app = typer.Typer(
    name="clearmark",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Safety, provenance and compliance for every picture that an image generator makes.",
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    """Safety, provenance and compliance for every picture that an image generator makes."""
    if version:
        from clearmark import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


app.command("generate")(generate.generate)
app.add_typer(check.app, name="check", help="Measure prompts or pictures, and say what the policy decides.")
app.add_typer(
    evaluation.app, name="eval", help="How well guards and your policy do on your own labelled rows."
)
app.command("mark")(mark.mark)
app.command("verify")(verify.verify)
app.add_typer(ledger.app, name="ledger", help="Check, read and prove what is on record.")
app.add_typer(database.app, name="db", help="The tables that the ledger is kept in: upgrade, roles.")
app.add_typer(policy.app, name="policy", help="Check and read policy files.")
app.add_typer(review.app, name="review", help="What waits for people, and what they decide.")
app.command("report")(report.report)
app.add_typer(models.app, name="models", help="The weights on record: what is used, under which licence.")
app.add_typer(data.app, name="data", help="What models are trained on: import, audit, document, remove.")
app.add_typer(
    memorization.app, name="memorization", help="Which prompts give back what a model was trained on."
)
app.add_typer(index.app, name="index", help="What a model was trained on: is a picture a copy of it?")
app.add_typer(trust.app, name="trust", help="Whose Content Credentials are trusted.")
app.command("bench", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench.bench)
