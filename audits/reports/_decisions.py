"""Decisions: verdicts by stage and category, the rules behind them, the policies and guards in use."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from clearmark.audits.reports._figures import Column, Figure
from clearmark.audits.reports._reading import STAGES, Table, items, mapping, text
from clearmark.core.verdicts import Action

if TYPE_CHECKING:
    from clearmark.audits.ledger import StoredEvent

__all__ = ["Decisions"]

ACTIONS = tuple(action.word for action in Action)
_STAGE = (
    "CASE kind WHEN 'prompt.decided' THEN 'prompt' WHEN 'input.decided' THEN 'input-media' ELSE 'output' END"
)
_KINDS = "kind IN ('prompt.decided', 'input.decided', 'output.decided')"
_SUMS = ", ".join(f"sum(verdict = '{word}') AS \"{word}\"" for word in ACTIONS)
_STAGES = f"""\
SELECT stage, {_SUMS}, count(*) AS decisions
FROM (SELECT {_STAGE} AS stage, json_extract(doc, '$.body.verdict') AS verdict FROM e WHERE {_KINDS})
GROUP BY stage ORDER BY stage"""  # noqa: S608
_CATEGORIES = f"""\
SELECT category, stage, {_SUMS}, count(*) AS decisions
FROM (
  SELECT DISTINCT e.seq, {_STAGE} AS stage, json_extract(doc, '$.body.verdict') AS verdict,
    json_extract(r.value, '$.category') AS category
  FROM e, json_each(e.doc, '$.body.reasons') AS r WHERE {_KINDS}
)
WHERE category <> '' GROUP BY category, stage ORDER BY decisions DESC, category, stage"""  # noqa: S608
_RULES = f"""\
SELECT coalesce(json_extract(r.value, '$.rule'), '') AS rule,
  coalesce(json_extract(r.value, '$.category'), '') AS category,
  coalesce(json_extract(r.value, '$.code'), '') AS code,
  coalesce((SELECT group_concat(l.value, ' ') FROM json_each(r.value, '$.legal') AS l), '') AS legal,
  count(*) AS decisions
FROM e, json_each(e.doc, '$.body.reasons') AS r WHERE {_KINDS}
GROUP BY 1, 2, 3, 4 ORDER BY decisions DESC, 1, 2, 3, 4"""  # noqa: S608
_POLICIES = f"""\
SELECT json_extract(doc, '$.body.policy.name') AS policy,
  json_extract(doc, '$.body.policy.version') AS version,
  json_extract(doc, '$.body.policy.digest') AS digest, count(*) AS decisions
FROM e WHERE {_KINDS} GROUP BY 1, 2, 3 ORDER BY decisions DESC, 1, 2, 3"""  # noqa: S608
_GUARDS = f"""\
SELECT json_extract(g.value, '$.name') AS guard, json_extract(g.value, '$.version') AS version,
  {_STAGE} AS stage, count(*) AS decisions
FROM e, json_each(e.doc, '$.body.guards') AS g WHERE {_KINDS}
GROUP BY 1, 2, 3 ORDER BY decisions DESC, 1, 2, 3"""  # noqa: S608
_FAILURES = f"""\
SELECT json_extract(f.value, '$.guard') AS guard, json_extract(f.value, '$.guard_version') AS version,
  json_extract(f.value, '$.error') AS error, count(*) AS decisions
FROM e, json_each(e.doc, '$.body.failures') AS f WHERE {_KINDS}
GROUP BY 1, 2, 3 ORDER BY decisions DESC, 1, 2, 3"""  # noqa: S608


class Decisions:
    """Counts what policies decided, and by what."""

    def __init__(self) -> None:
        self._stages: dict[str, Counter[str]] = {}
        self._categories: dict[tuple[str, str], Counter[str]] = {}
        self._left_out = 0
        self._rules, self._policies, self._guards, self._failures = Table(), Table(), Table(), Table()

    def see(self, event: StoredEvent) -> None:
        """Take one event into account."""
        stage = STAGES.get(event.kind)
        if stage is None:
            return
        body = event.body
        verdict = text(body.get("verdict"))
        self._stages.setdefault(stage, Counter()).update([verdict, "decisions"])
        reasons = list(items(body, "reasons"))
        for category in {text(reason.get("category")) for reason in reasons} - {""}:
            key = (category, stage)
            if key in self._categories or len(self._categories) < 1000:
                self._categories.setdefault(key, Counter()).update([verdict, "decisions"])
            else:
                self._left_out += 1
        for reason in reasons:
            self._rules.add(
                *(text(reason.get(name)) for name in ("rule", "category", "code")),
                _legal(reason.get("legal")),
            )
        policy = mapping(body.get("policy"))
        self._policies.add(*(text(policy.get(name)) for name in ("name", "version", "digest")))
        for guard in items(body, "guards"):
            self._guards.add(text(guard.get("name")), text(guard.get("version")), stage)
        for failure in items(body, "failures"):
            self._failures.add(*(text(failure.get(name)) for name in ("guard", "guard_version", "error")))

    def figures(self) -> list[Figure]:
        """Return the figures."""
        actions = tuple(Column(word) for word in (*ACTIONS, "decisions"))
        categories = sorted(self._categories.items(), key=lambda item: (-item[1]["decisions"], item[0]))
        return [
            Figure(
                id="verdicts",
                title="Verdicts by stage",
                about="What the policy decided on prompts, on pictures that were brought in, and on pictures "
                "that were made. One decision per subject and attempt; the strongest rule wins.",
                query=_STAGES,
                columns=(Column("stage", "text"), *actions),
                rows=tuple((stage, *_counts(counts)) for stage, counts in sorted(self._stages.items())),
            ),
            Figure(
                id="categories",
                title="Verdicts by category and stage",
                about="Decisions that give a category as a reason. A decision with two categories counts in "
                "both, so these rows add up to more than the decisions.",
                query=_CATEGORIES,
                columns=(Column("category", "text"), Column("stage", "text"), *actions),
                rows=tuple((*key, *_counts(counts)) for key, counts in categories),
                left_out=self._left_out,
            ),
            _figure(
                self._rules,
                id="rules",
                title="Rules and their grounds",
                about="How often each rule was a reason, with its code and the law that it cites.",
                query=_RULES,
                names=("rule", "category", "code", "legal"),
            ),
            _figure(
                self._policies,
                id="policies",
                title="Policies in force",
                about="Decisions by policy. The digest is over the resolved policy, and says exactly which.",
                query=_POLICIES,
                names=("policy", "version", "digest"),
            ),
            _figure(
                self._guards,
                id="guards",
                title="Guards in use",
                about="In how many decisions each guard took part.",
                query=_GUARDS,
                names=("guard", "version", "stage"),
            ),
            _figure(
                self._failures,
                id="guard_failures",
                title="Guards that failed",
                about="Decisions in which a guard could not measure. By default nothing is released then.",
                query=_FAILURES,
                names=("guard", "version", "error"),
            ),
        ]


def _figure(table: Table, *, names: Iterable[str], **said: str) -> Figure:
    return Figure(
        columns=(*(Column(name, "text") for name in names), Column("decisions")),
        rows=tuple(table.rows()),
        left_out=table.left_out,
        **said,
    )


def _counts(counts: Counter[str]) -> tuple[int, ...]:
    return tuple(counts[word] for word in (*ACTIONS, "decisions"))


def _legal(value: Any) -> str:
    if not isinstance(value, list):
        return ""
    return text(" ".join(item if isinstance(item, str) else json.dumps(item) for item in value))
