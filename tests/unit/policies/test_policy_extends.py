"""`extends`: pinned by digest, tightened freely, loosened only by an override that says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from clearmark.policies import InvalidPolicy, Policy

BASE = """\
schema: clearmark/policy/v1
name: base
version: "1"
thresholds:
  prompt: {sexual: 0.5, violence: {review: 0.4, block: 0.8}, sexual/minors: 0.2}
  output: {sexual: {regenerate: 0.4, block: 0.8}}
rules:
  - {id: big, stage: prompt, when: request.n > 8, action: review}
marking: {label: {show: always, text: AI}, metadata: {aigc: true}}
regenerate: {attempts: 2}
retention: {default: P6M}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def child(folder: Path, body: str = "", *, digest: str = "") -> Policy:
    pin = digest or Policy.load(folder / "base.yaml").ref.digest
    path = folder / "child.yaml"
    path.write_text(
        'schema: clearmark/policy/v1\nname: child\nversion: "1"\n'
        f'extends: {{policy: base.yaml, digest: "{pin}"}}\n{body}'
    )
    return Policy.load(path)


def faults(folder: Path, body: str, **more: str) -> list[str]:
    with pytest.raises(InvalidPolicy) as caught:
        child(folder, body, **more)
    return [fault.render().removeprefix(f"{folder}/") for fault in caught.value.diagnostics_list]


def test_what_is_not_named_is_inherited(folder: Path) -> None:
    base, policy = Policy.load(folder / "base.yaml"), child(folder)
    assert policy.ref.name == "child"
    assert policy.thresholds == base.thresholds
    assert policy.requires == base.requires
    assert policy.rules == base.rules
    assert policy.marking == base.marking
    assert policy.regenerate_attempts == 2
    assert policy.extends == (("base.yaml", base.ref.digest),)
    assert policy.ref.digest != base.ref.digest


def test_tightening_is_free(folder: Path) -> None:
    policy = child(
        folder,
        "thresholds:\n"
        "  prompt: {sexual: 0.3, hate: 0.5, sexual/minors: 0.1}\n"
        "  output: {sexual: {review: 0.4, block: 0.6}}\n"
        "rules:\n"
        "  - {id: big, stage: prompt, when: request.n > 8, action: block}\n"
        "  - {id: own, stage: output, when: request.n > 4, action: label}\n"
        "regenerate: {attempts: 0}\n"
        "retention: {default: P1Y}\n",
    )
    assert policy.threshold("prompt", "sexual") == 0.3
    assert policy.threshold("prompt", "violence") == 0.4
    assert policy.requires[next(iter(policy.requires))] == ("hate", "sexual", "sexual/minors", "violence")
    assert [(rule.id, rule.action.word) for rule in policy.rules] == [("big", "block"), ("own", "label")]


LOOSER = [
    (
        "thresholds:\n  prompt: {sexual: 0.6}\n",
        "thresholds.prompt.sexual",
        "6:20",
        "at 0.5, block becomes allow",
    ),
    (
        "thresholds:\n  prompt: {violence: {review: 0.4, block: 0.9}}\n",
        "thresholds.prompt.violence",
        "6:22",
        "at 0.8, block becomes review",
    ),
    (
        "thresholds:\n  input-media: {sexual: 0.5}\n",
        "thresholds.input-media",
        "6:16",
        "the stage was not covered, so everything was blocked",
    ),
    (
        "rules:\n  - {id: big, stage: prompt, when: request.n > 9, action: block}\n",
        "rules.big",
        "6:5",
        "another condition or stage might let more through",
    ),
    (
        "rules:\n  - {id: big, stage: prompt, when: request.n > 8, action: review, "
        "mode: off, expires: 2027-01-01}\n",
        "rules.big",
        "6:5",
        "mode enforce becomes off",
    ),
    ("on_error: review\n", "on_error", "5:11", "block becomes review"),
    ("requires: {prompt: [sexual]}\n", "requires.prompt", "5:20", "no longer required: violence"),
    ("regenerate: {attempts: 3}\n", "regenerate.attempts", "5:24", "2 attempts become 3"),
    ("retention: {default: P90D}\n", "retention.default", "5:22", "P6M becomes P90D"),
    ("marking: {label: false}\n", "marking.label", "5:18", "the label is no longer on every picture"),
    ("marking: {metadata: {aigc: false}}\n", "marking.metadata", "5:21", "the AIGC label is gone"),
    (
        "marking: {unsafe_no_watermark: true}\n",
        "marking.unsafe_no_watermark",
        "5:32",
        "the watermark is gone",
    ),
]


