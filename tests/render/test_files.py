import stat

import pytest

from webhook.errors import RenderError
from webhook.render import File, write


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_modes(tmp_path):
    """
    A private file is readable by its owner alone, a script can be run, all else is for all.
    """
    files = (File("a/b", "x"), File("s", "x", private=True), File("run", "x", executable=True))

    write(files, tmp_path / "out", force=False)

    assert [0o644, 0o600, 0o755] == [_mode(tmp_path / "out" / f.path) for f in files]


def test_nothing_is_overwritten_unasked(tmp_path):
    """
    A file in the way is named, and neither it nor any other file is written.
    """
    (tmp_path / "two").write_text("mine")

    with pytest.raises(RenderError, match=r"two: is in the way") as caught:
        write((File("one", "x"), File("two", "x")), tmp_path, force=False)

    assert "one: is in the way" not in str(caught.value)
    assert "mine" == (tmp_path / "two").read_text()
    assert ["two"] == [path.name for path in tmp_path.iterdir()]


def test_force_overwrites_but_not_what_is_kept(tmp_path):
    """
    With force, a secret that is there stays, and gets its permissions back.
    """
    files = (File("plain", "new"), File("secret", "new", private=True, kept=True))
    for file in files:
        (tmp_path / file.path).write_text("old")
    (tmp_path / "secret").chmod(0o644)

    written = write(files, tmp_path, force=True)

    assert [False, True] == [one.kept for one in written]
    assert ["new", "old"] == [(tmp_path / file.path).read_text() for file in files]
    assert 0o600 == _mode(tmp_path / "secret")


def test_a_folder_in_the_way(tmp_path):
    """
    A folder where a file should go is named, even with force.
    """
    (tmp_path / "one").mkdir()

    with pytest.raises(RenderError, match=r"one: is a folder"):
        write((File("zero", "x"), File("one", "x")), tmp_path, force=True)

    assert not (tmp_path / "zero").exists()


def test_trouble_halfway_leaves_nothing(tmp_path):
    """
    Where a later file can't be written, the earlier ones are not there either, nor pieces of them.
    """
    (tmp_path / "blocked").write_text("a file where a folder is needed")

    with pytest.raises(RenderError, match=r"blocked"):
        write((File("one", "x"), File("blocked/two", "x")), tmp_path, force=True)

    assert ["blocked"] == [path.name for path in tmp_path.iterdir()]
