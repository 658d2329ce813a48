"""What each step of a request leaves on record: from the nouns to events.

Personal data (prompts, the actor, input pictures, what a guard quoted) goes into `personal`; bodies hold what
a regulator may read: digests, versions, scores, verdicts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clearmark.core import Action, Asset, Event, Mark, Reason, Request, Stage, micro, uuid7

if TYPE_CHECKING:
    from clearmark.policies import Policy, Reload
    from clearmark.sdk.checking import Decision

__all__ = [
    "ANONYMOUS",
    "TERMINAL_KINDS",
    "decided",
    "generation_completed",
    "mark_requested",
    "mark_written",
    "policy_changed",
    "policy_unsafe",
    "request_received",
    "result_closed",
    "result_failed",
    "subject_of",
]

ANONYMOUS = "anonymous"
"""The actor of a request that names none."""

TERMINAL_KINDS = ("result.released", "result.refused", "result.failed")
"""The kinds that end a request. Every `request.received` is followed by exactly one of them."""

_DECISION_KINDS = {
    Stage.PROMPT: "prompt.decided",
    Stage.INPUT_MEDIA: "input.decided",
    Stage.OUTPUT: "output.decided",
}


def request_received(request: Request, *, process: str, counter: int) -> Event:
    """Record that a request came in. `process` and `counter` let an auditor see gaps."""
    personal = {"prompt": request.prompt.encode("utf-8", "surrogatepass"), "actor": request.actor.encode()}
    if request.negative_prompt:
        personal["negative_prompt"] = request.negative_prompt.encode("utf-8", "surrogatepass")
    for name, asset in (("init_image", request.init_image), ("mask", request.mask)):
        if asset is not None:
            personal[f"{name}_sha256"] = asset.sha256.encode()
    body = {
        "task": request.task.value,
        "n": request.n,
        "width": request.width,
        "height": request.height,
        "steps": request.steps,
        # 64-bit seeds do not fit the integers of canonical JSON.
        "seed": None if request.seed is None else str(request.seed),
        "purpose": request.purpose,
        "region": request.region,
        "consent": list(request.consent),
        "process": process,
        "counter": counter,
    }
    return _event("request.received", request, body, personal=personal)


def decided(
    decision: Decision,
    guards: Sequence[Mapping[str, str]],
    *,
    asset: Asset | None = None,
    index: int | None = None,
    attempt: int | None = None,
    mark_id: str | None = None,
) -> Event:
    """Record a decision with everything that the policy saw; a later policy is replayed on this body."""
    observation, verdict = decision.observation, decision.verdict
    body: dict[str, Any] = {
        "inputs": decision.inputs.to_body(),
        "guards": list(guards),
        "findings": [
            {
                "category": finding.category,
                "score": micro(finding.score),
                "guard": finding.guard,
                "guard_version": finding.guard_version,
                "model": finding.model,
            }
            for finding in observation.findings
        ],
        "failures": [
            {
                "guard": failure.guard,
                "guard_version": failure.guard_version,
                "error": failure.error,
                "categories": list(failure.categories),
            }
            for failure in observation.failures
        ],
        "policy": verdict.policy.to_dict(),
        "verdict": verdict.action.word,
        "rules": list(verdict.rules),
        "reasons": [_reason(reason) for reason in verdict.reasons],
    }
    if asset is not None:
        body["asset"] = {"sha256": asset.sha256, "width": asset.width, "height": asset.height}
    places = {"index": index, "attempt": attempt, "mark_id": mark_id}
    body |= {name: value for name, value in places.items() if value is not None}
    # What a guard quotes (spans, matched terms) tells about the prompt, so it is kept as personal data.
    quoted = [finding.to_dict() for finding in observation.findings if finding.evidence.to_dict()]
    return _event(
        _DECISION_KINDS[decision.subject.stage],
        decision.subject.request,
        body,
        personal={"evidence": json.dumps(quoted).encode()} if quoted else {},
        mark_ids=(mark_id,) if mark_id else (),
    )


def generation_completed(
    request: Request, assets: Sequence[Asset], *, generator: Mapping[str, str], attempt: int
) -> Event:
    """Record what a generator made: digests, seeds, and the model with its weights' digest."""
    body = {
        "generator": dict(generator),
        "attempt": attempt,
        "assets": [
            {
                "sha256": asset.sha256,
                "media_type": asset.media_type,
                "width": asset.width,
                "height": asset.height,
                "seed": None if asset.origin is None or asset.origin.seed is None else str(asset.origin.seed),
                "steps": asset.origin.steps if asset.origin else None,
            }
            for asset in assets
        ],
    }
    return _event("generation.completed", request, body)


