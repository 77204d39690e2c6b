"""
The JSON Patch that moves containers, tried on the controller's own copy first.

It rests on nothing but what it tests itself: the API server refuses it (422) where the Pod has become
another one meanwhile.
"""

import copy

from collections.abc import Mapping, Sequence
from typing import Any

import jsonpatch

from webhook.errors import RecoveryError
from webhook.pod.model import RECORD_PREFIX, REWRITTEN_LABEL
from webhook.recovery.move import Move, Side


__all__ = ["move_patch"]


def move_patch(pod: Mapping[str, Any], moves: Sequence[Move]) -> list[dict[str, Any]]:
    """
    Return the operations that put *moves* into effect on *pod*, as it was just read.

    A container that is rescued gets its record, and the Pod our label, in the same patch.  A map
    that is absent has to be so still: ``add`` over one that is there would wipe it.

    Raises:
        RecoveryError: if they do not apply to *pod*, or would change more than that.
    """
    operations = [_test("/metadata/uid", pod["metadata"]["uid"])]
    for move in moves:
        container = move.container
        operations += [
            _test(container.name_pointer, container.name),
            _test(container.status_name_pointer, container.name),
            _test(container.image_pointer, container.image),
            _test(container.reason_pointer, container.reason),
            {"op": "replace", "path": container.image_pointer, "value": move.image},
        ]
    records = {
        RECORD_PREFIX + move.container.name: move.container.image
        for move in moves
        if move.to is Side.HARBOR
    }
    if records:
        operations += _put(pod, "annotations", records)
        operations += _put(pod, "labels", {REWRITTEN_LABEL: "true"})
    _check(pod, operations, moves, records)
    return operations


def _test(path: str, value: Any) -> dict[str, Any]:
    return {"op": "test", "path": path, "value": value}


def _put(pod: Mapping[str, Any], member: str, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    present = pod["metadata"].get(member)
    path = f"/metadata/{member}"
    if not present:
        # The API server takes what is absent for null.
        return [_test(path, None), {"op": "add", "path": path, "value": dict(wanted)}]
    return [
        {
            "op": "add",
            "path": f"{path}/{key.replace('~', '~0').replace('/', '~1')}",
            "value": value,
        }
        for key, value in wanted.items()
        if present.get(key) != value
    ]


def _check(
    pod: Mapping[str, Any],
    operations: Sequence[dict[str, Any]],
    moves: Sequence[Move],
    records: Mapping[str, str],
) -> None:
    # RFC 6902 has no test for what is absent; the API server has.
    testable = [o for o in operations if (o["op"], o["value"]) != ("test", None)]
    try:
        result = jsonpatch.apply_patch(pod, testable)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        raise RecoveryError("the Pod has changed since it was looked at") from error
    expected = copy.deepcopy(dict(pod))
    for move in moves:
        container = move.container
        expected["spec"][container.place][container.index]["image"] = move.image
    if records:
        metadata = expected["metadata"]
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **records}
        metadata["labels"] = {**(metadata.get("labels") or {}), REWRITTEN_LABEL: "true"}
    if result != expected:
        raise RecoveryError("the patch would change more than images, records and the label")
