#!/usr/bin/env python3
"""verify.json or `vggkit verify --json` on standard input -> a line for each file, group or pair: code, distance, files."""

import json
import sys

for finding in json.load(sys.stdin)["findings"]:
    for file in finding["files"]:
        print(finding["code"], "", file, sep="\t")
    for group in finding.get("groups", []):
        print(finding["code"], group.get("distance", ""), *group["files"], sep="\t")
