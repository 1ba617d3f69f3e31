"""Puts the published files of one version together into one document that a test generator can read.

The files refer to each other and to examples that are not kept here, and they say `default` for every refusal. What
comes out is one swagger 2.0 document, written to a temporary file: references inside it, examples gone, the pool's
address as its host, and the api-version fixed to the one the files describe. The files themselves stay as published.
"""

import json
import pathlib

SPEC = pathlib.Path(__file__).resolve().parent.parent / "spec" / "7.5"
FILES = ("keys", "rbac", "settings", "backuprestore", "securitydomain")


def _rewritten(value):
    """The value with references made local, and without examples and vendor extensions."""
    if isinstance(value, dict):
        kept = {}
        for name, inner in value.items():
            if name.startswith("x-ms-") or (name == "example" and not isinstance(inner, dict)):
                continue
            if name == "$ref" and isinstance(inner, str):
                inner = "#" + inner.partition("#")[2]
            kept[name] = _rewritten(inner)
        return kept
    if isinstance(value, list):
        return [_rewritten(inner) for inner in value]
    return value


def merged(address):
    """The whole document, for a pool at `address` (https://host:port)."""
    document = {
        "swagger": "2.0",
        "info": {"title": "Managed HSM data plane", "version": "7.5"},
        "schemes": ["https"],
        "host": address.removeprefix("https://"),
        "basePath": "/",
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "paths": {},
        "definitions": {},
        "parameters": {},
    }
    for name in ("common", *FILES):
        published = _rewritten(json.loads((SPEC / f"{name}.json").read_text()))
        for part in ("paths", "definitions", "parameters"):
            for key, value in published.get(part, {}).items():
                known = document[part].setdefault(key, value)
                if known != value:
                    raise ValueError(f"{part} {key} differs between the published files")
    for parameter in document["parameters"].values():
        if parameter.get("name") == "api-version":
            parameter["enum"] = ["7.5"]
    return document


if __name__ == "__main__":
    import sys

    json.dump(merged(sys.argv[1]), sys.stdout, indent=1)
