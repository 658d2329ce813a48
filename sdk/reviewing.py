"""Reviews in the way of a request: what is withheld is held, and what people approve leaves marked.

A picture that was approved is marked like any other, under the event of its last approval. A request that
was approved is generated once, as a request of its own: its prompt is not asked about again, everything else
is, and the picture that comes out of it has to pass like any other.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from clearmark.core import Action, Asset, Event, Mark, Origin, Request, Task, micro, uuid7
from clearmark.core.closing import Closing
from clearmark.core.errors import LedgerTampered, UsageError
from clearmark.sdk import records
from clearmark.sdk.obligations import blurred

if TYPE_CHECKING:
    from clearmark.audits import Ledger, Receipt
    from clearmark.audits.reviews import Hold, Review, ReviewQueue, Trigger
    from clearmark.policies import Policy
    from clearmark.sdk.checking import Decision
    from clearmark.sdk.home import Home
    from clearmark.sdk.stamping import Stamper

__all__ = ["Holding", "ReleasedReview", "Reviews", "Withholding"]

_MAGIC = b"clearmark held 1\n"


@dataclass(frozen=True, kw_only=True)
class Withholding:
    """What a verdict of `review` withheld: a picture, or (without `asset`) the request itself."""

    request: Request
    decision: Decision
    decision_event: str
    asset: Asset | None = None
    index: int = 0


Holding = Callable[[Sequence[Withholding]], list[str]]
"""Holds what was withheld and returns the ids of the reviews, empty for what is never held."""


@dataclass(frozen=True, kw_only=True)
class ReleasedReview:
    """A picture that left after review: the bytes as signed, what they carry, the proof of the approval."""

    review: Review
    asset: Asset
    mark: Mapping[str, Any]
    receipt: Receipt


class Reviews(Closing):
    """The review queue of a state folder: lists, decides, and lets approved pictures out, marked."""

    def __init__(
        self,
        home: Home,
        *,
        ledger: Ledger,
        stamper: Callable[[], Stamper],
        policy: Callable[[], Policy],
    ) -> None:
        self._home = home
        self._ledger = ledger
        self._new_stamper = stamper
        self._policy = policy
        self._opened: ReviewQueue | None = None

    @classmethod
    def open(cls, home: Home, policy: str | Policy = "default") -> Self:
        """Open the queue of a state folder; close it after use, or use it as a context manager.

        Raises:
            UsageError: when there is no ledger. KeyUnavailable, LedgerError: as their names say.
        """
        from clearmark.policies import Policy
        from clearmark.sdk.stamping import Stamper
        from clearmark.sdk.studio import open_ledger

        if not home.database.exists():
            raise UsageError(f"no ledger in {home.path}", hint="name its state folder with --home")
        loaded = policy if isinstance(policy, Policy) else Policy.load(policy)
        return cls(
            home,
            ledger=open_ledger(home, create=False),
            stamper=lambda: Stamper.from_home(home, loaded),
            policy=lambda: loaded,
        )

    @property
    def queue(self) -> ReviewQueue:
        """The queue itself, opened by its first use.

        Raises:
            LedgerError: when it cannot be opened. UsageError: when `reviews.json` does not parse.
        """
        if self._opened is None:
            from clearmark.audits.reviews import ReviewQueue, ReviewRules

            self._opened = ReviewQueue.open(
                self._home.path / "reviews.db",
                ledger=self._ledger,
                vault_key=self._home.vault_key,
                rules=ReviewRules.load(self._home.path / "reviews.json"),
            )
        return self._opened

    def hold(self, items: Sequence[Withholding]) -> list[str]:
        """Hold what was withheld; see `Holding`.

        Raises:
            Unavailable, LedgerError: when it cannot be held. Then nothing of it may be let out either.
        """
        return self.queue.hold([_hold(item, self._policy()) for item in items]) if items else []

    def decide(self, review_id: str, *, reviewer: str, approve: bool, **options: Any) -> Review:
        """Approve or reject a claimed item; see `ReviewQueue.decide`. A picture gets its mark id here."""
        from clearmark.provenance import new_mark_id

        return self.queue.decide(
            review_id, reviewer=reviewer, approve=approve, mark_id=new_mark_id() if approve else "", **options
        )

    def preview(self, review_id: str) -> Asset:
        """Return the held picture, or what a held request starts from, blurred beyond recognition.

        Raises:
            ReviewRefused: when it was destroyed. UsageError: for a request without a picture.
        """
        item = _unpack(self.queue.payload(review_id))
        picture = item.asset or item.request.init_image
        if picture is None:
            raise UsageError("the request has no picture", hint="claim it and reveal its prompt")
        return blurred(picture)

    def reveal(self, review_id: str, *, reviewer: str) -> tuple[Request, Asset | None]:
        """Return what is held as it is, to the reviewer who has claimed it. That they looked is on record."""
        item = _unpack(self.queue.reveal(review_id, reviewer=reviewer))
        return item.request, item.asset

    def release(self, review_id: str) -> ReleasedReview:
        """Mark an approved picture, record it as written and released, and return it.

        The second call returns the same bytes, until they are due to be destroyed.

        Raises:
            ReviewRefused: when it is not approved. MarkingFailed, LedgerError: then it stays where it is.
        """
        from clearmark.audits.reviews import PICTURE, State
        from clearmark.sdk.stamping import Stamp

        review = self.queue.show(review_id)
        if review.what != PICTURE:
            raise UsageError("a request is held, not a picture", hint="Studio.generate_approved makes it")
        if review.state is State.APPROVED:
            item = _unpack(self.queue.payload(review_id))
            final = self._ledger.get(review.final_event)
            if item.asset is None or item.asset.sha256 != review.sha256:
                raise LedgerTampered("the held picture is not the one that was withheld", hint="reject it")
            # The obligations of the rules that held beside the review are not lifted by it.
            action = Action.parse(review.obligation)
            ((asset, mark),) = self._new_stamper().stamp(
                [
                    Stamp(
                        asset=blurred(item.asset) if action is Action.BLUR else item.asset,
                        mark_id=review.mark_id,
                        event=final,
                        request=item.request,
                        action=action,
                        source="created" if item.request.init_image is None else "altered",
                    )
                ]
            )
            review, _ = self.queue.release(
                review_id,
                events=_released(item.request, asset, mark, review),
                sha256=asset.sha256,
                marked=_pack(Request("", request_id=review.request_id), asset, mark=mark.to_dict()),
            )
        item = _unpack(self.queue.marked(review_id))
        assert item.asset is not None
        return ReleasedReview(
            review=review,
            asset=item.asset,
            mark=item.mark,
            receipt=self._ledger.receipt(review.final_event),
        )

    def take(self, review_id: str) -> Request:
        """Return an approved request under a new id, once: what is taken counts as released.

        Raises:
            ReviewRefused: when it is not approved, or was taken before.
        """
        from clearmark.audits.reviews import REQUEST, ReviewRefused

        review = self.queue.show(review_id)
        if review.what != REQUEST:
            raise UsageError("a picture is held, not a request", hint="release it")
        request = replace(_unpack(self.queue.payload(review_id)).request, request_id=uuid7())
        events = [
            _event("review.generated", review, {"generated_as": request.request_id}),
            replace(
                _event("review.admitted", review, {"request": review.request_id}),
                request_id=request.request_id,
            ),
        ]
        _, mine = self.queue.release(review_id, events=events)
        if not mine:
            raise ReviewRefused("the request was generated before", hint="an approval is good for one time")
        return request

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()


def _hold(item: Withholding, policy: Policy) -> Hold:
    from clearmark.audits.reviews import PICTURE, REQUEST, Hold

    verdict, request = item.decision.verdict, item.request
    withholding = {
        hit.rule
        for hit in verdict.trace
        if hit.held and hit.mode == "enforce" and hit.action >= Action.REGENERATE
    }
    reasons = [reason for reason in verdict.reasons if reason.rule in withholding]
    categories = tuple(dict.fromkeys(reason.category for reason in reasons if reason.category))
    milder = [
        hit.action for hit in verdict.trace if hit.held and hit.mode == "enforce" and hit.action.releases
    ]
    return Hold(
        what=REQUEST if item.asset is None else PICTURE,
        request_id=request.request_id,
        tenant=request.tenant,
        actor=request.actor,
        subject=records.subject_of(request),
        stage=verdict.stage,
        categories=categories,
        rules=verdict.rules,
        triggers=_triggers(item.decision, categories, policy),
        decision_event=item.decision_event,
        payload=_pack(request, item.asset),
        index=item.index,
        sha256=item.asset.sha256 if item.asset else "",
        obligation=max(milder, default=Action.ALLOW).word,
    )


def _triggers(decision: Decision, categories: Sequence[str], policy: Policy) -> tuple[Trigger, ...]:
    """Name the guards that raised each category: at the policy's lowest score or above, else the highest."""
    from clearmark.audits.reviews import Trigger
    from clearmark.core import Stage

    out = []
    for category in categories:
        scores: dict[tuple[str, str], int] = {}
        for finding in decision.observation.findings:
            if finding.category == category:
                guard = (finding.guard, finding.guard_version)
                scores[guard] = max(scores.get(guard, 0), micro(finding.score))
        threshold = policy.thresholds[Stage(decision.verdict.stage)].get(category)
        highest = max(scores.values(), default=0)
        floor = highest if threshold is None else min(threshold.lowest, highest)
        out += [
            Trigger(category=category, guard=name, guard_version=version, score=score)
            for (name, version), score in sorted(scores.items())
            if score >= floor
        ]
    return tuple(out)


