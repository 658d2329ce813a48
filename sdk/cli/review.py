"""`clearmark review`: what waits for people, and what they decide."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clearmark.core.errors import MediaError, UsageError
from clearmark.sdk.cli._console import command, emit, out, say, table
from clearmark.sdk.cli._options import HomeOption, JsonOption, PolicyOption

if TYPE_CHECKING:
    from clearmark.audits.reviews import Review
    from clearmark.core import Asset
    from clearmark.sdk.reviewing import Reviews

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="REVIEW", help="The id of the review.")]
ReviewerOption = Annotated[
    str, typer.Option("--reviewer", envvar="CLEARMARK_REVIEWER", help="Who you are; kept encrypted.")
]
NoteOption = Annotated[str, typer.Option("--note", help="Why, in words; kept encrypted.")]


@contextmanager
def _reviews(home: Path | None, policy: str = "default") -> Iterator[Reviews]:
    from clearmark.sdk.home import Home
    from clearmark.sdk.reviewing import Reviews

    with Reviews.open(Home.locate(home), policy) as reviews:
        yield reviews


@app.command("list")
@command
def list_(
    state: Annotated[
        list[str] | None, typer.Option("--state", help="open, claimed, approved, …; default: what waits.")
    ] = None,
    category: Annotated[str | None, typer.Option("--category", help="Items of one category.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Items of one tenant.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many, oldest first.")] = 50,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """List what waits for review, oldest first."""
    from clearmark.audits.reviews import State

    known = {item.value: item for item in State}
    for word in state or []:
        if word not in known:
            raise UsageError(f"unknown state {word!r}", hint=f"one of {', '.join(known)}")
    states = tuple(known[word] for word in state or ("open", "claimed"))
    with _reviews(home) as reviews:
        found = reviews.queue.list(states=states, tenant=tenant, category=category, limit=limit)
    if json_:
        for review in found:
            emit(review.to_dict())
    elif not found:
        say("nothing waits")
    else:
        table(
            "",
            ("review", "state", "what", "categories", "votes", "until"),
            [
                (
                    review.review_id,
                    review.state.value,
                    review.what,
                    ", ".join(review.categories),
                    f"{review.approvals}/{review.needed}",
                    _time(review.due_us)[:10],
                )
                for review in found
            ],
        )
    return 0


@app.command("show")
@command
def show(
    review_id: IdArgument,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write the picture there, blurred unless --reveal.")
    ] = None,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show it as it is, and the prompt. Needs your claim; on record.")
    ] = False,
    reviewer: ReviewerOption = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Show one review; with --out a blurred preview, with --reveal what is held itself."""
    with _reviews(home) as reviews:
        prompt = None
        picture: Asset | None = None
        if reveal:
            request, asset = reviews.reveal(review_id, reviewer=reviewer)
            prompt, picture = request.prompt, asset or request.init_image
        elif out_file is not None:
            picture = reviews.preview(review_id)
        review = reviews.queue.show(review_id)
    written = None
    if out_file is not None and picture is not None:
        written = str(_write(picture, out_file))
    extra: dict[str, Any] = {"written": written} if written else {}
    if prompt is not None:
        extra["prompt"] = prompt
    _say(review, json_=json_, **extra)
    return 0


@app.command("claim")
@command
def claim(
    review_id: IdArgument, reviewer: ReviewerOption = "", home: HomeOption = None, json_: JsonOption = False
) -> int:
    """Take a review, so that nobody else decides it meanwhile."""
    with _reviews(home) as reviews:
        review = reviews.queue.claim(review_id, reviewer=reviewer)
    _say(review, json_=json_)
    return 0


