"""
How the programs of the test cluster are built.
"""

from pathlib import Path

import pytest

from tests.support.cluster import binaries
from webhook.demo.cluster import KUBERNETES_VERSION


def _fake_go(directory, script):
    go = directory / "go"
    go.write_text(f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done; out=$2\n{script}\n')
    go.chmod(0o755)
    return go


def test_pinned_version_is_the_one_that_is_cached():
    """
    What go.mod pins is what the cache directory is named after.
    """
    module = Path(binaries.__file__).parent / "kubernetes" / "go.mod"

    assert f"k8s.io/kubernetes v{KUBERNETES_VERSION} " in module.read_text()


def test_failed_build_leaves_no_program(tmp_path, monkeypatch):
    """
    A build that fails halfway leaves nothing that could be taken for a program, and says why.
    """
    go = _fake_go(tmp_path, 'echo half > "$out"; echo "no network"; exit 1')
    monkeypatch.setattr(binaries, "go", lambda: go)
    directory = tmp_path / "bin"
    directory.mkdir()

    with pytest.raises(binaries.BuildError, match="no network"):
        binaries._build("etcd", directory)

    assert [each.name for each in directory.iterdir()] == ["etcd.build.log"]


def test_whole_program_appears_under_its_name(tmp_path, monkeypatch):
    """
    A build that succeeds leaves the program and nothing else.
    """
    go = _fake_go(tmp_path, 'printf "#!/bin/sh\\nexit 0\\n" > "$out"; chmod +x "$out"')
    monkeypatch.setattr(binaries, "go", lambda: go)
    directory = tmp_path / "bin"
    directory.mkdir()
    binaries._build("etcd", directory)

    assert [each.name for each in directory.iterdir()] == ["etcd"]
