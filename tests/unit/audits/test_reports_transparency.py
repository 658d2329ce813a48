"""The transparency report: the same twice, the same by SQL, and harmless whatever the events say."""

import csv
import importlib.util
import io
import json
import os
import re
import sqlite3
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from clearmark.audits import Checkpoint, Ledger, NoteSigner, StoredEvent, verify_export
from clearmark.audits.reports import transparency
from clearmark.audits.reports._statistics import floor3, percentile, wilson
from clearmark.audits.reports._style import DARK, LIGHT
from clearmark.audits.reports.csv import to_csv, to_csv_files
from clearmark.audits.reports.html import to_html
from clearmark.core import Event
from clearmark.core.errors import LedgerTampered, UsageError
from clearmark.sdk import Home, Studio

DAY = 86_400_000_000
EVENTS = int(os.environ.get("CLEARMARK_TEST_MONTH", "1200"))
"""Simulated events, on top of which come runs of a real Studio; 20000 and more make a whole month."""
DAYS = 30 if EVENTS >= 20_000 else 10
SIGNER, KEY = NoteSigner.generate("example.com/reports"), os.urandom(32)


def load_script():
    path = Path(__file__).parents[3] / "docs" / "images" / "make_report.py"
    spec = importlib.util.spec_from_file_location("make_report", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    make = load_script()
    folder = tmp_path_factory.mktemp("month")
    home = Home(folder / "state").ensure()
    make.make_month(home, events=EVENTS, days=DAYS).close()
    since = int(make.first_day(DAYS).timestamp() * 1e6)
    Image.new("RGB", (256, 256), "white").save(folder / "white.png")
    with Studio.from_policy("default", home=home, backend=f"file:{folder / 'white.png'}") as studio:
        for number in range(3):
            studio.generate("a red apple on a table", actor="user-1", seed=number)
        yield studio.ledger, home, since, int(time.time() * 1e6) + DAY


@pytest.fixture(scope="module")
def report(month):
    ledger, _, since, until = month
    return transparency(ledger, since_us=since, until_us=until)


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path / "ledger.db", signer=SIGNER, vault_key=KEY) as opened:
        yield opened


def test_the_same_twice_and_after_more_was_recorded(month, report):
    ledger, _, since, until = month
    ledger.append(
        [
            Event(kind="report.built", request_id="r"),
            Event(kind="request.received", request_id="later", ts_us=until + 1),
        ]
    )
    again = transparency(ledger, since_us=since, until_us=until)
    for form in (lambda it: it.to_json(), to_html, to_csv):
        assert form(again) == form(report)


def check_figures(document, db):
    """Make every figure again by its query, in plain SQL; return those without rows."""
    empty = []
    for figure in document["figures"]:
        found = db.execute(f"{document['source']}\n{figure['query']}", document["parameters"]).fetchall()
        if figure["id"] in {"latency", "review_time"}:
            counts: dict[str, Counter[int]] = {}
            for name, us, *_ in found:
                counts.setdefault(name, Counter())[floor3(us)] += 1
            expected = {
                name: [sum(seen.values()), *(percentile(seen, q) for q in (0.5, 0.9, 0.99)), max(seen)]
                for name, seen in counts.items()
            }
            assert {row[0]: row[1:] for row in figure["rows"] if row[1]} == expected
        elif figure["id"] == "precision":
            assert [row[:5] for row in figure["rows"]] == [list(row) for row in found]
            for row in figure["rows"]:
                low, high = wilson(row[4], row[3])
                assert row[5:] == [round(row[4] / row[3], 4), round(low, 4), round(high, 4)]
        else:
            assert figure["rows"] == [list(row) for row in found], figure["id"]
        assert figure["checkpoint"] == {
            "tree_size": document["ledger"]["tree_size"],
            "root": document["ledger"]["root"],
        }
        if not figure["rows"]:
            empty.append(figure["id"])
    return set(empty)


def test_every_figure_comes_out_of_its_query_again(month, report):
    _, home, _, _ = month
    db = sqlite3.connect(f"file:{home.database}?mode=ro", uri=True)
    empty = check_figures(json.loads(report.to_json()), db)
    db.close()
    assert empty <= {"changes", "failures", "guard_failures"}


