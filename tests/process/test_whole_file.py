"""
Files that are written whole or not at all.
"""

import pytest

from webhook.process.whole_file import PRIVATE, write_whole


def test_a_file_is_replaced_with_its_permissions(tmp_path):
    """
    The new content stands under the old name, line ends and permissions as they were asked for.
    """
    path = tmp_path / "file"
    path.write_text("old")
    write_whole(path, "new\r\n→", PRIVATE)

    assert "new\r\n→".encode() == path.read_bytes()
    assert 0o600 == path.stat().st_mode & 0o777
    assert [path] == list(tmp_path.iterdir())


def test_what_can_not_be_written_leaves_everything_as_it_was(tmp_path):
    """
    Half a surrogate pair, or a folder in the way: nothing is changed and nothing is left behind.
    """
    path = tmp_path / "file"
    path.write_text("old")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")
    with pytest.raises(OSError, match="directory"):
        write_whole(folder, "new")

    assert "old" == path.read_text()
    assert [path, folder] == sorted(tmp_path.iterdir())
