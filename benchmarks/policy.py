"""The policy engine: decisions of a hundred rules, slips in files, files that change under load, and replay.

    clearmark bench policy [--rules 100] [--decisions 20000] [--slips 1000] [--events 100000]

Decisions are compared with the same engine used naively: conditions compiled at each decision, and conditions
compiled once but handed their variables rule by rule. All three must agree. Every slip must be refused at its
line and column, and none may disturb decisions that are being made meanwhile. Replay reads a ledger of real
decision events. Times are of the wall clock; beside them the processor time, which a busy machine does not
change.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clearmark.audits import Ledger, NoteSigner
from clearmark.benchmarks._policy_slips import SLIPS, TEXT, slipped
from clearmark.core import CATEGORIES, Event, Finding, Observation, Request, Stage
from clearmark.policies import Inputs, InvalidPolicy, Policy, PolicyHolder, replay

__all__ = ["main", "measure", "policy_of", "subjects"]

REGIONS = ("", "DE", "US-CA", "CN", "IN", "KR")
PURPOSES = ("", "advertising", "education", "news")
_CONDITIONS = (
    'scores["{category}"] >= {score} && request.region == "{region}"',
    'request.purpose == "{purpose}" && scores["{category}"] > {score}',
    'request.n > {n} || (request.has_init_image && scores["{category}"] >= {score})',
    'has(facts.faces) && facts.faces > {n} && scores["{category}"] >= {score}',
    '"{category}" in scores && scores["{category}"] >= {score} && request.width * request.height > {n}00000',
    'request.region.startsWith("US") && scores["{category}"] + scores["{other}"] >= {score} + 0.9',
    '[scores["{category}"], scores["{other}"]].exists(s, s >= {score})',
)


def policy_of(rules: int, seed: int = 1) -> Policy:
    """Return a policy with `rules` rules for outputs, as varied as those that people write."""
    rng = random.Random(seed)  # noqa: S311  repeatable, not secret
    lines = ["schema: clearmark/policy/v1", "name: bench", 'version: "1"', "thresholds:", "  output:"]
    lines += [
        f"    {category}: {{block: 0.97}}" for category in sorted(CATEGORIES) if "minors" not in category
    ]
    lines.append("rules:")
    for number in range(rules):
        when = rng.choice(_CONDITIONS).format(
            category=rng.choice(CATEGORIES),
            other=rng.choice(CATEGORIES),
            score=round(rng.uniform(0.6, 0.95), 2),
            region=rng.choice(REGIONS[1:]),
            purpose=rng.choice(PURPOSES[1:]),
            n=rng.randint(2, 9),
        )
        action = rng.choice(("label", "review", "block"))
        lines.append(f"  - {{id: rule-{number}, stage: output, when: '{when}', action: {action}}}")
    return Policy.parse("\n".join(lines) + "\n", "bench")


def subjects(count: int, seed: int = 1, stage: str = "output") -> list[Inputs]:
    """Return inputs as guards give them: every category measured, most scores low."""
    rng = random.Random(seed)  # noqa: S311  repeatable, not secret
    out = []
    for _ in range(count):
        facts = {"faces": rng.randrange(6)} if rng.random() < 0.5 else {}
        findings = tuple(
            Finding(
                category=category,
                score=round(rng.random() ** 4, 6),
                guard=f"guard-{number % 3}",
                guard_version="1.0",
                model=f"model-{number % 3}@sha256:{'a' * 64}",
                facts=facts,
            )
            for number, category in enumerate(CATEGORIES)
        )
        request = Request(
            "x",
            n=rng.randint(1, 10),
            width=512,
            height=rng.choice((512, 768, 1024)),
            region=rng.choice(REGIONS),
            purpose=rng.choice(PURPOSES),
        )
        out.append(Inputs.of(stage, request, Observation(findings=findings)))
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark: a table for people, `--json` for programs; 1 when something came out wrong."""
    parser = argparse.ArgumentParser(prog="clearmark bench policy", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rules", type=int, default=100)
    parser.add_argument("--decisions", type=int, default=20_000)
    parser.add_argument("--slips", type=int, default=1000)
    parser.add_argument("--events", type=int, default=100_000)
    options = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments))
    report = measure(
        rules=options.rules, decisions=options.decisions, slips=options.slips, events=options.events
    )
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        _print(report)
    wrong = (
        report["decisions"]["disagree"]
        + report["reload"]["crashed"]
        + report["reload"]["other_verdicts"]
        + report["replay"]["drifted"]
        + report["replay"]["changed"]
    )
    return 1 if wrong or report["slips"]["share"] < 0.99 else 0


