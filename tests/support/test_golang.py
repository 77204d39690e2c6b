import subprocess

from tests.support import golang


def test_found_go_is_new_enough():
    """
    The Go that the tests use is at least the one that Kubernetes asks for.
    """
    shown = subprocess.run(
        [golang.go(), "env", "GOVERSION"], check=True, capture_output=True, text=True
    )
    major, minor = shown.stdout.strip().removeprefix("go").split(".")[:2]

    assert (int(major), int(minor)) >= (1, 26)


def test_cache_is_outside_the_checkout(monkeypatch, tmp_path):
    """
    What is built once lands where XDG_CACHE_HOME says.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert tmp_path / "harbor-cache-webhook" == golang.cache_directory()
    assert golang.cache_directory().is_dir()
