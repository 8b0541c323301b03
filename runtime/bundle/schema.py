"""Writes docs/manifest.schema.json from the types of manifests and engine records.

After a change of the types: `python -m runtime.bundle.schema > docs/manifest.schema.json`.
"""

import json
from typing import Any

import msgspec

from runtime.bundle.engine_record import RECORD_VERSION, EngineRecord
from runtime.bundle.manifest import MANIFEST_VERSION, Manifest


def manifest_schema() -> dict[str, Any]:
    """The JSON schema of `manifest.json`; that of an engine's record is its `EngineRecord`."""
    (whole, _), types = msgspec.json.schema_components(
        [Manifest, EngineRecord], ref_template="#/$defs/{name}"
    )
    for schema in types.values():
        schema["additionalProperties"] = False
        schema["description"] = " ".join(schema["description"].split())
    manifest, record = types["Manifest"], types["EngineRecord"]
    manifest["properties"]["engines"] = {
        "description": "of older bundles only: copies of the records engines/NAME.engine.json",
        "deprecated": True,
        "type": "array",
    }
    manifest["properties"]["manifest_sha256"] = {
        "description": "of this object without this key, as JSON with sorted keys and no spaces",
        **types["FileRecord"]["properties"]["sha256"],
    }
    manifest["required"].append("manifest_sha256")
    record["properties"] = {"record_version": {"const": RECORD_VERSION}, **record["properties"]}
    record["required"].insert(0, "record_version")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Manifest of a dmdnet-runtime bundle (manifest.json), version {MANIFEST_VERSION}",
        **whole,
        "$defs": types,
    }


def schema_text() -> str:
    """The text of docs/manifest.schema.json."""
    return json.dumps(manifest_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
