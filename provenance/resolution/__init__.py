"""The C2PA Soft Binding Resolution API 2.x: from a watermark or a fingerprint to the manifest on record.

`ResolutionApp` answers it over a `ManifestRepository`; `ResolutionClient` asks it, and takes a repository's
place wherever one is read, as in `Verifier(repository=ResolutionClient("https://manifests.example"))`.
"""

from clearmark.provenance.resolution.client import ResolutionClient
from clearmark.provenance.resolution.server import ResolutionApp

__all__ = ["ResolutionApp", "ResolutionClient"]
