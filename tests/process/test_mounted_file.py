"""
A mounted file: what changes, what is refused, and what stays.
"""

import pytest

from prometheus_client import CollectorRegistry

from webhook.errors import HarborCacheError
from webhook.process.metrics import FileMetrics
from webhook.process.mounted_file import MountedFile


def number(path):
    text = path.read_text("utf-8")
    if not text.isdigit():
        raise HarborCacheError(f"{path}: is no number")
    return int(text)


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def make(tmp_path, registry):
    metrics = FileMetrics(registry)

    def make(**options):
        read = options.pop("read", number)
        return MountedFile("it", tmp_path / "it", read, metrics=metrics, **options)

    return make


def count(registry, result):
    return registry.get_sample_value("harbor_cache_config_reload_total", {"result": result})


def is_refused(registry):
    return registry.get_sample_value("harbor_cache_file_refused", {"file": "it"})


async def test_a_change_is_seen_once(tmp_path, make, registry):
    """
    A file is read when it changes, and not again while it stays the same.
    """
    file = make()
    path = tmp_path / "it"
    path.write_text("1")
    first = (await file.look(), file.value, await file.look())
    path.write_text("2")
    second = (await file.look(), file.value)

    assert (True, 1, False) == first
    assert (True, 2) == second
    assert 2.0 == count(registry, "loaded")


async def test_a_bad_file_is_refused_for_as_long_as_it_is_bad(tmp_path, make, registry):
    """
    The last good value stays; the gauge says so until the file is good, and it is counted once.
    """
    file = make(value=7)
    path = tmp_path / "it"
    seen = []
    for text in ("x", "x", "7", "y", "8"):
        path.write_text(text)
        seen.append((await file.look(), file.value, is_refused(registry)))

    assert [
        (False, 7, 1.0),
        (False, 7, 1.0),
        (False, 7, 0.0),
        (False, 7, 1.0),
        (True, 8, 0.0),
    ] == seen
    assert 2.0 == count(registry, "refused")


@pytest.mark.parametrize(("optional", "refused"), [(False, 1.0), (True, 0.0)])
async def test_a_file_that_is_not_there(make, registry, optional, refused):
    """
    An absent file is refused, unless it may be absent; either way what was known stays.
    """
    file = make(value=7, optional=optional)

    assert (False, 7) == (await file.look(), file.value)
    assert refused == is_refused(registry)


async def test_whatever_reading_raises_is_a_refusal(tmp_path, make, registry):
    """
    A directory, bytes that are no text, and a mistake of ours end no loop, and are told.
    """

    def broken(_):
        raise ZeroDivisionError

    (tmp_path / "it").write_bytes(b"\xff")
    not_text = make()
    mistake = make(read=broken)
    await not_text.look()
    await mistake.look()
    (tmp_path / "it").unlink()
    (tmp_path / "it").mkdir()
    directory = make()
    await directory.look()

    assert "is not UTF-8" in not_text.refused
    assert "ZeroDivisionError" in mistake.refused
    assert "Is a directory" in directory.refused
