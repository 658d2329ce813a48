"""The guide to policy files names everything that there is, and its example works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import clearmark.policies
from clearmark.policies import Policy, json_schema, profiles, run_tests
from clearmark.policies._conditions import REQUEST_FIELDS
from clearmark.policies.rules import ON_ERROR

GUIDE = (Path(clearmark.policies.__file__).parent / "README.md").read_text(encoding="utf-8")


def keys(schema: dict[str, Any]) -> set[str]:
    found = set(schema.get("properties", {}))
    parts = [*schema.get("properties", {}).values(), *schema.get("anyOf", []), schema.get("items")]
    for part in filter(None, parts):
        found |= keys(part)
    if isinstance(schema.get("additionalProperties"), dict):
        found |= keys(schema["additionalProperties"])
    return found


def test_every_key_profile_and_field_is_named() -> None:
    named = set(re.findall(r"`([^`\s]+)`", GUIDE)) | set(re.findall(r"[\w-]+", GUIDE))
    assert {*keys(json_schema()), *profiles(), *REQUEST_FIELDS, *ON_ERROR} <= named


def test_the_example_works() -> None:
    example = re.search(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert example is not None
    text = example.group(1).replace("sha256:…", Policy.load("default").ref.digest)
    assert [result.message for result in run_tests(Policy.parse(text))] == [""]
