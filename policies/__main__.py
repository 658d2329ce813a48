"""Print the JSON Schema of policy files: `python -m clearmark.policies > policies/policy.schema.json`."""

import json
import sys

from clearmark.policies.schema import json_schema

sys.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