@pytest.mark.parametrize(("body", "path", "where", "why"), LOOSER, ids=[row[1] + row[2] for row in LOOSER])
def test_loosening_needs_an_override_that_stays_on_record(
    folder: Path, body: str, path: str, where: str, why: str
) -> None:
    message = f"looser than what it extends ({why}): needs an override of {path}"
    assert faults(folder, body) == [f"child.yaml:{where}: {path}: {message}"]
    policy = child(
        folder, body + f"overrides:\n  - {{path: {path}, reason: Art school., approved_by: M. Roe}}\n"
    )
    assert [(item.path, item.approved_by) for item in policy.overrides] == [(path, "M. Roe")]
    assert policy.to_dict()["overrides"] == [{"path": path, "reason": "Art school.", "approved_by": "M. Roe"}]


def test_minors_are_never_loosened(folder: Path) -> None:
    body = (
        "thresholds:\n  prompt: {sexual/minors: 0.3}\n"
        "overrides:\n  - {path: thresholds.prompt.sexual/minors, reason: x, approved_by: y}\n"
    )
    assert "sexual/minors is never loosened" in faults(folder, body)[0]
    (folder / "base.yaml").write_text(
        BASE.replace(
            "rules:\n",
            "rules:\n  - {id: m, stage: prompt, when: 'scores[\"sexual/minors\"] > 0.1', action: block}\n",
        )
        + "requires: {output: [sexual, sexual/minors]}\n"
    )
    for body, path in (
        (
            "rules: [{id: m, stage: prompt, when: 'false', action: block, category: sexual/minors}]\n",
            "rules.m",
        ),
        ("requires: {output: [sexual]}\n", "requires.output"),
    ):
        told = faults(folder, body + f"overrides:\n  - {{path: {path}, reason: x, approved_by: y}}\n")
        assert "sexual/minors is never loosened" in told[0]


def test_the_overrides_of_a_parent_stay_the_parents(folder: Path) -> None:
    parent = child(folder, "on_error: review\noverrides: [{path: on_error, reason: x, approved_by: y}]\n")
    assert len(parent.overrides) == 1
    grandchild = folder / "grandchild.yaml"
    grandchild.write_text(
        'schema: clearmark/policy/v1\nname: g\nversion: "1"\n'
        f'extends: {{policy: child.yaml, digest: "{parent.ref.digest}"}}\n'
    )
    policy = Policy.load(grandchild)
    assert policy.overrides == ()
    assert policy.on_error == "review"
    assert policy.extends == (("child.yaml", parent.ref.digest),)


def test_an_override_that_loosens_nothing_is_a_fault(folder: Path) -> None:
    body = "overrides:\n  - {path: on_error, reason: just in case, approved_by: y}\n"
    assert faults(folder, body) == [
        "child.yaml:6:12: overrides[0].path: on_error is not looser than what it extends"
    ]


def test_a_parent_that_changed_is_refused_with_its_new_digest(folder: Path) -> None:
    old = Policy.load(folder / "base.yaml").ref.digest
    (folder / "base.yaml").write_text(BASE.replace("sexual: 0.5", "sexual: 0.6"))
    new = Policy.load(folder / "base.yaml").ref.digest
    assert faults(folder, "", digest=old) == [
        f"child.yaml:4:38: extends.digest: base.yaml now has {new}: see what changed, then pin that"
    ]


