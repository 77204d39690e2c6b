"""
The page about provisioning, held against the program.
"""

import re

from pathlib import Path

from click.testing import CliRunner

from webhook.cli import main
from webhook.config import parse_config


PAGE = (Path(__file__).parents[2] / "docs" / "provisioning.md").read_text("utf-8")


def test_its_config_is_valid():
    """
    The example parses, and means what its comments say.
    """
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    hub, quay, private = parse_config(text, {}).registries

    assert ("docker-hub", "docker-registry") == (hub.endpoint_type, quay.endpoint_type)
    assert (True, False) == (quay.is_public, private.is_public)


def test_its_options_exist():
    """
    Every option that the page names is one of the commands'.
    """
    shown = "".join(
        CliRunner().invoke(main, ["harbor", command, "--help"]).output
        for command in ("plan", "apply", "verify")
    )
    named = set(re.findall(r"--[a-z-]+", PAGE))

    assert named
    assert set() == {option for option in named if option not in shown}
