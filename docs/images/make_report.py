"""Make a month of traffic in a ledger, the transparency report over it, and `report.png`.

The traffic is simulated: scores are drawn, the policy, the ledger, the review queue and the report are real.
With `--studio N`, N requests also go through a real Studio. Chromium takes the picture.

    python docs/images/make_report.py --home /tmp/month --out docs/images
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from clearmark.audits import Ledger
from clearmark.audits.reviews import Hold, ReviewQueue, Trigger
from clearmark.core import (
    Action,
    Asset,
    Event,
    Failure,
    Finding,
    Mark,
    Observation,
    Origin,
    Request,
    Stage,
    Subject,
)
from clearmark.core.findings import Box
from clearmark.core.marks import LabelMark, ManifestMark, MetadataMark, WatermarkMark
from clearmark.policies import Inputs, Policy
from clearmark.sdk import records
from clearmark.sdk.checking import Decision

DAYS = 31
GUARDS = {Stage.PROMPT: ("prompt-words", "1"), Stage.OUTPUT: ("picture-look", "1")}
REVIEWERS = ("ann", "bob", "cyd", "dan")


class Month:
    """Draws requests and walks them through policy and review, as events with times within the month."""

    def __init__(self, ledger: Ledger, queue: ReviewQueue, policy: Policy, *, seed: int = 1) -> None:
        self.ledger, self.queue, self.policy = ledger, queue, policy
        self.random = random.Random(seed)  # noqa: S311
        self.now = 0
        self.waiting: list[str] = []

    def clock(self) -> int:
        """Return the simulated time in microseconds."""
        return self.now

    def run(self, *, events: int, first: dt.datetime, days: int = DAYS) -> None:
        """Make about `events` events over the `days` days from `first` on."""
        size = self.ledger.size
        batch: list[Event] = []
        start = int(first.timestamp() * 1e6)
        per_day = events / 5.6 / days
        for day in range(days):
            weekday = (first + dt.timedelta(days=day)).weekday()
            many = int(per_day * (0.7 if weekday >= 5 else 1.1) * self.random.uniform(0.85, 1.15))
            for at in sorted(self.random.random() for _ in range(many)):
                self.now = start + int((day + at) * 86_400_000_000)
                holds: list[Hold] = []
                batch += self.request(holds)
                if holds or len(batch) > 500:
                    self.ledger.append(batch)
                    batch = []
                    self.waiting += [one for one in self.queue.hold(holds) if one]
                if self.waiting and self.random.random() < 0.4:
                    self.ledger.append(batch)
                    batch = []
                    self.review(self.waiting.pop(0))
        self.ledger.append(batch)
        for actor in ("user-3", "user-17"):
            self.ledger.erase(f"default/{actor}")
        assert self.ledger.size > size

    def step(self, low_ms: float, high_ms: float) -> int:
        """Let time pass and return the time."""
        self.now += int(self.random.triangular(low_ms, high_ms, low_ms + (high_ms - low_ms) * 0.2) * 1000)
        return self.now

    def request(self, holds: list[Hold]) -> Iterator[Event]:
        """Yield the events of one request."""
        rng = self.random
        request = Request(
            "a simulated prompt",
            n=rng.choice((1, 1, 1, 2, 4)),
            seed=rng.randrange(2**31),
            actor=f"user-{rng.randrange(60)}",
            region=rng.choice(("DE", "FR", "US-CA", "IN")),
            purpose=rng.choice(("", "", "", "advertising")),
        )
        yield self.at(records.request_received(request, process="simulated", counter=0), 1, 5)
        gate = self.decide(request, Stage.PROMPT, None)
        decided = self.at(records.decided(gate, self.guards(Stage.PROMPT)), 5, 60)
        yield decided
        released: list[Asset] = []
        withheld = 0
        action = gate.verdict.action
        if action is Action.REVIEW:
            holds.append(self.hold(request, gate, decided, None))
        if gate.verdict.releases:
            assets = [self.asset(request) for _ in range(request.n)]
            if rng.random() < 0.004:
                yield self.at(records.result_failed(request, TimeoutError()), 2000, 9000)
                return
            generator = {
                "name": "diffusers",
                "model": "reference",
                "version": "1",
                "digest": "sha256:" + "0" * 64,
            }
            yield self.at(
                records.generation_completed(request, assets, generator=generator, attempt=0), 700, 5000
            )
            for index, asset in enumerate(assets):
                verdict = self.decide(request, Stage.OUTPUT, asset)
                leaves = verdict.verdict.releases
                mark_id = f"{rng.getrandbits(64):016x}" if leaves else None
                event = self.at(
                    records.decided(
                        verdict,
                        self.guards(Stage.OUTPUT),
                        asset=asset,
                        index=index,
                        attempt=0,
                        mark_id=mark_id,
                    ),
                    20,
                    120,
                )
                yield event
                action = max(action, verdict.verdict.action)
                if mark_id:
                    yield self.at(
                        records.mark_written(
                            request, asset, self.mark(mark_id, verdict), decision_event=event.event_id
                        ),
                        150,
                        700,
                    )
                    released.append(asset)
                else:
                    withheld += 1
                    if verdict.verdict.action is Action.REVIEW:
                        holds.append(self.hold(request, verdict, event, asset))
        yield self.at(
            records.result_closed(
                request,
                verdict=action,
                released=released,
                withheld=withheld,
                reasons=gate.verdict.reasons if not released else (),
            ),
            1,
            20,
        )

    def at(self, event: Event, low_ms: float, high_ms: float) -> Event:
        """Return the event at a time that comes next."""
        return replace(event, ts_us=self.step(low_ms, high_ms))

    def guards(self, stage: Stage) -> list[dict[str, str]]:
        """Return the guards of a stage, as they stand in events."""
        name, version = GUARDS[stage]
        return [{"name": name, "version": version}]

    def decide(self, request: Request, stage: Stage, asset: Asset | None) -> Decision:
        """Draw scores and put them before the policy."""
        name, version = GUARDS[stage]
        categories = tuple(sorted({*self.policy.requires[stage], *self.policy.thresholds[stage]}))
        rng = self.random
        scores = {category: rng.betavariate(0.4, 30) for category in categories}
        if rng.random() < 0.07:
            scores[rng.choice([c for c in categories if c != "sexual/minors"])] = rng.betavariate(2, 3)
        failures: tuple[Failure, ...] = ()
        if rng.random() < 0.003:
            failures = (
                Failure(guard=name, guard_version=version, categories=categories, error="GuardUnavailable",
                        message="it did not answer in time"),
            )  # fmt: skip
        observation = Observation(
            findings=()
            if failures
            else tuple(
                Finding(category=category, score=score, guard=name, guard_version=version)
                for category, score in scores.items()
            ),
            failures=failures,
        )
        inputs = Inputs.of(stage, request, observation)
        return Decision(
            subject=Subject(stage=stage, request=request, asset=asset),
            observation=observation,
            inputs=inputs,
            verdict=self.policy.decide(inputs),
        )

    def asset(self, request: Request) -> Asset:
        """Return a stand-in for a picture: digests are all that events hold of one."""
        return Asset(
            data=self.random.randbytes(32),
            media_type="image/png",
            width=512,
            height=512,
            origin=Origin(generator="diffusers", model="reference", seed=request.seed, steps=20),
        )

    def mark(self, mark_id: str, decision: Decision) -> Mark:
        """Return a mark as the policy asks for it."""
        label = self.policy.marking.label_for(decision.verdict.action)
        return Mark(
            id=mark_id,
            label=LabelMark(text=label.text, box=Box(0, 0, 9, 9), contrast=7.0) if label else None,
            metadata=MetadataMark(fields={"iptc": {"digital_source_type": "trainedAlgorithmicMedia"}}),
            watermark=WatermarkMark(
                codec="front", codec_version="1", mark_id=mark_id, psnr_db=42.0, ssim=0.99
            ),
            manifest=ManifestMark(
                label="urn:c2pa:0", signer="simulated", digest="sha256:0", source_type="ai"
            ),
        )

    def hold(self, request: Request, decision: Decision, event: Event, asset: Asset | None) -> Hold:
        """Return what goes into the queue."""
        reasons = decision.verdict.reasons
        categories = tuple(dict.fromkeys(reason.category for reason in reasons if reason.category))
        return Hold(
            what="picture" if asset else "request",
            request_id=request.request_id,
            tenant=request.tenant,
            actor=request.actor,
            subject=records.subject_of(request),
            stage=decision.verdict.stage,
            categories=categories,
            rules=decision.verdict.rules,
            triggers=tuple(
                Trigger(category=finding.category, guard=finding.guard, guard_version=finding.guard_version,
                        score=round(finding.score * 1e6))
                for finding in decision.observation.findings
                if finding.category in categories
            ),
            decision_event=event.event_id,
            payload=b"simulated",
            sha256=asset.sha256 if asset else "",
        )  # fmt: skip

    def review(self, review_id: str) -> None:
        """Let people decide one item: most of the higher scores are violations, some go a level up."""
        rng = self.random
        people = rng.sample(REVIEWERS, 4)
        review = self.queue.show(review_id)
        score = max((trigger.score for trigger in review.triggers), default=0) / 1e6
        bad = rng.random() < 0.25 + 1.5 * score
        while self.queue.show(review_id).state.waits and people:
            name = people.pop()
            self.step(60_000, 600_000)
            self.queue.claim(review_id, reviewer=name)
            if rng.random() < 0.8:
                self.queue.reveal(review_id, reviewer=name)
            self.step(5_000, 90_000)
            if rng.random() < 0.05 and len(people) >= 2:
                self.queue.escalate(review_id, reviewer=name)
                continue
            wrong = rng.random() < 0.05
            self.queue.decide(
                review_id, reviewer=name, approve=bad is wrong, mark_id=f"{rng.getrandbits(64):016x}"
            )
        if not bad and self.queue.show(review_id).state.value == "rejected" and len(people) >= 2:
            self.queue.appeal(review_id, by=f"default/{review.request_id}")


def first_day(days: int = DAYS) -> dt.datetime:
    """Return the day from which `days` days reach up to today, UTC."""
    today = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - dt.timedelta(days=days - 1)


def make_month(
    home: Any,
    *,
    events: int,
    policy: str = "strict",
    seed: int = 1,
    days: int = DAYS,
    first: dt.datetime | None = None,
) -> Ledger:
    """Open the ledger of a state folder and fill it; the caller closes it."""
    from clearmark.sdk.studio import open_ledger

    ledger = open_ledger(home)
    month = Month(ledger, None, Policy.load(policy), seed=seed)  # type: ignore[arg-type]  # set next
    month.queue = ReviewQueue.open(
        home.path / "reviews.db", ledger=ledger, vault_key=home.vault_key, clock=month.clock
    )
    month.run(events=events, first=first or first_day(days), days=days)
    return ledger


def shoot(page: Path, target: Path, *, width: int, height: int, dark: bool = False) -> None:
    """Take a picture of an HTML file with headless Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("chromium is needed for the picture: apt-get install chromium")
    subprocess.run(  # noqa: S603
        [
            chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--window-size={width},{height}", f"--screenshot={target}", "--virtual-time-budget=2000",
            *(["--blink-settings=preferredColorScheme=0", "--force-dark-mode"] if dark else []),
            page.resolve().as_uri(),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip


def main() -> None:
    """Make the month, the report and the picture."""
    from clearmark.audits.reports import transparency
    from clearmark.audits.reports.html import to_html
    from clearmark.sdk import Home, Studio

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, required=True, help="a new state folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--studio", type=int, default=0, help="requests that go through a real Studio")
    options = parser.parse_args()
    home = Home(options.home).ensure()
    ledger = make_month(home, events=options.events)
    ledger.close()
    with Studio.from_policy("strict", home=home) as studio:
        for number in range(options.studio):
            studio.generate("a red apple on a table", actor="user-1", seed=number)
        since = int(first_day().timestamp() * 1e6)
        report = transparency(studio.ledger, since_us=since, until_us=since + DAYS * 86_400_000_000)
    page = options.home / "report.html"
    page.write_text(to_html(report), encoding="utf-8")
    shoot(page, options.out / "report.png", width=1280, height=1500)


if __name__ == "__main__":
    main()
