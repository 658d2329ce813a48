"""`clearmark report`: periods, forms, and that the making of a report is on record."""

import hashlib
import json

import pytest
from typer.testing import CliRunner

from clearmark.core.errors import UsageError
from clearmark.sdk import Studio
from clearmark.sdk.cli._app import app
from clearmark.sdk.reporting import parse_period
from clearmark.sdk.studio import open_ledger

DAY = 86_400_000_000


def test_periods_are_days_or_times():
    assert parse_period("1970-01-02", "1970-01-02") == (DAY, 2 * DAY)
    assert parse_period("1970-01-01T01:00+01:00", "1970-01-01T00:00:01Z") == (0, 1_000_000)
    for since, until in (
        ("1970-01-02", "1970-01-01"),
        ("yesterday", "1970-01-01"),
        ("1970-01-01", "9999-12-31"),
        ("1970-01-01T00:00", "1970-01-01T00:00"),
        ("1969-12-31", "1970-01-01"),
    ):
        with pytest.raises(UsageError):
            parse_period(since, until)


def test_every_form_from_one_ledger(home, painter, tmp_path):
    with Studio.from_policy("default", home=home, backend=painter) as studio:
        studio.mark(painter.generate([_request()])[0][0])

    def run(*words, code=0):
        done = CliRunner().invoke(
            app, ["report", *words, "--from", "2020-01-01", "--to", "2099-12-31", "--home", str(home.path)]
        )
        return done, done.exit_code == code

    # Longer than a report may be.
    assert run("transparency", code=2)[1]

    def short(*words):
        done = CliRunner().invoke(
            app, ["report", *words, "--from", "2026-01-01", "--to", "2035-12-31", "--home", str(home.path)]
        )
        assert done.exit_code == 0, done.output
        return done.stdout

    first = short("transparency", "--format", "json")
    assert short("transparency", "--format", "json") == first
    document = json.loads(first)
    assert dict(document["figures"][1]["rows"])["marked from outside"] == 1
    assert short("transparency", "--out", str(tmp_path / "a" / "report.html")) == ""
    assert (tmp_path / "a" / "report.html").read_text().startswith("<!doctype html>")
    short("transparency", "--format", "csv", "--out", str(tmp_path / "all.csv"))
    assert (tmp_path / "all.csv").read_text().startswith("figure,row,column")
    short("transparency", "--format", "csv", "--out", str(tmp_path / "folder"))
    assert (tmp_path / "folder" / "lineage.csv").exists()
    with open_ledger(home, create=False) as ledger:
        built = list(ledger.events(kind="report.built"))
        assert [event.body["format"] for event in built] == ["json", "json", "html", "csv", "csv"]
        assert built[0].body["sha256"] == hashlib.sha256(first.encode()).hexdigest()
        assert ledger.verify().ok


def test_what_it_cannot_do_is_said(home, tmp_path):
    for words in (["minutes"], ["transparency", "--format", "docx"], ["transparency"]):
        done = CliRunner().invoke(
            app, ["report", *words, "--from", "2026-01-01", "--to", "2026-01-02", "--home", str(tmp_path)]
        )
        assert done.exit_code == 2


def _request():
    from clearmark.core import Request

    return Request("")
