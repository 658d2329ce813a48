"""Upkeep of the shipped files: `python -m clearmark.policies` brings the JSON Schema and the pins up to date.

Run it after a change of the format or of a profile that others extend, and look at the difference.
"""

import json
import sys
from pathlib import Path

from clearmark.policies import json_schema, pin

_HERE = Path(__file__).parent

(_HERE / "policy.schema.json").write_text(
    json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
)
changed = True
while changed:  # a pin changes the digest of the file that it stands in
    changed = False
    for file in sorted(_HERE.glob("*.yaml")):
        for change in pin(file):
            changed = True
            sys.stdout.write(f"{file.name}: {change}\n")
