"""
The tree stays one that can be read: few entries at the door, small folders, small modules.
"""

from pathlib import Path

import pytest


REPOSITORY = Path(__file__).parents[2]
PRODUCT = REPOSITORY / "webhook"
FOLDERS = sorted(
    {path.parent for root in ("webhook", "certs") for path in (REPOSITORY / root).rglob("*.py")}
)
MODULES = [path for folder in FOLDERS for path in sorted(folder.glob("*.py"))]

MOST_ENTRIES, MOST_FILES = 20, 5
MOST_MODULES = 12
"""
Of a folder, `__init__` not counted; `webhook/cli` has one for each command, and is exempt.
"""

MOST_LINES = 400


def name(path):
    """
    Return *path* as seen from the repository.
    """
    return path.relative_to(REPOSITORY).as_posix()


def test_the_door_has_few_entries():
    """
    Twenty at most, of which five are files.
    """
    entries = [path for path in PRODUCT.iterdir() if path.name != "__pycache__"]
    files = [path for path in entries if path.is_file()]

    assert len(entries) <= MOST_ENTRIES
    assert len(files) <= MOST_FILES


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_a_folder_is_seen_at_a_glance(folder):
    """
    No folder but that of the commands has more than twelve modules.
    """
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}

    assert name(folder) == "webhook/cli" or len(modules) <= MOST_MODULES


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_a_module_is_read_in_one_go(module):
    """
    No module has more than 400 lines.
    """
    lines = len(module.read_text("utf-8").splitlines())

    assert lines <= MOST_LINES
