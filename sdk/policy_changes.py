"""Changes to a policy file that can be taken back: the text before is kept, and each step is on record.

A running Studio takes a changed file by itself (`Studio.reload_policy`); what is here changes the file. Texts
are kept in the state folder under the digest of the policy that they resolve to.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clearmark.core import Event, uuid7
from clearmark.core.errors import PolicyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clearmark.audits import Ledger
    from clearmark.policies import Policy
    from clearmark.sdk.home import Home

__all__ = ["promote_rule", "roll_back", "shadow_rule"]

EDITED = "policy.edited"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def shadow_rule(home: Home, file: Path, rule: str, *, expires: dt.date, by: str) -> Policy:
    """Put a rule of a policy file into shadow until a day, on record.

    Raises:
        PolicyError: when the file or the rule does not allow it. LedgerUnavailable: when it cannot be put on
        record; then the file stays as it is.
    """
    from clearmark.policies import shadow

    what = {"action": "shadow", "rule": rule, "expires": expires.isoformat()}
    return _changed(home, file, what, by, lambda: shadow(file, rule, expires=expires))


def promote_rule(home: Home, file: Path, rule: str, *, by: str) -> Policy:
    """Put a rule that is in shadow into force, on record; it raises as `shadow_rule` does."""
    from clearmark.policies import promote

    return _changed(home, file, {"action": "promote", "rule": rule}, by, lambda: promote(file, rule))


def roll_back(home: Home, file: Path, *, by: str, to: str = "") -> Policy:
    """Give a policy file the text again that it had before it became what it is, or that of the digest `to`.

    Raises:
        UsageError: when no earlier text of it is on record and kept.
    """
    from clearmark.policies import Policy, replace_file

    current = Policy.load(file).ref.digest
    with _ledger(home) as ledger:
        wanted = to or _before(ledger, current)
    kept = _kept(home, wanted)
    if not kept.exists():
        raise UsageError(
            f"no text of the policy {wanted} is kept", hint="only changes made by clearmark keep one"
        )
    text = kept.read_text(encoding="utf-8")
    if Policy.parse(text, str(file), folder=file.parent).ref.digest != wanted:
        raise PolicyError(
            f"the text kept of {wanted} resolves to something else now",
            hint="what it extends has changed, or somebody changed the text",
        )

    def back() -> Policy:
        replace_file(file, text)
        return Policy.load(file)

    return _changed(home, file, {"action": "rollback"}, by, back)


def _changed(home: Home, file: Path, what: dict[str, str], by: str, change: Callable[[], Policy]) -> Policy:
    """Keep the text, change the file, and record it; without the record, the file gets its text again."""
    from clearmark.policies import Policy, replace_file

    before, text = Policy.load(file), file.read_text(encoding="utf-8")
    kept = _kept(home.ensure(), before.ref.digest)
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    if not kept.exists():
        kept.write_text(text, encoding="utf-8")
    with _ledger(home) as ledger:
        after = change()
        body = {
            **what,
            "file": file.name,
            "by": by,
            "policy": after.ref.to_dict(),
            "previous": before.ref.to_dict(),
        }
        try:
            ledger.append([Event(kind=EDITED, request_id=uuid7(), body=body)])
        except BaseException:
            replace_file(file, text)
            raise
    return after


def _before(ledger: Ledger, digest: str) -> str:
    """Return what the policy was before it first became what it is."""
    for kind in (EDITED, "policy.loaded"):
        for event in ledger.events(kind=kind):
            policy, previous = event.body.get("policy", {}), event.body.get("previous", {})
            if policy.get("digest") == digest != previous.get("digest"):
                return str(previous["digest"])
    raise UsageError(
        "nothing on record says what this policy was before", hint="name a digest with --to, or edit the file"
    )


def _kept(home: Home, digest: str) -> Path:
    if not _DIGEST.fullmatch(digest):
        raise UsageError("not the digest of a policy", hint="clearmark policy show prints it: sha256:…")
    return home.path / "policies" / f"{digest.removeprefix('sha256:')}.yaml"


@contextmanager
def _ledger(home: Home) -> Iterator[Ledger]:
    from clearmark.sdk.studio import open_ledger

    with open_ledger(home.ensure()) as ledger:
        yield ledger
