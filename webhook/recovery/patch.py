"""
The JSON Patch that puts containers back, tried on the controller's own copy first.
"""

import copy

from collections.abc import Mapping, Sequence
from typing import Any

import jsonpatch

from webhook.errors import RecoveryError
from webhook.recovery.restore import Restore


__all__ = ["restore_patch"]


def restore_patch(pod: Mapping[str, Any], restores: Sequence[Restore]) -> list[dict[str, Any]]:
    """
    Return the operations that put *restores* into effect on *pod*, as it was just read.

    The API server refuses them (422) where the Pod is another one by now, or where a container
    has another image, or waits for another reason or no longer: a container whose pull succeeded
    in this very moment is not killed.

    Raises:
        RecoveryError: if they do not apply to *pod*, or would change more than those images.
    """
    operations = [{"op": "test", "path": "/metadata/uid", "value": pod["metadata"]["uid"]}]
    for restore in restores:
        container = restore.container
        operations += [
            {"op": "test", "path": container.name_pointer, "value": container.name},
            {"op": "test", "path": container.image_pointer, "value": container.image},
            {"op": "test", "path": container.reason_pointer, "value": container.reason},
            {"op": "replace", "path": container.image_pointer, "value": restore.original},
        ]
    _check(pod, operations, restores)
    return operations


def _check(
    pod: Mapping[str, Any], operations: list[dict[str, Any]], restores: Sequence[Restore]
) -> None:
    try:
        result = jsonpatch.apply_patch(pod, operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        raise RecoveryError("the Pod has changed since it was looked at") from error
    expected = copy.deepcopy(dict(pod))
    for restore in restores:
        container = restore.container
        expected["spec"][container.place][container.index]["image"] = restore.original
    if result != expected:
        raise RecoveryError("the patch would change more than images")
