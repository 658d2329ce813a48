"""`Studio`: the front door. It holds the policy, guards, generator, marks and ledger of a platform."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.core import Asset, Guard, Request, Stage
from clearmark.core.closing import Closing
from clearmark.core.errors import UsageError
from clearmark.core.pixels import read_asset
from clearmark.sdk import records
from clearmark.sdk.checking import Checker
from clearmark.sdk.home import Home
from clearmark.sdk.results import Check, Marked, Result, Verified

if TYPE_CHECKING:
    from clearmark.audits import Ledger
    from clearmark.generation import Generator
    from clearmark.policies import Policy, PolicyHolder, Reload
    from clearmark.sdk.reviewing import Reviews
    from clearmark.sdk.stamping import Stamper
    from clearmark.sdk.verifying import Inspector

__all__ = ["Studio"]


class Studio(Closing):
    """Walk requests through guards, policy, generator, marking and ledger.

    >>> studio = Studio.from_policy("default")
    >>> result = studio.generate("a red apple on a table", actor="user-42")
    >>> result.assets[0].save("apple.png")

    Every method has a twin that begins with `a` and runs in a thread. A Studio may be shared by threads.
    """

    def __init__(
        self,
        *,
        checker: Checker,
        ledger: Ledger,
        stamper: Stamper,
        inspector: Inspector,
        backend: str | Generator = "reference",
        reviews: Reviews | None = None,
    ) -> None:
        # What a policy decides and what it marks change together, so they are one reference.
        self._desk = _Desk(checker=checker, stamper=stamper)
        self._holder: PolicyHolder | None = None
        self._ledger = ledger
        self._inspector = inspector
        self._backend = backend
        self._reviews = reviews
        self._loading = threading.Lock()

    @classmethod
    def from_policy(
        cls,
        policy: str | Policy = "default",
        *,
        home: str | Path | Home | None = None,
        backend: str | Generator = "reference",
        guards: Sequence[Guard] | None = None,
    ) -> Studio:
        """Open a Studio on a state folder, making the folder and its keys on the first run.

        `policy` is a policy file or the name of a shipped profile; `backend` is `reference`,
        `diffusers:PATH-or-id`, `openai:URL#model`, `file:PATH`, or a generator object.

        Raises:
            PolicyError: the policy does not parse or hold together.
            KeyUnavailable: a key is missing, damaged, or open to others.
            LedgerError: the ledger cannot be opened.
        """
        from clearmark.policies import PolicyHolder
        from clearmark.sdk.reference_index import memorization_evidence
        from clearmark.sdk.reviewing import Reviews
        from clearmark.sdk.stamping import Stamper
        from clearmark.sdk.verifying import Inspector

        holder = PolicyHolder(policy) if isinstance(policy, str) else None
        place = home if isinstance(home, Home) else Home.locate(home)
        training_index, guidance = memorization_evidence(place, backend)
        checker = Checker.from_policy(
            holder.current if holder else policy,
            guards=guards,
            home=place.path,
            training_index=training_index,
            guidance=guidance,
        )
        place.ensure()
        if guards is None:
            from clearmark.guardrails.sessions import SessionGuard, SessionStore

            sessions = SessionGuard(SessionStore(place.sessions, place.vault_key))
            checker = replace(checker, guards=(*checker.guards, sessions))
        ledger = open_ledger(place)
        try:
            stamper = Stamper.from_home(place, checker.policy)
            inspector = Inspector.from_home(place, ledger=ledger)
            if checker.policy.unsafe:
                ledger.append([records.policy_unsafe(checker.policy)])
        except BaseException:
            ledger.close()
            raise
        studio = cls(checker=checker, ledger=ledger, stamper=stamper, inspector=inspector, backend=backend)
        studio._reviews = Reviews(
            place,
            ledger=ledger,
            stamper=lambda: studio._desk.stamper,
            policy=lambda: studio.policy,
        )
        if holder is not None:
            studio._holder = holder
            holder.on_reload(lambda reload: studio._take(reload, Stamper.from_home(place, reload.current)))
        return studio

    def reload_policy(self) -> Reload | None:
        """Put a changed policy file in force, whole or not at all; None when the file has not changed.

        A file that is faulty, or whose own tests fail, leaves the old policy in force. Either way it is an
        event. Requests that are under way end under the policy that they began with.

        Raises:
            UsageError: when the policy did not come from a file or profile.
            LedgerUnavailable: when the change cannot be put on record; then it does not take place.
        """
        if self._holder is None:
            raise UsageError("this policy did not come from a file", hint="open the Studio with a path")
        return self._holder.refresh()

    def _take(self, reload: Reload, stamper: Stamper) -> None:
        self._ledger.append([records.policy_changed(reload)])
        if reload.current is not reload.previous:
            self._desk = _Desk(checker=replace(self._desk.checker, policy=reload.current), stamper=stamper)

    @property
    def policy(self) -> Policy:
        """The policy that decides."""
        return self._desk.checker.policy

    @property
    def ledger(self) -> Ledger:
        """The ledger that remembers."""
        return self._ledger

    @property
    def reviews(self) -> Reviews:
        """What waits for people because the policy said `review`.

        Raises:
            UsageError: when this Studio was opened without a place for it.
        """
        if self._reviews is None:
            raise UsageError("this Studio holds nothing for review", hint="open it with Studio.from_policy")
        return self._reviews

    @property
    def generator(self) -> Generator:
        """The generator, loaded by its first use.

        Raises:
            ExtraMissing, ModelMissing, ModelCorrupt, BackendUnavailable: when it cannot be loaded.
        """
        with self._loading:
            if isinstance(self._backend, str):
                from clearmark.generation import create

                self._backend = create(self._backend)
            return self._backend

    def generate(self, prompt: str, **options: Any) -> Result:
        """Make the picture or pictures of one prompt; `options` are the fields of `Request`."""
        return self.generate_batch([Request(prompt, **options)])[0]

    def generate_batch(
        self, requests: Sequence[str | Request], *, generator: Generator | None = None
    ) -> list[Result]:
        """Walk a batch of requests (or plain prompts) through; one result each, in order.

        A refusal is a result. An error (no generator, no key, a ledger that cannot write, a mark that does
        not hold) is raised, and nothing of the batch is let out.
        """
        batch = [Request(request) if isinstance(request, str) else request for request in requests]
        return self._run(batch, generator=generator) if batch else []

    def generate_approved(self, review_id: str) -> Result:
        """Make what a request asks for that people have approved; an approval is good for one time.

        The prompt is not asked about again, unless the policy has come to block it. What is made has to pass
        like any other picture.

        Raises:
            ReviewRefused: when it is not approved, or was generated before.
        """
        request = self.reviews.take(review_id)
        return self._run([request], approved=frozenset({request.request_id}))[0]

    def _run(
        self,
        batch: Sequence[Request],
        *,
        generator: Generator | None = None,
        approved: frozenset[str] = frozenset(),
    ) -> list[Result]:
        from clearmark.sdk.running import Run

        desk = self._desk
        return Run(
            batch,
            checker=desk.checker,
            generator=_Deferred(self) if generator is None else generator,
            stamper=desk.stamper,
            ledger=self._ledger,
            holding=self._reviews.hold if self._reviews else None,
            approved=approved,
        ).go()

    def check_prompt(self, prompt: str, **options: Any) -> Check:
        """Measure and judge one prompt. Nothing is made and nothing recorded."""
        return self._desk.checker.check_requests([Request(prompt, **options)])[0]

    def check_image(self, image: Asset | bytes | str | Path, *, stage: Stage = Stage.OUTPUT) -> Check:
        """Measure and judge one picture (an asset, encoded bytes, or a path). Nothing is recorded."""
        return self._desk.checker.check_images([load_asset(image)], stage=stage)[0]

    def mark(
        self,
        image: Asset | bytes | str | Path,
        *,
        source: str = "created",
        actor: str = "anonymous",
        parents: Sequence[Asset | bytes | str | Path] = (),
        placed: Sequence[Asset | bytes | str | Path] = (),
    ) -> Marked:
        """Mark a picture made elsewhere, and record it. `source` is `created` or `altered`.

        `parents` are the pictures that it was made from, `placed` those that stand in it, as in a
        composition: the manifest carries theirs along.
        """
        return self.mark_batch([image], source=source, actor=actor, parents=parents, placed=placed)[0]

    def mark_batch(
        self,
        images: Sequence[Asset | bytes | str | Path],
        *,
        source: str = "created",
        actor: str = "anonymous",
        parents: Sequence[Asset | bytes | str | Path] = (),
        placed: Sequence[Asset | bytes | str | Path] = (),
    ) -> list[Marked]:
        """Mark pictures made elsewhere; see `mark`."""
        from clearmark.sdk.marking import mark_pictures

        return mark_pictures(
            [load_asset(image) for image in images],
            source=source,
            actor=actor,
            stamper=self._desk.stamper,
            ledger=self._ledger,
            parents=tuple(load_asset(image) for image in parents),
            placed=tuple(load_asset(image) for image in placed),
        )

    def verify(self, image: Asset | bytes | str | Path) -> Verified:
        """Read every layer of a file and look its mark up in the ledger."""
        return self._inspector.inspect([load_bytes(image)])[0]

    async def agenerate(self, prompt: str, **options: Any) -> Result:
        """Run `generate` in a thread."""
        return await asyncio.to_thread(self.generate, prompt, **options)

    async def agenerate_batch(self, requests: Sequence[str | Request]) -> list[Result]:
        """Run `generate_batch` in a thread."""
        return await asyncio.to_thread(self.generate_batch, requests)

    async def acheck_prompt(self, prompt: str, **options: Any) -> Check:
        """Run `check_prompt` in a thread."""
        return await asyncio.to_thread(self.check_prompt, prompt, **options)

    async def acheck_image(self, image: Asset | bytes | str | Path) -> Check:
        """Run `check_image` in a thread."""
        return await asyncio.to_thread(self.check_image, image)

    async def amark(self, image: Asset | bytes | str | Path, **options: Any) -> Marked:
        """Run `mark` in a thread."""
        return await asyncio.to_thread(self.mark, image, **options)

    async def averify(self, image: Asset | bytes | str | Path) -> Verified:
        """Run `verify` in a thread."""
        return await asyncio.to_thread(self.verify, image)

    def close(self) -> None:
        """Close the files. Using the Studio afterwards is an error."""
        self._desk.stamper.close()
        self._inspector.close()
        self._ledger.close()


@dataclass(frozen=True, kw_only=True)
class _Desk:
    """What goes with one policy."""

    checker: Checker
    stamper: Stamper


class _Deferred:
    """The Studio's generator, loaded only when a request gets as far as being made."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def __getattr__(self, name: str) -> Any:
        return getattr(self._studio.generator, name)