def test_parents_that_cannot_be_had_are_named(folder: Path) -> None:
    pin = "sha256:" + "0" * 64
    text = f'schema: clearmark/policy/v1\nname: c\nversion: "1"\nextends: {{policy: NAME, digest: "{pin}"}}\n'
    (folder / "loop.yaml").write_text(text.replace("NAME", "loop.yaml"))
    (folder / "absent.yaml").write_text(text.replace("NAME", "nothing.yaml"))
    (folder / "broken.yaml").write_text("name: 1\n")
    (folder / "over.yaml").write_text(text.replace("NAME", "broken.yaml"))
    for name, why in (
        ("loop.yaml", "more than 8 deep"),
        ("absent.yaml", "cannot be read"),
        ("over.yaml", "broken.yaml is no valid policy"),
    ):
        with pytest.raises(InvalidPolicy) as caught:
            Policy.load(folder / name)
        assert why in caught.value.diagnostics(), name
    with pytest.raises(InvalidPolicy, match="1 fault") as caught:
        Policy.parse(text.replace("NAME", "base.yaml"))
    assert "only profiles" in caught.value.diagnostics()


def test_of_several_parents_the_strictest_of_each_item_counts(folder: Path) -> None:
    other = (
        'schema: clearmark/policy/v1\nname: other\nversion: "1"\non_error: review\n'
        "thresholds:\n"
        "  prompt: {sexual: 0.7, violence: {block: 0.3}, hate: 0.5}\n"
        "  output: {sexual: {blur: 0.2, block: 0.9}}\n"
        "rules:\n  - {id: own, stage: output, when: request.n > 4, action: label}\n"
        "marking: {unsafe_no_watermark: true, label: false}\n"
        "regenerate: {attempts: 5}\nretention: {default: P1Y}\n"
    )
    (folder / "other.yaml").write_text(other)
    pins = {name: Policy.load(folder / name).ref.digest for name in ("base.yaml", "other.yaml")}
    for order in (("base.yaml", "other.yaml"), ("other.yaml", "base.yaml")):
        rows = "".join(f'  - {{policy: {name}, digest: "{pins[name]}"}}\n' for name in order)
        path = folder / "both.yaml"
        path.write_text(f'schema: clearmark/policy/v1\nname: both\nversion: "1"\nextends:\n{rows}')
        both = Policy.load(path)
        form = both.to_dict()
        assert form["thresholds"]["prompt"] == {
            "hate": {"block": 500_000},
            "sexual": {"block": 500_000},
            "sexual/minors": {"block": 200_000},
            "violence": {"block": 300_000},
        }
        assert form["thresholds"]["output"]["sexual"] == {
            "block": 800_000,
            "regenerate": 400_000,
            "blur": 200_000,
        }
        assert {rule.id for rule in both.rules} == {"big", "own"}
        assert both.on_error == "block"
        assert both.marking.watermark
        assert both.marking.label
        assert both.marking.metadata
        assert both.marking.metadata.aigc
        assert both.regenerate_attempts == 2
        assert both.retention["default"] == "P1Y"
        assert both.unsafe == ()
    (folder / "other.yaml").write_text(other.replace("id: own, stage: output, when: request.n > 4, action: label", "id: big, stage: prompt, when: request.n > 4, action: block"))  # fmt: skip  # noqa: E501
    pins["other.yaml"] = Policy.load(folder / "other.yaml").ref.digest
    rows = "".join(f'  - {{policy: {name}, digest: "{pin}"}}\n' for name, pin in pins.items())
    path.write_text(f'schema: clearmark/policy/v1\nname: both\nversion: "1"\nextends:\n{rows}')
    with pytest.raises(InvalidPolicy) as caught:
        Policy.load(path)
    assert "rule big differs between the parents" in caught.value.diagnostics()