def measure(
    *, rules: int = 100, decisions: int = 20_000, slips: int = 1000, events: int = 100_000
) -> dict[str, Any]:
    """Measure all four; times in microseconds for decisions and in seconds elsewhere."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "decisions": _decisions(rules, decisions),
        "slips": _slips(slips),
        "reload": _reload(slips),
        "replay": _replay(events),
    }


def _decisions(rules: int, count: int) -> dict[str, Any]:
    """Time one decision after another over the compiled path, and the peers on fewer."""
    policy = policy_of(rules)
    found = subjects(min(count, 2000))
    some = found[: max(20, len(found) // 20)]
    naive = _naive(policy)
    apart = _apart(policy)
    disagree = sum(not policy.decide(each).action.word == naive(each) == apart(each) for each in some)
    ours = _timed(lambda each: policy.decide(each), found, count)  # noqa: PLW0108  the same call for all three
    peers = {
        "conditions compiled at each decision": _timed(naive, some, len(some)),
        "compiled once, variables converted for each rule": _timed(apart, some, len(some)),
    }
    return {
        "rules": rules,
        "count": count,
        "ours": ours,
        "peers": peers,
        "peer_to_ours": {name: row["cpu_p50_us"] / ours["cpu_p50_us"] for name, row in peers.items()},
        "disagree": disagree,
    }


def _naive(policy: Policy) -> Callable[[Inputs], str]:
    """Return a decider that reads the policy anew each time."""
    import cel

    def decide(inputs: Inputs) -> str:
        variables = inputs.variables()
        return _strongest(policy, inputs, lambda when: cel.evaluate(when, variables))

    return decide


def _apart(policy: Policy) -> Callable[[Inputs], str]:
    """Return a decider with compiled conditions, each handed all variables."""
    import cel

    programs = {rule.when: cel.compile(rule.when) for rule in policy.rules}

    def decide(inputs: Inputs) -> str:
        variables = inputs.variables()
        return _strongest(policy, inputs, lambda when: programs[when].execute(variables))

    return decide


def _strongest(policy: Policy, inputs: Inputs, holds: Callable[[str], Any]) -> str:
    from clearmark.core import Action

    strongest = Action.ALLOW
    for category, threshold in policy.thresholds[Stage.OUTPUT].items():
        for action, floor in threshold.bands:
            if inputs.scores.get(category, -1) >= floor:
                strongest = max(strongest, action)
    for rule in policy.rules:
        if rule.stage is inputs.stage and holds(rule.when):
            strongest = max(strongest, rule.action)
    return strongest.word


def _timed(decide: Callable[[Inputs], Any], found: Sequence[Inputs], count: int) -> dict[str, float]:
    walls: list[int] = []
    cpus: list[int] = []
    for each in found[:100]:
        decide(each)
    gc.collect()
    for number in range(count):
        each = found[number % len(found)]
        # What is computed once per inputs and kept is part of a decision, so each is made anew.
        fresh = Inputs(
            stage=each.stage,
            request=each.request,
            measurements=each.measurements,
            facts=each.facts,
            failures=each.failures,
            day=each.day,
        )
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        decide(fresh)
        cpus.append(time.thread_time_ns() - cpu)
        walls.append(time.perf_counter_ns() - wall)
    walls.sort()
    cpus.sort()

    def at(values: Sequence[int], share: float) -> float:
        return round(values[min(len(values) - 1, int(share * len(values)))] / 1000, 1)

    return {
        "p50_us": at(walls, 0.5),
        "p99_us": at(walls, 0.99),
        "cpu_p50_us": at(cpus, 0.5),
        "cpu_p99_us": at(cpus, 0.99),
    }


def _slips(count: int) -> dict[str, Any]:
    """Parse `count` files with one slip each: refused, and at its very line and column."""
    rows = {slip.__name__: Counter[str]() for slip in SLIPS}
    started = time.perf_counter()
    for seed in range(count):
        name, (text, line, col) = slipped(seed)
        try:
            Policy.parse(text, "f")
        except InvalidPolicy as exc:
            places = {(fault.line, fault.col) for fault in exc.diagnostics_list}
            rows[name]["exact" if (line, col) in places else "elsewhere"] += 1
        else:
            rows[name]["accepted"] += 1
    exact = sum(row["exact"] for row in rows.values())
    return {
        "count": count,
        "exact": exact,
        "share": exact / count if count else 1.0,
        "elsewhere": sum(row["elsewhere"] for row in rows.values()),
        "accepted": sum(row["accepted"] for row in rows.values()),
        "kinds": len(rows),
        "seconds": round(time.perf_counter() - started, 2),
    }


def _reload(count: int) -> dict[str, Any]:
    """Put `count` files with slips in the place of the policy in force, while two threads decide by it."""
    finding = Finding(category="hate", score=0.9, guard="g", guard_version="1")
    inputs = Inputs.of("prompt", Request("x"), Observation(findings=(finding,)))
    stop = threading.Event()
    verdicts: Counter[str] = Counter()
    crashed: list[str] = []
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "policy.yaml"
        path.write_text(TEXT, encoding="utf-8")
        holder = PolicyHolder(path, on_reload=lambda report: outcomes.update([report.outcome]))

        def decide() -> None:
            try:
                while not stop.is_set():
                    verdicts[holder.current.decide(inputs).action.word] += 1
                    time.sleep(0.0005)
            except BaseException as exc:  # noqa: BLE001  whatever it is, it is the finding
                crashed.append(type(exc).__name__)

        threads = [threading.Thread(target=decide) for _ in range(2)]
        for thread in threads:
            thread.start()
        started = time.perf_counter()
        for seed in range(count):
            path.write_text(slipped(seed)[1][0], encoding="utf-8")
            try:
                holder.reload()
            except Exception as exc:  # noqa: BLE001  whatever it is, it is the finding
                crashed.append(type(exc).__name__)
        seconds = time.perf_counter() - started
        stop.set()
        for thread in threads:
            thread.join()
    return {
        "files": count,
        "outcomes": dict(outcomes),
        "decisions_meanwhile": verdicts.total(),
        "other_verdicts": verdicts.total() - verdicts["block"],
        "crashed": len(crashed),
        "seconds": round(seconds, 2),
    }


def _replay(count: int) -> dict[str, Any]:
    """Record `count` decisions of the default profile in a ledger, and replay them by the same policy."""
    policy = Policy.load("default")
    found = [*subjects(1000, 2, "prompt"), *subjects(1000, 3, "output")]
    bodies = []
    for inputs in found:
        verdict = policy.decide(inputs)
        body = {
            "inputs": inputs.to_body(),
            "verdict": verdict.action.word,
            "policy": verdict.policy.to_dict(),
            "rules": list(verdict.rules),
        }
        bodies.append((f"{inputs.stage.value}.decided", body))
    signer = NoteSigner.generate("example.com/benchmark")
    with (
        tempfile.TemporaryDirectory() as name,
        Ledger.open(Path(name) / "ledger.db", signer=signer, vault_key=bytes(32)) as ledger,
    ):
        for start in range(0, count, 1000):
            ledger.append(
                [
                    Event(kind=kind, request_id=f"r-{number}", body=body)
                    for number in range(start, min(start + 1000, count))
                    for kind, body in [bodies[number % len(bodies)]]
                ]
            )
        started, busy = time.perf_counter(), time.process_time()
        result = replay(
            policy,
            (
                stored.body
                for kind in ("prompt.decided", "input.decided", "output.decided")
                for stored in ledger.events(kind=kind)
            ),
        )
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    return {
        "events": result.seen,
        "replayed": result.replayed,
        "unchanged": result.unchanged,
        "changed": result.seen - result.unchanged,
        "drifted": result.drifted,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(busy, 2),
        "verdicts": dict(result.verdicts),
    }


def _print(report: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    decisions = report["decisions"]
    title = f"One decision, {decisions['rules']} rules: {report['machine']}, load {report['load']}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("", "p50 µs", "p99 µs", "p50 µs of CPU", "p99 µs of CPU", "to ours"):
        table.add_column(column, justify="right" if column else "left")
    for name, row in {"ours": decisions["ours"], **decisions["peers"]}.items():
        ratio = decisions["peer_to_ours"].get(name, 1.0)
        table.add_row(name, *(f"{value:,.1f}" for value in row.values()), f"{ratio:.1f}")
    console.print(table)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("", justify="right")
    slips, reload, again = report["slips"], report["reload"], report["replay"]
    rows = (
        ("deciders disagree", f"{decisions['disagree']}"),
        (f"slips refused at their place, of {slips['count']:,}", f"{slips['share']:.1%}"),
        ("slips accepted", f"{slips['accepted']}"),
        (f"crashes in {reload['files']:,} bad reloads", f"{reload['crashed']}"),
        ("decisions meanwhile", f"{reload['decisions_meanwhile']:,}"),
        (f"replay of {again['events']:,} events, s (of CPU)", f"{again['seconds']} ({again['cpu_seconds']})"),
        ("verdicts that changed", f"{again['changed']}"),
    )
    for row in rows:
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(main())
