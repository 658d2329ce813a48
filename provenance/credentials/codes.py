"""The validation codes of the C2PA specification (2.4, section 15.2) in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["EXPLANATIONS", "explain"]

EXPLANATIONS: Mapping[str, str] = MappingProxyType(
    {
        "algorithm.unsupported": "an algorithm was used that C2PA does not allow",
        "assertion.action.ingredientMismatch": "an action names an ingredient that is not there",
        "assertion.action.malformed": "the list of actions is malformed",
        "assertion.action.softBindingMissing": "a bound watermark is claimed without its soft binding",
        "assertion.bmffHash.match": "the content is the one that was signed",
        "assertion.bmffHash.mismatch": "the content was changed after it was signed",
        "assertion.boxesHash.match": "the content is the one that was signed",
        "assertion.boxesHash.mismatch": "the content was changed after it was signed",
        "assertion.dataHash.match": "the content is the one that was signed",
        "assertion.dataHash.additionalExclusionsPresent": "further parts of the file are not hashed",
        "assertion.dataHash.malformed": "the hash of the content is malformed",
        "assertion.dataHash.mismatch": "the content was changed after it was signed",
        "assertion.hashedURI.match": "a statement is the one that was signed",
        "assertion.hashedURI.mismatch": "a statement in the manifest was changed after it was signed",
        "assertion.inaccessible": "a statement cannot be reached",
        "assertion.missing": "a statement that the claim lists is missing",
        "assertion.multipleHardBindings": "more than one hash claims to bind the content",
        "assertion.undeclared": "a statement is there that nobody signed",
        "cawg.ica.credential_valid": "a third party vouches for who signed for it",
        "cawg.identity.assertion.duplicate": "whoever signed for it names a statement twice",
        "cawg.identity.assertion.mismatch": "whoever signed for it signed for other statements than these",
        "cawg.identity.cbor.invalid": "the statement of who stands behind it cannot be read",
        "cawg.identity.hard_binding_missing": "whoever signed for it did not sign for this content",
        "cawg.identity.pad.invalid": "the statement of who stands behind it has hidden bytes",
        "cawg.identity.sig_type.unknown": "who stands behind it is stated in a way that is not checked here",
        "cawg.identity.well-formed": "the statement of who stands behind it is complete",
        "cawg.x509.algorithm.unsupported": "whoever signed for it used an algorithm that C2PA does not allow",
        "cawg.x509.credential.invalid": "the certificate is not one that says who somebody is",
        "cawg.x509.credential.trusted": "a trust anchor for identities vouches for who signed for it",
        "cawg.x509.credential.untrusted": "no trust anchor for identities vouches for who signed for it",
        "cawg.x509.signature.mismatch": "the signature of who stands behind it does not fit",
        "cawg.x509.signature.outside_validity": "the certificate of who stands behind it was not valid then",
        "cawg.x509.signature.validated": "the signature of who stands behind it fits",
        "claim.hardBindings.missing": "nothing ties the manifest to this content",
        "claim.malformed": "the manifest cannot be read",
        "claim.missing": "the manifest has no claim",
        "claim.multiple": "the manifest has more than one claim",
        "claim.signature.missing": "the manifest is not signed",
        "claimSignature.insideValidity": "the certificate was valid when the manifest was signed",
        "claimSignature.mismatch": "the signature does not fit the manifest",
        "claimSignature.missing": "the manifest is not signed",
        "claimSignature.outsideValidity": "the certificate was not valid when the manifest was signed",
        "claimSignature.validated": "the signature fits the manifest",
        "general.error": "the manifest could not be checked to the end",
        "ingredient.claimSignature.mismatch": "the manifest of an ingredient was exchanged",
        "ingredient.manifest.mismatch": "the manifest of an ingredient was changed",
        "ingredient.manifest.missing": "the manifest of an ingredient is missing",
        "ingredient.manifest.validated": "the manifest of an ingredient is the one that was taken in",
        "ingredient.unknownProvenance": "an ingredient came without credentials",
        "manifest.inaccessible": "the manifest is not inside the file and was not fetched",
        "manifest.multipleParents": "the manifest names more than one parent",
        "manifest.timestamp.invalid": "the time stamp does not hold",
        "manifest.update.invalid": "an update manifest changes more than it may",
        "signingCredential.expired": "the certificate had ended, and no time stamp shows an earlier signing",
        "signingCredential.invalid": "the certificate is not one that may sign claims",
        "signingCredential.ocsp.inaccessible": "whether the certificate was revoked could not be asked",
        "signingCredential.ocsp.notRevoked": "the certificate was not revoked",
        "signingCredential.ocsp.revoked": "the certificate was revoked",
        "signingCredential.ocsp.skipped": "whether the certificate was revoked was not asked: no network",
        "signingCredential.ocsp.unknown": "the authority does not know the certificate",
        "signingCredential.revoked": "the certificate was revoked",
        "signingCredential.trusted": "a trust anchor vouches for the signer",
        "signingCredential.untrusted": "no trust anchor vouches for the signer",
        "timeOfSigning.insideValidity": "the time stamp lies within the certificate's life",
        "timeOfSigning.outsideValidity": "the time stamp lies outside the certificate's life",
        "timeStamp.malformed": "the time stamp cannot be read",
        "timeStamp.mismatch": "the time stamp belongs to something else",
        "timeStamp.outsideValidity": "the time stamp's certificate was not valid",
        "timeStamp.trusted": "a trust anchor vouches for the time stamp",
        "timeStamp.untrusted": "no trust anchor vouches for the time stamp",
        "timeStamp.validated": "the time stamp holds",
    }
)
"""What each code means for somebody who asks whether to believe a picture."""


def explain(code: str, said: str = "") -> str:
    """Return the meaning of `code`; for a code that is not known, what the library `said` about it."""
    return EXPLANATIONS.get(code) or said or "not a code of the specification"