def _event(kind: str, review: Review, body: Mapping[str, Any]) -> Event:
    return Event(
        kind=kind,
        request_id=review.request_id,
        tenant=review.tenant,
        body={"review": review.review_id, **body},
    )


def _released(request: Request, asset: Asset, mark: Mark, review: Review) -> list[Event]:
    events = [
        records.mark_written(request, asset, mark, decision_event=review.final_event),
        # A kind of its own: the request itself has ended before, as refused, and a request ends once.
        replace(
            records.result_closed(
                request, verdict=Action.parse(review.obligation), released=[asset], withheld=0, reasons=()
            ),
            kind="review.released",
        ),
    ]
    return [replace(event, body={**event.body, "review": review.review_id}) for event in events]


@dataclass(frozen=True, kw_only=True)
class _Item:
    request: Request
    asset: Asset | None
    mark: Mapping[str, Any] = field(default_factory=dict)


def _pack(request: Request, asset: Asset | None, *, mark: Mapping[str, Any] | None = None) -> bytes:
    """Write a request and a picture as bytes: a line that names the format, a JSON header, the media."""
    said = asdict(replace(request, init_image=None, mask=None, parameters={}))
    said["parameters"] = dict(request.parameters)
    parts = {"asset": asset, "init_image": request.init_image, "mask": request.mask}
    header = {
        "request": said,
        "mark": mark or {},
        "media": {
            name: None
            if part is None
            else {
                "size": len(part.data),
                "media_type": part.media_type,
                "width": part.width,
                "height": part.height,
                "origin": None
                if part.origin is None
                else {**vars(part.origin), "parameters": dict(part.origin.parameters)},
            }
            for name, part in parts.items()
        },
    }
    try:
        text = json.dumps(header, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise UsageError(
            "the parameters of the request cannot be written as JSON, so it cannot be held for review",
            hint="pass plain values",
        ) from exc
    media = b"".join(part.data for part in parts.values() if part is not None)
    return _MAGIC + struct.pack(">I", len(text)) + text + media


def _unpack(data: bytes) -> _Item:
    """Read what `_pack` wrote. It was authenticated before, so a fault here is one of versions."""
    stream = io.BytesIO(data)
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise UsageError(
            "the held item is of another version", hint="release it with the version that held it"
        )
    (size,) = struct.unpack(">I", stream.read(4))
    header = json.loads(stream.read(size))
    media = {
        name: None if said is None else _asset(said, stream.read(said["size"]))
        for name, said in header["media"].items()
    }
    said = header["request"]
    said |= {"task": Task(said["task"]), "consent": tuple(said["consent"])}
    request = Request(**said | {"init_image": media["init_image"], "mask": media["mask"]})
    return _Item(request=request, asset=media["asset"], mark=header["mark"])


def _asset(said: Mapping[str, Any], data: bytes) -> Asset:
    origin = said["origin"]
    return Asset(
        data=data,
        media_type=said["media_type"],
        width=said["width"],
        height=said["height"],
        origin=None if origin is None else Origin(**{**origin, "parents": tuple(origin["parents"])}),
    )