SECOND_KEY = "ledger-mldsa44.pem"
"""The optional key file of the second signature on the ledger's checkpoints."""


def open_ledger(home: Home, *, create: bool = True, database: str | None = None) -> Ledger:
    """Open the ledger of a state folder, or the one at the URL `database`, with the keys that lie there."""
    from clearmark.audits import Ledger, NoteSigner

    signer = NoteSigner.from_pem(home.ledger_key, home.ledger_name)
    second = home.key(SECOND_KEY) if (home.keys / SECOND_KEY).exists() else None
    return Ledger.open(
        database or home.database,
        signer=signer,
        vault_key=home.vault_key,
        create=create,
        second_key=second,
    )


def load_bytes(image: Asset | bytes | str | Path) -> bytes:
    """Return the encoded bytes of a picture given in any of the ways that the SDK takes.

    Raises:
        MediaError: when a path cannot be read; MediaTooLarge: beyond the limit of `core.pixels`.
    """
    from clearmark.core.errors import MediaError, MediaTooLarge
    from clearmark.core.pixels import MAX_BYTES

    if isinstance(image, Asset):
        return image.data
    if isinstance(image, bytes):
        return image
    path = Path(image)
    try:
        if not path.is_file():  # a pipe or device would never end
            raise MediaError(f"{path}: not a file")
        if path.stat().st_size > MAX_BYTES:
            raise MediaTooLarge(f"{path}: {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read")
        return path.read_bytes()
    except OSError as exc:
        raise MediaError(f"{path}: {exc.strerror}", hint="name a picture file that can be read") from exc


def load_asset(image: Asset | bytes | str | Path) -> Asset:
    """Return a picture as an asset, decoded once to be sure that it is one."""
    return image if isinstance(image, Asset) else read_asset(load_bytes(image))
