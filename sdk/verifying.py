"""One answer about a file: what its layers say, and what the ledger knows of the mark that they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clearmark.core.closing import Closing
from clearmark.core.errors import Error, UsageError
from clearmark.sdk.results import Verified

if TYPE_CHECKING:
    from clearmark.audits import Ledger
    from clearmark.provenance import Verification, Verifier
    from clearmark.provenance.repository import ManifestStore
    from clearmark.sdk.home import Home
    from clearmark.sdk.latent import LatentReader

__all__ = ["Inspector"]

_UNKNOWN: dict[str, Any] = {"found": False, "event_id": None, "seq": None, "inclusion": "unknown"}


@dataclass(frozen=True, kw_only=True)
class Inspector(Closing):
    """Verifies files; `ledger` is None where there is none to ask, as on a stranger's machine."""

    verifier: Verifier
    ledger: Ledger | None = None
    repository: ManifestStore | None = None

    @classmethod
    def from_home(
        cls,
        home: Home,
        *,
        ledger: Ledger | None,
        trust: bytes = b"",
        trust_identities: bytes = b"",
        resolver: str = "",
        upload: bool = False,
        ask_revocation: bool = False,
    ) -> Inspector:
        """Trust the state folder's own authority, the lists added to it, and whatever `trust` (PEM) adds.

        `trust_identities` (PEM) adds to the state folder's authorities for identities, a list apart.

        `resolver` is the address of a Soft Binding Resolution API that is asked for manifests which are not
        on record here: by mark id and fingerprint, and with `upload` also by the picture itself.
        `ask_revocation` asks the authorities of signers whether they revoked the certificate.

        Raises:
            UsageError: an address that is none, or `upload` without one.
        """
        from clearmark.provenance import Verifier
        from clearmark.provenance.repository import ManifestSources, open_manifests
        from clearmark.provenance.resolution import ResolutionClient

        if upload and not resolver:
            raise UsageError("nowhere to send the picture", hint="name the service with --resolver")
        held = home.manifest_store
        repository = open_manifests(held) if isinstance(held, str) or held.exists() else None
        client = ResolutionClient(resolver) if resolver else None
        anchors = b"\n".join(
            (
                home.trust_anchors if home.exists else b"",
                *(path.read_bytes() for path in home.trust_lists),
                trust,
            )
        )
        names = b"\n".join((*(path.read_bytes() for path in home.identity_trust_lists), trust_identities))
        return cls(
            verifier=Verifier(
                anchors if anchors.strip() else None,
                identity_anchors_pem=names if names.strip() else None,
                keys=(home.watermark_key,) if home.exists else (),
                repository=ManifestSources(*(one for one in (repository, client) if one is not None)),
                by_content=client.by_content if client is not None and upload else None,
                in_noise=_in_noise(home),
                ask_revocation=ask_revocation,
            ),
            ledger=ledger,
            repository=repository,
        )

    @classmethod
    def open(
        cls,
        home: Home,
        *,
        trust: bytes = b"",
        trust_identities: bytes = b"",
        resolver: str = "",
        upload: bool = False,
        ask_revocation: bool = False,
    ) -> Inspector:
        """Open an inspector on a state folder that may or may not be there; nothing is made."""
        from clearmark.sdk.studio import open_ledger

        ledger = open_ledger(home, create=False) if home.database.exists() else None
        return cls.from_home(
            home,
            ledger=ledger,
            trust=trust,
            trust_identities=trust_identities,
            resolver=resolver,
            upload=upload,
            ask_revocation=ask_revocation,
        )

    def inspect(self, files: Sequence[bytes]) -> list[Verified]:
        """Verify encoded pictures, in order. Never raises for what a file holds."""
        return [self._one(verification) for verification in self.verifier.verify(files)]

    def _one(self, verification: Verification) -> Verified:
        from clearmark.provenance import conclude

        ledger = dict(_UNKNOWN) if self.ledger is None else _look_up(self.ledger, verification)
        return Verified(
            verification=verification,
            ledger=ledger,
            conclusion=conclude(verification, None if self.ledger is None else ledger),
            exit_code=4 if ledger["inclusion"] == "failed" else verification.exit_code,
        )

    def close(self) -> None:
        """Close the files that are open."""
        if self.repository is not None:
            self.repository.close()
        if self.ledger is not None:
            self.ledger.close()


def _in_noise(home: Home) -> LatentReader | None:
    """Return what looks for marks in the noise, with the models on record that made such pictures."""
    from clearmark.sdk.latent import LatentReader

    return LatentReader(home.watermark_key, record=home.latent_models) if home.exists else None


def _look_up(ledger: Ledger, verification: Verification) -> dict[str, Any]:
    """Find the decision that a mark leads to, and check its proof as a stranger would."""
    stated = verification.credentials.ledger if verification.credentials.state == "trusted" else {}
    for mark_id in verification.mark_ids:
        events = ledger.find_mark(mark_id)
        if not events:
            continue
        # The first event of a mark is the decision that let the picture out; the others record the writing.
        first = min(events, key=lambda event: event.seq)
        try:
            holds = ledger.receipt(first.event_id).verify(ledger.verifier_key)
        except Error:
            holds = False
        # A trusted signer names the event and its hash: another one in its place is not the record.
        if stated.get("mark_id") == mark_id and stated.get("log") == ledger.origin:
            holds = holds and (stated["event_id"], stated["leaf_hash"]) == (first.event_id, first.leaf_hash)
        return {
            "found": True,
            "mark_id": mark_id,
            "event_id": first.event_id,
            "seq": first.seq,
            "inclusion": "verified" if holds else "failed",
        }
    return dict(_UNKNOWN)