def test_every_figure_comes_out_of_an_export_again(month, report, tmp_path):
    """A second path: an export, checked line by line, read into an empty database of nobody's making."""
    ledger, _, _, _ = month
    ledger.export(tmp_path / "export.jsonl")
    verify_export(tmp_path / "export.jsonl", ledger.verifier_key)
    db = sqlite3.connect(":memory:")
    names = ("seq", "event_id", "ts_us", "tenant", "kind", "request_id", "envelope", "pruned")
    db.execute(f"CREATE TABLE event ({', '.join(names)})")
    with (tmp_path / "export.jsonl").open(encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            if "envelope" in row:
                said = json.loads(row["envelope"])
                values = [row["seq"], *(said[name] for name in names[1:6]), row["envelope"].encode(), None]
                db.execute(f"INSERT INTO event VALUES ({', '.join('?' * len(names))})", values)
    check_figures(json.loads(report.to_json()), db)
    db.close()


def test_the_checkpoint_is_one_that_the_ledger_signed(month, report):
    ledger, _, _, until = month
    line = report.lineage
    last = next(event for event in ledger.events(until=until) if event.seq == line.last_seq)
    receipt = ledger.receipt(last.event_id)
    assert (receipt.tree_size, receipt.root) == (line.tree_size, line.root)
    assert receipt.verify(ledger.verifier_key)


def test_csv_holds_every_value(report):
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert len(rows) == sum(len(figure.rows) * len(figure.columns) for figure in report.figures)
    assert {row["root"] for row in rows} == {report.lineage.root}
    files = to_csv_files(report)
    assert len(files) == len(report.figures) + 1
    assert "SELECT" in files["lineage.csv"]


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_stands_alone_and_can_be_read_by_all(report):
    text = to_html(report)
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert set(re.findall(r"https?://[^\"'\s<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in text
    assert page.all("html")[0]["lang"] == "en"
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in page.all("a"):
        assert attributes["href"].removeprefix("#") in ids
    for svg in page.all("svg"):
        assert svg["role"] == "img"
        assert svg["aria-label"]
    assert all(head["scope"] in {"row", "col"} for head in page.all("th"))
    tables = sum(bool(figure.rows) for figure in report.figures)
    assert len(page.all("table")) == len(page.all("caption")) == tables
    assert len(page.all("svg")) >= 10


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_colours_keep_their_contrast(colours):
    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(one, other):
        high, low = sorted((luminance(colours[one]), luminance(colours[other])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for text in ("text", "muted", "link"):
        assert contrast(text, "ground") >= 4.5
    assert contrast("text", "raised") >= 4.5
    assert contrast("muted", "raised") >= 4.5
    for mark in ("allow", "label", "blur", "regenerate", "review", "block", "failed"):
        assert contrast(mark, "ground") >= 3, mark


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "=cmd|' /C calc'!A0",
    "\u202egnp.exe",
    "a\x00b\x1b[31m",
    "\ufffe</style><svg onload=alert(1)>",
    "&lt;b&gt;",
    "x" * 5000,
]


def decided(text, **values):
    reason = {"rule": text, "category": text, "code": text, "legal": [text]}
    body = {
        "verdict": "block",
        "reasons": [reason],
        "policy": {"name": text, "version": text, "digest": text},
        "guards": [{"name": text, "version": text}],
        "failures": [{"guard": text, "guard_version": text, "error": text}],
    }
    return Event(kind="prompt.decided", request_id="r", ts_us=1_000_000, body=body, **values)


def test_hostile_words_stay_words(ledger):
    ledger.append([decided(text) for text in HOSTILE])
    ledger.append([Event(kind="result.failed", request_id="r", ts_us=1, body={"error": HOSTILE[0]})])
    report = transparency(ledger, since_us=0, until_us=DAY, tenant=None)
    page = Page(to_html(report))
    assert not page.all("script")
    assert not page.all("img")
    assert len(page.all("style")) == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert HOSTILE[0] in page.texts
    assert "&lt;b&gt;" in page.texts
    assert "\x00" not in to_html(report)
    for row in csv.reader(io.StringIO(to_csv(report))):
        assert not any(cell.startswith(("=", "+", "@")) for cell in row)
        assert not any("\x1b" in cell for cell in row)
    assert json.loads(report.to_json())["schema"] == "clearmark/report/v1"


def test_tenants_and_periods_are_kept_apart(ledger):
    ledger.append(
        [
            decided("mine", tenant="a"),
            decided("theirs", tenant="b"),
            Event(kind="request.received", request_id="late", tenant="a", ts_us=2 * DAY),
        ]
    )
    report = transparency(ledger, since_us=0, until_us=2 * DAY, tenant="a")
    assert report.figure("rules").column("rule") == ["mine"]
    assert report.lineage.events == 1
    assert transparency(ledger, since_us=0, until_us=2 * DAY + 1).lineage.events == 3
    for since, until in ((5, 5), (6, 5), (-1, 5), (0, 4000 * DAY)):
        with pytest.raises(UsageError):
            transparency(ledger, since_us=since, until_us=until)


def test_an_empty_period_is_a_report_too(ledger):
    report = transparency(ledger, since_us=0, until_us=DAY)
    assert report.lineage.events == 0
    assert "Nothing in this period" in to_html(report)
    assert to_csv(report).count("\r\n") > 10


def test_pruned_events_are_said_and_not_counted(ledger):
    ledger.append([decided("old"), decided("new")])
    ledger.append([Event(kind="request.received", request_id="q", ts_us=5_000_000)])
    ledger.prune(before=2_000_000)
    report = transparency(ledger, since_us=0, until_us=DAY)
    assert (report.lineage.pruned, report.lineage.events) == (2, 1)
    assert "2 events were pruned before" in to_html(report)


def test_a_changed_event_ends_the_report(tmp_path):
    path = tmp_path / "ledger.db"
    with Ledger.open(path, signer=SIGNER, vault_key=KEY) as ledger:
        ledger.append([decided("one"), decided("two")])
    db = sqlite3.connect(path)
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    db.execute("UPDATE event SET envelope = replace(envelope, 'two', 'twa') WHERE seq = 1")
    db.commit()
    db.close()
    with Ledger.open(path, signer=SIGNER, vault_key=KEY) as ledger, pytest.raises(LedgerTampered):
        transparency(ledger, since_us=0, until_us=DAY)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("a<é\x00", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(
    ["reasons", "guards", "failures", "policy", "assets", "generator", "layers", "labels", "categories",
     "verdict", "withheld", "values", "what", "error", "decision", "final", "review"]
)  # fmt: skip
_KINDS = st.sampled_from(
    ["request.received", "prompt.decided", "output.decided", "generation.completed", "mark.written",
     "result.released", "result.failed", "review.opened", "review.decided", "erasure", "policy.loaded"]
)  # fmt: skip


class Replay:
    """Events without a ledger under them, so that thousands of odd ones can pass."""

    origin = verifier_key = root = ""
    tree_size = 0

    def __init__(self, stored):
        self.stored, self.size = stored, len(stored)

    def events(self, **_):
        return iter(self.stored)

    def checkpoint(self):
        return Checkpoint(origin="", size=0, root="")

    def receipt(self, _):
        return self


@given(st.lists(st.tuples(_KINDS, st.dictionaries(_NAMES, _VALUES, max_size=6)), max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_body_breaks_a_report(bodies):
    stored = [
        StoredEvent(
            seq=seq,
            event_id=str(seq),
            leaf_hash="",
            ts_us=9,
            kind=kind,
            request_id="r",
            tenant="t",
            envelope=json.dumps({"body": body}).encode(),
        )
        for seq, (kind, body) in enumerate(bodies)
    ]
    report = transparency(Replay(stored), since_us=0, until_us=DAY)
    assert to_html(report).startswith("<!doctype html>")
    assert json.loads(report.to_json())
    to_csv(report)


def test_the_month_is_as_long_as_was_asked_for(month, report):
    """What the figures are over: the simulated events and those of a real Studio."""
    ledger, _, since, until = month
    kinds = Counter(event.kind for event in ledger.events(since=since, until=until))
    assert sum(kinds.values()) >= EVENTS
    assert kinds["result.released"] + kinds["result.refused"] >= 3
    assert json.loads(report.to_json())["figures"]
