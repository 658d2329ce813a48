"""What is written into media, and read back: label, metadata, watermark, Content Credentials.

>>> from clearmark.provenance import new_mark_id
>>> len(new_mark_id())
16
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if not __name__.startswith("clearmark."):
    raise ImportError(
        "import clearmark.provenance, not provenance: the bare name makes a second class object"
    )

if TYPE_CHECKING:
    from clearmark.provenance._pictures import Encoding
    from clearmark.provenance.credentials import (
        CredentialReader,
        Credentials,
        DevelopmentCredentials,
        LedgerRef,
        ManifestSigner,
        make_development_ca,
        renew_development_leaf,
    )
    from clearmark.provenance.fingerprints import image_code, image_distance
    from clearmark.provenance.ids import new_mark_id
    from clearmark.provenance.labels import LabelSettings
    from clearmark.provenance.marking import Marked, Marker, MarkJob
    from clearmark.provenance.metadata import MetadataSettings
    from clearmark.provenance.repository import ManifestRepository
    from clearmark.provenance.resolution import ResolutionApp, ResolutionClient
    from clearmark.provenance.verify import Recovered, Verification, Verifier, conclude

__all__ = [
    "CredentialReader",
    "Credentials",
    "DevelopmentCredentials",
    "Encoding",
    "LabelSettings",
    "LedgerRef",
    "ManifestRepository",
    "ManifestSigner",
    "MarkJob",
    "Marked",
    "Marker",
    "MetadataSettings",
    "Recovered",
    "ResolutionApp",
    "ResolutionClient",
    "Verification",
    "Verifier",
    "conclude",
    "image_code",
    "image_distance",
    "make_development_ca",
    "new_mark_id",
    "renew_development_leaf",
]

_HOMES = {
    "_pictures": ("Encoding",),
    "credentials": (
        "CredentialReader",
        "Credentials",
        "DevelopmentCredentials",
        "LedgerRef",
        "ManifestSigner",
        "make_development_ca",
        "renew_development_leaf",
    ),
    "fingerprints": ("image_code", "image_distance"),
    "ids": ("new_mark_id",),
    "labels": ("LabelSettings",),
    "marking": ("MarkJob", "Marked", "Marker"),
    "metadata": ("MetadataSettings",),
    "repository": ("ManifestRepository",),
    "resolution": ("ResolutionApp", "ResolutionClient"),
    "verify": ("Recovered", "Verification", "Verifier", "conclude"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used: marking needs packages that reading a policy does not."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