def mark_requested(
    request: Request,
    asset: Asset,
    *,
    mark_id: str,
    source: str,
    parents: Sequence[Asset] = (),
    placed: Sequence[Asset] = (),
) -> Event:
    """Record that a picture from outside is about to be marked, as what, and which pictures went into it."""
    body: dict[str, Any] = {
        "asset": {"sha256": asset.sha256, "media_type": asset.media_type},
        "mark_id": mark_id,
        "source": source,
    }
    for name, went_in in (("parents", parents), ("placed", placed)):
        if went_in:
            body[name] = [one.sha256 for one in went_in]
    return _event(
        "mark.requested", request, body, personal={"actor": request.actor.encode()}, mark_ids=(mark_id,)
    )


def mark_written(request: Request, asset: Asset, mark: Mark, *, decision_event: str) -> Event:
    """Record the bytes that leave, and every layer that they carry."""
    body: dict[str, Any] = {
        "asset": {"sha256": asset.sha256, "media_type": asset.media_type, "bytes": len(asset.data)},
        "mark_id": mark.id,
        "decision_event": decision_event,
        "layers": {
            "label": mark.label is not None,
            "metadata": sorted(mark.metadata.fields) if mark.metadata else [],
            "watermark": None
            if mark.watermark is None
            else {"codec": mark.watermark.codec, "codec_version": mark.watermark.codec_version},
            "manifest": None
            if mark.manifest is None
            else {
                "label": mark.manifest.label,
                "signer": mark.manifest.signer,
                "digest": mark.manifest.digest,
                "source_type": mark.manifest.source_type,
            },
        },
    }
    if mark.latent is not None:
        body["layers"]["latent"] = {
            "codec": mark.latent.codec,
            "codec_version": mark.latent.codec_version,
        }
    return _event("mark.written", request, body, mark_ids=(mark.id,))


def policy_changed(reload: Reload) -> Event:
    """Record that another policy is in force, or that one was refused."""
    return _unasked(reload.kind, reload.to_body())


def policy_unsafe(policy: Policy) -> Event:
    """Record that a policy is in force that leaves something out which is marked or checked otherwise."""
    body = {"policy": policy.ref.to_dict(), "unsafe": list(policy.unsafe)}
    return _unasked("policy.unsafe", body)


def result_closed(
    request: Request, *, verdict: Action, released: Sequence[Asset], withheld: int, reasons: Sequence[Reason]
) -> Event:
    """Record the end of a request: what left, or that nothing did."""
    body = {
        "verdict": verdict.word,
        "assets": [asset.sha256 for asset in released],
        "withheld": withheld,
        "reasons": [_reason(reason) for reason in reasons],
    }
    return _event("result.released" if released else "result.refused", request, body)


def result_failed(request: Request, error: BaseException) -> Event:
    """Record that a request ended in an error: its class alone, since messages may quote."""
    return _event("result.failed", request, {"error": type(error).__name__})


def subject_of(request: Request) -> str:
    """Return under whose key the personal data of a request is kept.

    Nobody's data in particular is kept under a key of its own request, and erased with it.
    """
    return "" if request.actor == ANONYMOUS else f"{request.tenant}/{request.actor}"


def _reason(reason: Reason) -> dict[str, Any]:
    return {
        "rule": reason.rule,
        "category": reason.category,
        "code": reason.code,
        "legal": list(reason.legal),
    }


def _unasked(kind: str, body: Mapping[str, Any]) -> Event:
    # No request led here: like all such events on record, it stands under its own id.
    event_id = uuid7()
    return Event(kind=kind, request_id=event_id, event_id=event_id, body=body)


def _event(
    kind: str,
    request: Request,
    body: Mapping[str, Any],
    *,
    personal: Mapping[str, bytes] | None = None,
    mark_ids: tuple[str, ...] = (),
) -> Event:
    return Event(
        kind=kind,
        request_id=request.request_id,
        tenant=request.tenant,
        body=body,
        personal=personal or {},
        subject=subject_of(request),
        mark_ids=mark_ids,
    )
