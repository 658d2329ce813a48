"""Changing files: a rule into shadow and into force, and pins; comments and all else stay."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from clearmark.core.errors import PolicyError
from clearmark.policies import Policy, pin, promote, shadow

TEXT = """\
# Why this file is there.
schema: clearmark/policy/v1
name: edited
version: "1"
thresholds: {output: {sexual: 0.5}}  # ours
rules:
  # Why the rule is there.
  - id: big   # an id
    stage: output
    when: request.n > 8
    action: review
  - {id: flow, stage: output, when: request.n > 9, action: block}
  - stage: output
    id: second
    when: request.n > 10
    action: block
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(TEXT)
    path.chmod(0o640)
    return path


def test_into_shadow_and_back_leaves_the_file_as_it_was(path: Path) -> None:
    policy = shadow(path, "big", expires=dt.date(2027, 1, 1))
    assert (policy.rules[0].mode, policy.rules[0].expires) == ("shadow", "2027-01-01")
    changed = path.read_text()
    assert "  - id: big   # an id\n    mode: shadow\n    expires: 2027-01-01\n    stage: output\n" in changed
    assert Policy.load(path) == policy
    assert path.stat().st_mode & 0o777 == 0o640
    again = shadow(path, "big", expires=dt.date(2027, 2, 1))
    assert again.rules[0].expires == "2027-02-01"
    assert promote(path, "big").rules[0].mode == "enforce"
    assert path.read_text() == TEXT
    assert [item.name for item in path.parent.iterdir()] == ["p.yaml"]


@pytest.mark.parametrize(
    ("rule", "why"), [("flow", "one key a line"), ("second", "one key a line"), ("absent", "no rule absent")]
)
def test_what_cannot_be_changed_safely_is_left_alone(path: Path, rule: str, why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        shadow(path, rule, expires=dt.date(2027, 1, 1))
    assert path.read_text() == TEXT


def test_pins_are_brought_up_to_date(path: Path) -> None:
    child = path.parent / "child.yaml"
    old = "sha256:" + "0" * 64
    child.write_text(
        f'schema: clearmark/policy/v1\nname: child\nversion: "1"\nextends:\n'
        f'  - {{policy: p.yaml, digest: "{old}"}}  # see there\n  - policy: default\n    digest: {old}\n'
    )
    with pytest.raises(PolicyError):
        Policy.load(child)
    assert len(pin(child)) == 2
    assert [name for name, _ in Policy.load(child).extends] == ["p.yaml", "default"]
    assert "# see there" in child.read_text()
    assert pin(child) == []
    with pytest.raises(PolicyError):
        pin(path.parent / "absent.yaml")
