"""Content Credentials: signed C2PA manifests inside pictures, written and read back."""

from clearmark.provenance.credentials.checks import Check
from clearmark.provenance.credentials.conformance import RuleResult, check_conformance
from clearmark.provenance.credentials.development import (
    DevelopmentCredentials,
    make_development_ca,
    renew_development_leaf,
)
from clearmark.provenance.credentials.identity import Identity
from clearmark.provenance.credentials.identity_signer import IdentitySigner
from clearmark.provenance.credentials.manifest import LedgerRef, ManifestSpec, SoftBinding
from clearmark.provenance.credentials.reader import CredentialReader, Credentials, Ingredient
from clearmark.provenance.credentials.signer import ManifestSigner, Signed
from clearmark.provenance.credentials.thumbnails import Thumbnails
from clearmark.provenance.credentials.timestamps import TimestampAuthority
from clearmark.provenance.credentials.trust import Anchor, anchors_of, pem_blocks

__all__ = [
    "Anchor",
    "Check",
    "CredentialReader",
    "Credentials",
    "DevelopmentCredentials",
    "Identity",
    "IdentitySigner",
    "Ingredient",
    "LedgerRef",
    "ManifestSigner",
    "ManifestSpec",
    "RuleResult",
    "Signed",
    "SoftBinding",
    "Thumbnails",
    "TimestampAuthority",
    "anchors_of",
    "check_conformance",
    "make_development_ca",
    "pem_blocks",
    "renew_development_leaf",
]
