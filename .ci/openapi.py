#!/usr/bin/env python3
"""spec/openapi.yaml as JSON, as it is compiled in and served. Without arguments it writes spec/openapi.json; with --check it says
whether that file is what the YAML says."""
import json
import pathlib
import sys

import yaml

SPEC = pathlib.Path(__file__).resolve().parent.parent / "spec"


def main() -> int:
    document = yaml.safe_load((SPEC / "openapi.yaml").read_text())
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n"
    target = SPEC / "openapi.json"
    if "--check" in sys.argv[1:]:
        if target.read_text() == text:
            return 0
        print("spec/openapi.json is not what spec/openapi.yaml says: run .ci/openapi.py", file=sys.stderr)
        return 1
    target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
