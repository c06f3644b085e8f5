"""Checks objects strictly against the schemas of Kubernetes versions that kubernetes-validate bundles.

Reads [{"case": …, "version": "1.30", "object": {…}}, …] and writes the list of what is wrong; with the argument
"versions", the versions that are there. The package itself reads its schemas anew for every object.
"""

import json
import re
import sys
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
from referencing import Registry, Resource

HOME = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"


def load(version, name):
    directory = next(HOME.glob(f"v{version}.*-local-strict"))
    return json.loads((directory / f"{name}.json").read_text())


@cache
def registry(version):
    return Resource.from_contents(load(version, "_definitions")) @ Registry()


@cache
def validator(version, kind, api):
    name = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api)
    schema = load(version, f"{kind.lower()}-{name}")
    return jsonschema.Draft202012Validator(schema, registry=registry(version))


def wrong(case, version, object):
    where = f"{case}: {object['kind']}/{object['metadata']['name']} in Kubernetes {version}"
    try:
        errors = validator(version, object["kind"], object["apiVersion"]).iter_errors(object)
        return [f"{where}: {error.json_path}: {error.message[:200]}" for error in errors]
    except FileNotFoundError:
        return [f"{where}: there is no such kind"]


if sys.argv[1:] == ["versions"]:
    found = {re.match(r"v(\d+)\.(\d+)\.", path.name).groups() for path in HOME.glob("v*-local-strict")}
    print(json.dumps([".".join(version) for version in sorted(found, key=lambda version: [int(n) for n in version])]))
else:
    print(json.dumps([line for item in json.load(sys.stdin) for line in wrong(**item)]))
