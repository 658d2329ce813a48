"""Policy files: every fault at once, each at its line and column, and nothing hostile gets in."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from clearmark.core.errors import PolicyError
from clearmark.policies import InvalidPolicy, Policy, lint, profiles
from clearmark.policies._nodes import MAX_BYTES

GOOD = """\
schema: clearmark/policy/v1
name: acme
version: "1"
thresholds:
  prompt:
    sexual: 0.5
  output:
    sexual: {regenerate: 0.4, block: 0.8}
rules:
  - id: big
    stage: prompt
    when: request.n > 8
    action: review
"""


def faults(text: str) -> list[str]:
    with pytest.raises(InvalidPolicy) as caught:
        Policy.parse(text, "f.yaml")
    return [fault.render() for fault in caught.value.diagnostics_list]


def change(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def test_a_sound_file_loads_with_its_defaults() -> None:
    policy = Policy.parse(GOOD, "f.yaml")
    assert policy.ref.name == "acme"
    assert policy.ref.digest.startswith("sha256:")
    assert policy.on_error == "block"
    assert policy.marking.label is False
    assert policy.marking.metadata
    assert policy.marking.watermark
    assert policy.marking.manifest
    assert policy.regenerate_attempts == 0
    assert policy.retention == {"default": "P6M"}
    assert policy.unsafe == ()
    assert policy.threshold("output", "sexual") == 0.4
    assert policy.threshold("output", "hate") is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  prompt:\n", "  promt:\n", "5:3: thresholds.promt: unknown key (did you mean prompt?)"),
        ("name: acme", "nme: acme", "2:1: nme: unknown key (did you mean name?)"),
        ("name: acme", "name: acme\nname: b", "3:1: duplicate key name: first on line 2"),
        ("name: acme", "name: Acme Inc", "2:7: name: 'Acme Inc' is not a name such as acme-kids"),
        ('version: "1"', "version: 1.0", "3:10: version: must be a version (put it in quotes), not a number"),
        (
            "    sexual: 0.5",
            "    sexaul: 0.5",
            "6:5: thresholds.prompt.sexaul: unknown category 'sexaul' (did you mean sexual?)",
        ),
        (
            "    sexual: 0.5",
            "    sexual: '0.5'",
            "6:13: thresholds.prompt.sexual: must be a number, not text",
        ),
        ("    sexual: 0.5", "    sexual: 1.5", "6:13: thresholds.prompt.sexual: 1.5 is outside 0.01 to 0.99"),
        (
            "    sexual: 0.5",
            "    sexual: true",
            "6:13: thresholds.prompt.sexual: must be a number, not true or false",
        ),
        ("    sexual: 0.5", "    sexual: .nan", "6:13: thresholds.prompt.sexual: must be a number, not text"),
        (
            "    sexual: 0.5",
            "    sexual: {blur: 0.5}",
            "6:14: thresholds.prompt.sexual.blur: unknown action at stage prompt 'blur'",
        ),
        (
            "    sexual: 0.5",
            "    sexual/minors: 0.51",
            "6:20: thresholds.prompt.sexual/minors: sexual/minors is blocked from 0.5 on at the latest",
        ),
        (
            "    sexual: 0.5",
            "    sexual/minors: {review: 0.2}",
            "6:20: thresholds.prompt.sexual/minors: sexual/minors is always blocked",
        ),
        (
            "block: 0.8}",
            "block: 0.3}",
            "8:26: thresholds.output.sexual.regenerate: never reached: block holds from 0.3 on",
        ),
        (
            "    stage: prompt",
            "    stage: promt",
            "11:12: rules[0].stage: unknown word 'promt' (did you mean prompt?)",
        ),
        (
            "    action: review",
            "    action: blur",
            "13:13: rules[0].action: blur is not possible at stage prompt; one of review, block",
        ),
        ("    action: review", "    action: allow", "13:13: rules[0].action: unknown word 'allow'"),
        (
            "    action: review",
            "    action: review\n    mode: shadow",
            "14:11: rules[0].mode: shadow needs expires, the day from which it is enforced",
        ),
        (
            "    action: review",
            "    action: review\n    mode: off\n    expires: 2026-02-30",
            "15:14: rules[0].expires: '2026-02-30' is no day of the calendar",
        ),
        (
            "    action: review",
            "    action: review\n    expires: 2026-02-20",
            "14:14: rules[0].expires: only for a rule whose mode is shadow or off",
        ),
        ("request.n > 8", "request.m > 8", "12:19: rules[0].when: unknown field request.m"),
        ("request.n > 8", "'request.n > '", "12:24: rules[0].when: not CEL: mismatched input '<EOF>'"),
        ("request.n > 8", "request.n >> 8", "12:22: rules[0].when: not CEL: extraneous input '>'"),
        (
            "request.n > 8",
            '"scores.sexaul > 0.1"',
            "12:19: rules[0].when: unknown category sexaul (did you mean sexual?)",
        ),
        ("request.n > 8", "request.n", "12:11: rules[0].when: must come to true or false"),
        ("request.n > 8", "8", "12:11: rules[0].when: must be a condition (put it in quotes), not a number"),
        (
            "    action: review",
            "    action: review\n  - id: big\n    stage: prompt\n    when: 'true'\n    action: block",
            "14:9: rules[1].id: 'big' is taken by item 0",
        ),
        ("name: acme", "name: &x acme", "2:7: anchors and aliases are not allowed: write the value out"),
        ("name: acme", "name: !!str acme", "2:7: tags (!…) are not allowed"),
        (
            "    action: review",
            "    action: review\nmarking: {watermark: false}",
            "14:22: marking.watermark: write unsafe_no_watermark: true to leave this layer out",
        ),
        (
            "    action: review",
            "    action: review\nmarking: {manifest: true, unsafe_no_manifest: true}",
            "14:21: marking.manifest: contradicts unsafe_no_manifest",
        ),
        (
            "    action: review",
            "    action: review\non_error: allow",
            "14:11: on_error: unknown word 'allow'",
        ),
        (
            "    action: review",
            "    action: review\nrequires: {output: []}",
            "14:20: requires.output: an empty list says nothing: leave it out",
        ),
        (
            "    action: review",
            "    action: review\nretention: {default: 6 months}",
            "14:22: retention.default: '6 months' is not a period such as P30D, P6M or P1Y",
        ),
    ],
)
def test_a_fault_is_named_at_its_line_and_column(old: str, new: str, expected: str) -> None:
    found = faults(change(old, new))
    assert any(line.startswith(f"f.yaml:{expected}") for line in found), found


def test_all_faults_come_at_once_and_in_file_order() -> None:
    text = (
        change("name: acme", "name: A")
        .replace("sexual: 0.5", "sexual: 7")
        .replace("action: review", "action: x")
    )
    found = faults(text)
    assert [line.split(": ")[0] for line in found] == ["f.yaml:2:7", "f.yaml:6:13", "f.yaml:13:13"]
    with pytest.raises(InvalidPolicy) as caught:
        Policy.parse(text, "f.yaml")
    assert str(caught.value) == "f.yaml is no valid policy: 3 faults"
    assert all(line in caught.value.diagnostics() for line in found)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    ["", "\n# nothing\n", "null", "[]", "text", "{}", "schema: clearmark/policy/v1\nname: a\nversion: '1'\n"],
)
def test_an_empty_policy_is_an_error(text: str) -> None:
    assert faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "- " * 100_000,
        "a: 1\n" * 60_000,
        "x" * (MAX_BYTES + 1),
        "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n",
        "a: 1\n---\nb: 2\n",
        "%YAML 1.1\n---\nname: a\n",
        "? [a]\n: b\n",
        "a: \x00\n",
        "a: \ud800\n",
        "a:\n\t- b\n",
        "'",
        "{a",
        "\N{BYTE ORDER MARK}[",
    ],
    ids=range(14),
)
def test_hostile_text_costs_little_and_is_refused(text: str) -> None:
    start = time.process_time()
    assert faults(text)
    assert time.process_time() - start < 20  # an exponential reader would not come back


def test_conditions_that_would_cost_much_are_refused() -> None:
    deep = "(" * 500 + "true" + ")" * 500
    wide = "[1,2].exists(a, [1,2].exists(b, [1,2].exists(c, a == b && b == c)))"
    for when, why in ((deep, "nested more than"), (wide, "macros"), ("!" * 30 + "true", "signs")):
        assert any(why in line for line in faults(change("request.n > 8", f"'{when}'")))


def test_files_that_cannot_be_read_are_policy_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path, "a\x00b.yaml"):
        with pytest.raises(PolicyError, match="cannot be read"):
            Policy.load(path)
    with pytest.raises(PolicyError, match=r"no profile defalt \(did you mean default\?\)"):
        Policy.load("defalt")
    fifo = tmp_path / "fifo.yaml"
    os.mkfifo(fifo)
    with pytest.raises(PolicyError, match="not a regular file"):
        Policy.load(fifo)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nname: caf\xe9\n")
    with pytest.raises(InvalidPolicy) as caught:
        Policy.load(latin)
    assert caught.value.diagnostics_list[0].render() == f"{latin}:2:10: not UTF-8 text"


def test_opting_out_is_named_and_listed() -> None:
    text = GOOD + "on_error: unsafe_allow\nmarking: {unsafe_no_watermark: true}\n"
    policy = Policy.parse(text)
    assert policy.marking.watermark is False
    assert policy.unsafe == ("marking.unsafe_no_watermark", "on_error: unsafe_allow")
    assert {fault.severity for fault in lint_text(text)} == {"warning"}


def lint_text(text: str, tmp: list[Path] | None = None) -> list:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.yaml"
        path.write_text(text)
        return lint([path])


def test_lint_reports_every_file_and_failing_tests(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("one.yaml", "two.yaml", "three.yaml"))
    one.write_text(change("name: acme", "nme: acme"))
    two.write_text(GOOD + "tests:\n  - {name: wrong, given: {stage: prompt}, expect: {verdict: block}}\n")
    found = lint([one, two, three, "default"])
    assert [fault.source for fault in found if fault.severity == "error"] == [str(one)] * 2 + [
        str(two),
        str(three),
    ]
    assert "expected block, got allow" in found[2].message
    assert found[2].render().startswith(f"{two}:15:12: tests.wrong: ")


def test_shipped_profiles_lint_clean() -> None:
    assert lint(profiles()) == []


def test_the_digest_is_of_what_decides(tmp_path: Path) -> None:
    base = Policy.parse(GOOD, "a.yaml")
    same = Policy.parse("# a comment\n" + GOOD.replace("request.n > 8", "'request.n > 8'"), "b.yaml")
    assert same.ref.digest == base.ref.digest
    assert same == base
    assert hash(same) == hash(base)
    other = Policy.parse(change("sexual: 0.5", "sexual: 0.500001"))
    assert other.ref.digest != base.ref.digest
    assert other != base
