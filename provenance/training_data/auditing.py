"""`audit`: item by item, whether it may be trained on, and the rule that says so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import select

from clearmark.provenance.training_data._pictures import COLOURS_SIDE
from clearmark.provenance.training_data._schema import ITEM
from clearmark.provenance.training_data.data_policy import DataPolicy
from clearmark.provenance.training_data.duplicates import Clusters, find_clusters
from clearmark.provenance.training_data.items import HELD, Item, Version
from clearmark.provenance.training_data.licences import matches, read_expression, traits
from clearmark.provenance.training_data.opt_outs import OptOutList
from clearmark.provenance.training_data.register import Register

__all__ = ["Audit", "AuditSummary", "ItemAudit", "audit"]

# Bounded on every side, so that a caption cannot make the search quadratic.
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{2,60}")
_PHONE = re.compile(r"\+\d[\d ()/-]{7,20}\d")
_CERTAIN = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemAudit:
    """One item's outcome. `rule` is the one that decided; `because` names what it found.

    `copy_of` is the number of the item that it is a near-copy of, 0 where it is none.
    """

    number: int
    key: str
    allowed: bool
    rule: str
    because: str
    copy_of: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        out: dict[str, Any] = {
            "number": self.number,
            "key": self.key,
            "allowed": self.allowed,
            "rule": self.rule,
            "because": self.because,
        }
        if self.copy_of:
            out["copy_of"] = self.copy_of
        return out


@dataclass(kw_only=True)
class AuditSummary:
    """Counts over all items. Near-copies are counted over the held items that have pixels."""

    dataset: str
    policy: DataPolicy
    items: int = 0
    allowed: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    pictures: int = 0
    clusters: int = 0
    largest: int = 0
    with_copies: int = 0
    duplication_factor: float = 1.0
    exact: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "dataset": self.dataset,
            "policy": {
                "name": self.policy.name,
                "version": self.policy.version,
                "digest": self.policy.digest,
            },
            "items": self.items,
            "allowed": self.allowed,
            "denied": self.items - self.allowed,
            "rules": dict(sorted(self.rules.items())),
            "duplicates": {
                "pictures": self.pictures,
                "different": self.clusters,
                "clusters_of_copies": self.with_copies,
                "largest_cluster": self.largest,
                "duplication_factor": round(self.duplication_factor, 3),
                "exact": self.exact,
            },
        }


class Audit:
    """An audit that runs while it is iterated; `summary` is complete after that."""

    def __init__(self, register: Register, version: Version, policy: DataPolicy) -> None:
        self.summary = AuditSummary(dataset=version.name, policy=policy)
        self._register = register
        self._version = version
        self._policy = policy

    def __iter__(self) -> Iterator[ItemAudit]:
        leaders, clusters = _clusters(self._register, self._version, self._policy)
        self._count(clusters)
        opt_outs = self._register.opt_outs()
        taken: Counter[int] = Counter()
        for item in self._register.items(self._version):
            leader = leaders.get(item.number, item.number)
            outcome = self._judge(item, leader, opt_outs, taken)
            self.summary.items += 1
            self.summary.allowed += outcome.allowed
            self.summary.rules[outcome.rule] += 1
            yield outcome

    def _judge(self, item: Item, leader: int, opt_outs: OptOutList, taken: Counter[int]) -> ItemAudit:
        denied = judge_item(item, self._policy, opt_outs)
        limit = self._policy.duplicates.max_copies
        if denied is None and limit and taken[leader] >= limit:
            denied = ("duplicate", f"{taken[leader]} near-copies of it are in already")
        rule, because = denied or ("licence", item.licence.spdx)
        if denied is None:
            taken[leader] += 1
        return ItemAudit(
            number=item.number,
            key=item.key,
            allowed=denied is None,
            rule=rule,
            because=because,
            copy_of=leader if leader != item.number else 0,
        )

    def _count(self, clusters: Clusters) -> None:
        sizes = clusters.sizes
        self.summary.pictures = len(clusters.leaders)
        self.summary.clusters = len(sizes)
        self.summary.largest = int(sizes[0]) if len(sizes) else 0
        self.summary.with_copies = int((sizes > 1).sum())
        self.summary.duplication_factor = clusters.duplication_factor
        self.summary.exact = clusters.exact


def audit(register: Register, version: Version, policy: DataPolicy | None = None) -> Audit:
    """Audit a version under a policy. Iterate the result; every item comes once, in order."""
    return Audit(register, version, policy or DataPolicy())


def judge_item(item: Item, policy: DataPolicy, opt_outs: OptOutList) -> tuple[str, str] | None:
    """Return the first rule that speaks against an item, and what it found; None when none does."""
    if item.state != HELD:
        return item.state, item.fault.code if item.fault else item.removal
    if item.measures.get("known-abuse", 0) >= _CERTAIN:
        return "known-abuse", "its hash is on a list of known abuse material"
    if policy.opt_outs.reserved == "deny":
        if item.opt_out == "reserved":
            return "opt-out", "its owner reserves it against training"
        listed = opt_outs.match(
            sha256=item.sha256, phash=item.phash, source=item.source, creator=item.creator
        )
        if listed:
            return "opt-out", f"a registered opt-out by {listed[0]}"
    if policy.opt_outs.unread == "deny" and item.opt_out == "unread":
        return "opt-out-unread", "nobody looked for an opt-out"
    return (
        _licence_rule(item.licence.spdx, policy)
        or _person_rule(item, policy)
        or _screen_rule(item.measures, policy)
    )


def _licence_rule(expression: str, policy: DataPolicy) -> tuple[str, str] | None:
    """Evaluate the expression: of `A OR B`, one that passes is enough. The rule named is the last one met."""
    rules = policy.licences
    met: list[str] = []

    def passes(spdx: str) -> bool:
        asks = traits(spdx)
        if any(matches(spdx, pattern) for pattern in rules.deny):
            met.append("licence-denied")
        elif not asks.known and not any(spdx == pattern for pattern in rules.allow):
            if rules.unknown == "allow":
                return True
            met.append("licence-unknown")
        elif asks.non_commercial and rules.non_commercial == "deny":
            met.append("non-commercial")
        elif asks.no_derivatives and rules.no_derivatives == "deny":
            met.append("no-derivatives")
        elif asks.share_alike and rules.share_alike == "deny":
            met.append("share-alike")
        elif not _wanted(spdx, policy):
            met.append("licence-not-allowed")
        else:
            return True
        return False

    return None if read_expression(expression, passes) else (met[-1], expression)


def _wanted(spdx: str, policy: DataPolicy) -> bool:
    rules = policy.licences
    asks = traits(spdx)
    # A demand that the policy expressly allows brings its licences in without listing each of them.
    expressly = (
        (asks.share_alike and rules.share_alike == "allow")
        or (asks.non_commercial and rules.non_commercial == "allow")
        or (asks.no_derivatives and rules.no_derivatives == "allow")
    )
    return expressly or any(matches(spdx, pattern) for pattern in rules.allow)


def _person_rule(item: Item, policy: DataPolicy) -> tuple[str, str] | None:
    rules = policy.personal_data
    if item.consent == "refused":
        return "consent", "it was refused"
    if rules.consent == "required" and item.consent not in {"given", "not-needed"}:
        return "consent", "it is not on record"
    if rules.contact_in_caption == "deny" and (_EMAIL.search(item.caption) or _PHONE.search(item.caption)):
        return "personal-data", "an address or a telephone number in its caption"
    if item.measures.get("faces", 0) >= 1_000_000 and (
        rules.faces == "deny" or (rules.faces == "with-consent" and item.consent != "given")
    ):
        return "faces", "people are shown whose consent is not on record"
    return None


def _screen_rule(measures: Mapping[str, int], policy: DataPolicy) -> tuple[str, str] | None:
    for category in policy.screens.required:
        if category not in measures:
            return "not-screened", category
    for category, limit in policy.screens.limits.items():
        score = measures.get(category, 0)
        if score > limit * 1_000_000:
            return category, f"{score / 1_000_000:.3f} is above {limit:g}"
    return None


def _clusters(register: Register, version: Version, policy: DataPolicy) -> tuple[dict[int, int], Clusters]:
    """Cluster the held items of a version; the map holds only items that are copies of another.

    Items of which only the SHA-256 is known are copies where that is the same.
    """
    query = select(ITEM.c.number, ITEM.c.phash, ITEM.c.colours).where(
        ITEM.c.version_id == version.id, ITEM.c.state == HELD, ITEM.c.phash.is_not(None)
    )
    numbers: list[int] = []
    hashes: list[int] = []
    colours = bytearray()
    with register.database.reading() as conn:
        stream: Any = conn.execute(query.order_by(ITEM.c.number).execution_options(yield_per=10_000))
        for number, phash, colour in stream:
            numbers.append(number)
            hashes.append(phash)
            colours += colour
    clusters = find_clusters(
        np.array(hashes, dtype=np.int64).view(np.uint64),
        np.frombuffer(bytes(colours), dtype=np.uint8).reshape(len(numbers), 3 * COLOURS_SIDE**2),
        distance=policy.duplicates.distance,
        levels=policy.duplicates.colours,
    )
    copies = np.flatnonzero(clusters.leaders != np.arange(len(numbers)))
    leaders = {numbers[i]: numbers[int(clusters.leaders[i])] for i in copies.tolist()}
    return leaders | _same_bytes(register, version), clusters


def _same_bytes(register: Register, version: Version) -> dict[int, int]:
    query = (
        select(ITEM.c.number, ITEM.c.sha256)
        .where(ITEM.c.version_id == version.id, ITEM.c.state == HELD)
        .where(ITEM.c.phash.is_(None), ITEM.c.sha256.is_not(None))
    )
    first: dict[bytes, int] = {}
    leaders: dict[int, int] = {}
    with register.database.reading() as conn:
        stream: Any = conn.execute(query.order_by(ITEM.c.number).execution_options(yield_per=10_000))
        for number, sha256 in stream:
            leader = first.setdefault(bytes(sha256), number)
            if leader != number:
                leaders[number] = leader
    return leaders
