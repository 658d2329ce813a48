"""Content Credentials: signed C2PA manifests inside pictures, written and read back."""

from clearmark.provenance.credentials.development import (
    DevelopmentCredentials,
    make_development_ca,
    renew_development_leaf,
)
from clearmark.provenance.credentials.manifest import LedgerRef, ManifestSpec, SoftBinding
from clearmark.provenance.credentials.reader import Check, CredentialReader, Credentials, Ingredient
from clearmark.provenance.credentials.signer import ManifestSigner, Signed
from clearmark.provenance.credentials.trust import pem_blocks

__all__ = [
    "Check",
    "CredentialReader",
    "Credentials",
    "DevelopmentCredentials",
    "Ingredient",
    "LedgerRef",
    "ManifestSigner",
    "ManifestSpec",
    "Signed",
    "SoftBinding",
    "make_development_ca",
    "pem_blocks",
    "renew_development_leaf",
]
