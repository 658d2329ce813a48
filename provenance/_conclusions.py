"""What a verification means, in words for somebody who never heard of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clearmark.provenance.verify import Verification

__all__ = ["conclude"]

_CHANGED = {
    "assertion.bmffHash.mismatch",
    "assertion.boxesHash.mismatch",
    "assertion.dataHash.mismatch",
    "assertion.hashedURI.mismatch",
    "assertion.missing",
    "claimSignature.mismatch",
    "ingredient.manifest.mismatch",
    "ingredient.manifest.missing",
}
_EXPIRED = {"signingCredential.expired", "claimSignature.outsideValidity", "timeOfSigning.outsideValidity"}
_REVOKED = {"signingCredential.revoked", "signingCredential.ocsp.revoked"}
_CERTIFICATE = {"signingCredential.invalid", "algorithm.unsupported"}

_SOURCES = {
    "trainedAlgorithmicMedia": "made by a trained model",
    "compositeWithTrainedAlgorithmicMedia": "altered with a trained model",
    "compositeSynthetic": "composed with synthetic parts",
    "algorithmicMedia": "made by an algorithm",
    "algorithmicallyEnhanced": "enhanced by an algorithm",
    "digitalCapture": "taken by a camera",
    "humanEdits": "edited by hand",
    "screenCapture": "captured from a screen",
}


def conclude(verification: Verification, ledger: Mapping[str, Any] | None = None) -> str:
    """Say what is known about a picture and what is not.

    `ledger` is what the ledger answered: `{found, mark_id, event_id, seq, inclusion}`; None when
    it was not asked.
    """
    if verification.problem and verification.credentials.state == "absent":
        return f"Not a picture that can be read: {verification.problem}."
    sentences = [
        _credentials(verification),
        *_identities(verification),
        *_recovered(verification),
        *_watermark(verification, ledger),
        *_metadata(verification),
    ]
    if verification.is_empty and verification.recovered is None:
        return (
            "No provenance was found: no Content Credentials, no watermark, no metadata. "
            "That proves nothing: all of them can be removed, and most pictures never had any."
        )
    return " ".join([*(text for text in sentences if text), *_ledger(verification, ledger)])


def _credentials(verification: Verification) -> str:
    credentials = verification.credentials
    signer = credentials.signer or "an unnamed signer"
    source = credentials.digital_source_type.rsplit("/", 1)[-1]
    made = f" It says that the picture was {_SOURCES[source]}." if source in _SOURCES else ""
    if credentials.state == "trusted":
        text = f"Signed by {signer}, whom the trust list vouches for; unchanged since.{made}"
    elif credentials.state == "valid":
        text = (
            f"Unchanged since it was signed, but the signer is untrusted: no trust anchor vouches for "
            f"{signer}, and anybody can make such a certificate.{made}"
        )
    elif credentials.state == "invalid":
        text = _invalid(verification, signer)
    else:
        return ""
    for contradiction in verification.contradictions:
        text += f" Contradiction: {contradiction}. Do not rely on it."
    if any(ingredient.state == "invalid" for ingredient in credentials.ingredients):
        text += " It was made from a picture whose own credentials were already broken."
    return text


def _invalid(verification: Verification, signer: str) -> str:
    codes = {check.code for check in verification.credentials.failures}
    if codes & _REVOKED:
        return f"The certificate of {signer} was revoked: what it signed is not to be relied on."
    if codes & _CHANGED:
        return f"Tampered: the picture or its credentials were changed after {signer} signed them."
    if codes & _EXPIRED:
        return (
            f"Expired: the certificate of {signer} was not valid, and no time stamp shows that the picture "
            "was signed while it was."
        )
    if codes & _CERTIFICATE:
        return f"The certificate of {signer} is not one that may sign Content Credentials."
    reasons = "; ".join(dict.fromkeys(check.explanation for check in verification.credentials.failures))
    return f"The Content Credentials do not hold: {reasons or 'the checks did not pass'}."


def _identities(verification: Verification) -> list[str]:
    """Say who else signed for a picture whose manifest holds."""
    if verification.credentials.state not in {"trusted", "valid"}:
        return []
    out = []
    for identity in verification.credentials.identities:
        name = identity.name or "somebody unnamed"
        if identity.issuer and identity.issuer != name:
            name += f" ({identity.issuer})"
        role = ", ".join(one.rpartition(".")[2] for one in identity.roles)
        role = f" as {role}" if role else ""
        if identity.state == "trusted":
            out.append(f"{name} signed for it{role}; a trust list for identities vouches for that name.")
        elif identity.state == "valid":
            out.append(
                f"It is signed in the name of {name}{role}, for which nobody on a trust list for identities "
                "vouches: anybody can make such a certificate."
            )
        elif identity.state == "invalid":
            out.append("A signature in it that should say who stands behind it does not hold.")
        else:
            out.append("Who stands behind it is stated in a way that is not checked here.")
    return out


def _recovered(verification: Verification) -> list[str]:
    recovered = verification.recovered
    if recovered is None:
        return []
    signer = recovered.credentials.signer or "an unnamed signer"
    worth = {
        "trusted": f"signed by {signer}, whom the trust list vouches for",
        "valid": f"signed by {signer}, for whom nobody on the trust list vouches",
        "invalid": "but its signature does not hold",
    }[recovered.signer_state]
    since = "the file is unchanged" if recovered.unchanged else "the pixels or the file were changed since"
    if recovered.via == "watermark":
        return [f"Recovered from the watermark: a stored manifest, {worth}; {since}."]
    if recovered.via == "service":
        return [
            f"The resolution service that was sent the picture names a stored manifest, {worth}; {since}. "
            "That the manifest belongs to this picture is the service's word."
        ]
    return [
        f"A picture that looks like this one has a stored manifest, {worth}. Likeness does not prove that "
        "it is the same picture."
    ]


def _watermark(verification: Verification, ledger: Mapping[str, Any] | None) -> list[str]:
    best = verification.watermark
    if best is None:
        return []
    if verification.credentials.state == "absent":
        text = (
            f"The Content Credentials are gone, but the watermark {best.mark_id} is still in the pixels: the "
            "picture was marked as AI-made, and has been copied or changed since."
        )
        if ledger is None:
            text += " What it was marked for stands in the ledger of whoever marked it."
        return [text]
    return [f"The watermark {best.mark_id} is in the pixels."]


def _metadata(verification: Verification) -> list[str]:
    iptc = (verification.metadata.get("iptc") or {}).get("DigitalSourceType", "").rsplit("/", 1)[-1]
    aigc = verification.metadata.get("aigc")
    if verification.credentials.state in {"trusted", "valid"} or verification.watermark is not None:
        return []
    if iptc in _SOURCES:
        return [f"Its metadata say that it was {_SOURCES[iptc]}; anybody can write or remove that."]
    if aigc:
        return ["Its metadata carry a label for AI-made content; anybody can write or remove that."]
    return []


def _ledger(verification: Verification, ledger: Mapping[str, Any] | None) -> list[str]:
    if ledger is None or not verification.mark_ids:
        return []
    if not ledger.get("found"):
        return [
            "This ledger holds no decision for its mark: it was marked elsewhere, or the mark is borrowed."
        ]
    named = ledger.get("mark_id") or verification.mark_ids[0]
    if named not in verification.bound_mark_ids:
        return [
            f"A statement in it that anybody can copy names the mark {named}, which this ledger knows; "
            "nothing ties this picture to that record."
        ]
    where = f"The ledger holds the decision that let it out (event {ledger.get('event_id')}"
    where += f", number {ledger['seq']})" if ledger.get("seq") is not None else ")"
    inclusion = ledger.get("inclusion")
    if inclusion == "verified":
        return [f"{where}, and proves that it is on record."]
    if inclusion == "failed":
        return [f"{where}, but its proof fails: the record was tampered with."]
    return [f"{where}; whether it is on record was not proved."]
