"""
Every change of an object that its API description allows to write down.

The description is the API server's own (OpenAPI v3), so a field of a later Kubernetes is tried
without anyone listing it here.  Most changes are refused by validation; a test asks the API server
itself which are not.
"""

from collections.abc import Iterator
from typing import Any


__all__ = ["Fields"]

_STRINGS = ("x", "v1", "example.com/x", "1")
_DEPTH = 4
Operation = dict[str, Any]


class Fields:
    """
    The fields of one API version, and what could stand in them.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._schemas = document["components"]["schemas"]

    def changes(self, kind: str, thing: dict[str, Any]) -> Iterator[Operation]:
        """
        Yield JSON Patch operations that change *thing*, of a schema named *kind*, at one place.

        Every field is removed, replaced and added, with several values of its type; of lists, the
        first element and one more.
        """
        yield from self._changes({"$ref": f"#/components/schemas/{kind}"}, thing, "")

    def _changes(self, schema: Any, value: Any, path: str) -> Iterator[Operation]:
        schema = self._resolve(schema)
        if path:
            yield {"op": "remove", "path": path}
            for sample in self._samples(schema, _DEPTH, value):
                if sample != value:
                    yield {"op": "replace", "path": path, "value": sample}
        if isinstance(value, list):
            yield {"op": "replace", "path": path, "value": []}
            for sample in self._samples(schema["items"], _DEPTH):
                yield {"op": "add", "path": f"{path}/-", "value": sample}
            if value:
                yield from self._changes(schema["items"], value[0], f"{path}/0")
        elif isinstance(value, dict):
            properties = dict(schema.get("properties", {}))
            if more := schema.get("additionalProperties"):
                properties |= dict.fromkeys((*value, "x", "example.com/x"), more)
            for name, each in properties.items():
                below = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
                if name in value:
                    yield from self._changes(each, value[name], below)
                else:
                    for sample in self._samples(each, _DEPTH):
                        yield {"op": "add", "path": below, "value": sample}

    def _resolve(self, schema: Any) -> Any:
        while True:
            if len(schema.get("allOf", ())) == 1:
                schema = schema["allOf"][0]
            elif "$ref" in schema:
                schema = self._schemas[schema["$ref"].rpartition("/")[2]]
            else:
                return schema

    def _samples(self, schema: Any, depth: int, now: Any = None) -> list[Any]:
        schema = self._resolve(schema)
        if depth == 0:
            return []
        if "enum" in schema:
            return list(schema["enum"])
        match schema.get("type"):
            case "boolean":
                return [True, False]
            case "integer" | "number":
                return [1, 7, -1] if not isinstance(now, int) else [now - 1, now + 1, 1, -1]
            case "array":
                return [[sample] for sample in self._samples(schema["items"], depth)]
            case "object" if more := schema.get("additionalProperties"):
                return [
                    {key: sample}
                    for key in ("x", "example.com/x")
                    for sample in self._samples(more, depth - 1)
                ]
            case "object":
                return self._objects(schema, depth)
            case "string" if schema.get("format") == "date-time":
                return ["2020-01-01T00:00:00Z"]
        return list(_STRINGS)  # A string, or a quantity, which may be one.

    def _objects(self, schema: Any, depth: int) -> list[Any]:
        """
        Return objects with what is required, alone and with each of the other fields.
        """
        properties, required = schema.get("properties", {}), schema.get("required", ())
        found = []
        for index in range(len(_STRINGS)):
            least = {}
            for name in required:
                samples = self._samples(properties[name], depth - 1)
                if not samples:
                    return []
                least[name] = samples[min(index, len(samples) - 1)]
            if least not in found:
                found.append(least)
        more = [
            base | {name: sample}
            for base in found[:2]
            for name, each in properties.items()
            if name not in required
            for sample in self._samples(each, min(depth - 1, 2))[:6]
        ]
        return found + more