@app.command("decide")
@command
def decide(
    review_id: IdArgument,
    approve: Annotated[bool, typer.Option("--approve/--reject", help="Let it out, or not.")],
    reviewer: ReviewerOption = "",
    note: NoteOption = "",
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="CATEGORY=violation|fine", help="What it is, for guard precision."),
    ] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Approve or reject, claiming the review first where nobody has."""
    from clearmark.audits.reviews import State

    labels = dict(_label(text) for text in label or [])
    with _reviews(home) as reviews:
        if reviews.queue.show(review_id).state is State.OPEN:
            reviews.queue.claim(review_id, reviewer=reviewer)
        review = reviews.decide(
            review_id, reviewer=reviewer, approve=approve, note=note, labels=labels or None
        )
    _say(review, json_=json_)
    return 0


@app.command("escalate")
@command
def escalate(
    review_id: IdArgument,
    reviewer: ReviewerOption = "",
    note: NoteOption = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Hand a claimed review up: two other persons must approve it then."""
    with _reviews(home) as reviews:
        review = reviews.queue.escalate(review_id, reviewer=reviewer, note=note)
    _say(review, json_=json_)
    return 0


@app.command("appeal")
@command
def appeal(
    review_id: IdArgument,
    by: Annotated[str, typer.Option("--by", help="Who appeals: the person who asked, or for them.")],
    note: NoteOption = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Have a rejected review decided once more, by two persons who have not decided it."""
    with _reviews(home) as reviews:
        review = reviews.queue.appeal(review_id, by=by, note=note)
    _say(review, json_=json_)
    return 0


@app.command("release")
@command
def release(
    review_id: IdArgument,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the picture and its receipt.")] = Path(),
    backend: Annotated[
        str, typer.Option("--backend", help="For a held request: reference, diffusers:PATH-or-id, …")
    ] = "reference",
    policy: PolicyOption = "default",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Let out what was approved: a picture marked, a request generated once."""
    from clearmark.audits.reviews import REQUEST
    from clearmark.sdk.cli.generate import finish

    with _reviews(home, policy) as reviews:
        if reviews.queue.show(review_id).what == REQUEST:
            from clearmark.sdk.studio import Studio

            with Studio.from_policy(policy, home=home, backend=backend) as studio:
                result = studio.generate_approved(review_id)
            return finish(result, out_dir, json_=json_)
        released = reviews.release(review_id)
    path = _write(released.asset, out_dir / f"{review_id}{released.asset.extension}")
    _write_text(path.with_suffix(".receipt"), released.receipt.text)
    if json_:
        emit({**released.review.to_dict(), "path": str(path), "mark": dict(released.mark)})
    else:
        say(f"{path}  mark {released.review.mark_id}")
    return 0


@app.command("sweep")
@command
def sweep(home: HomeOption = None, json_: JsonOption = False) -> int:
    """Destroy what has expired and what belonged to erased persons."""
    with _reviews(home) as reviews:
        swept = reviews.queue.sweep()
    if json_:
        emit({"swept": swept})
    else:
        say(f"{swept} items destroyed")
    return 0


def _label(text: str) -> tuple[str, bool]:
    category, _, word = text.partition("=")
    if word not in {"violation", "fine"}:
        raise UsageError(f"--label {text!r} is not CATEGORY=violation or CATEGORY=fine")
    return category, word == "violation"


def _say(review: Review, *, json_: bool, **extra: Any) -> None:
    if json_:
        emit({**review.to_dict(), **extra})
        return
    out().print(f"[bold]{review.state.value}[/]  {review.what} {review.review_id}")
    votes = f"{review.approvals} of {review.needed} approvals"
    say(f"  {votes}, level {review.level}, until {_time(review.due_us)}")
    say(f"  stage {review.stage}; {', '.join(review.categories) or 'no category'}; {', '.join(review.rules)}")
    for trigger in review.triggers:
        say(f"  {trigger.guard} {trigger.guard_version}: {trigger.category} {trigger.score / 1e6:.3f}")
    for name, value in extra.items():
        say(f"  {name}: {value}")


def _write(picture: Asset, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(picture.data)
    except OSError as exc:
        raise MediaError(f"{path}: {exc.strerror}", hint="choose another --out") from exc
    return path


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as exc:
        raise MediaError(f"{path}: {exc.strerror}", hint="choose another --out") from exc


def _time(ts_us: int) -> str:
    return dt.datetime.fromtimestamp(ts_us / 1e6, dt.UTC).isoformat(timespec="seconds")
