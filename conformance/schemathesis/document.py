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


def merged(address, further=(), nullable=()):
    """The whole document, for a pool at `address` (https://host:port).

    `further` are pairs of a definition and a value that it may have beyond those published; only a definition that the
    files themselves call open (`modelAsString`) takes one. `nullable` are pairs of a definition and a member that may be
    null as well as absent.
    """
    values = {}
    for definition, value in further:
        values.setdefault(definition, []).append(value)
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
        original = json.loads((SPEC / f"{name}.json").read_text())
        published = _rewritten(original)
        for definition in values.keys() & original.get("definitions", {}).keys():
            if original["definitions"][definition]["x-ms-enum"]["modelAsString"] is not True:
                raise ValueError(f"{definition} is closed")
            published["definitions"][definition]["enum"] += values.pop(definition)
        for part in ("paths", "definitions", "parameters"):
            for key, value in published.get(part, {}).items():
                known = document[part].setdefault(key, value)
                if known != value:
                    raise ValueError(f"{part} {key} differs between the published files")
    if values:
        raise ValueError(f"no such definitions: {set(values)}")
    for definition, member in nullable:
        document["definitions"][definition]["properties"][member]["x-nullable"] = True
    for parameter in document["parameters"].values():
        if parameter.get("name") == "api-version":
            parameter["enum"] = ["7.5"]
    return document


if __name__ == "__main__":
    import sys

    json.dump(merged(sys.argv[1]), sys.stdout, indent=1)
