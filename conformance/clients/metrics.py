"""Reads a page of /metrics from standard input with Prometheus' own parser, which raises at what it does not understand."""

import sys

from prometheus_client.parser import text_string_to_metric_families

families = list(text_string_to_metric_families(sys.stdin.read()))
names = [family.name for family in families]
assert len(names) == len(set(names)), "a family is there twice"
assert all(family.documentation and family.type != "unknown" for family in families), "HELP or TYPE is missing"
assert "portcullis_connections" in names, names
print(f"{len(families)} families, {sum(len(family.samples) for family in families)} samples")
