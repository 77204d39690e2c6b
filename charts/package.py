"""
Package the chart, and write the checksums of what is released.

`helm package` puts the time of day into its archive; this one depends on the files alone, so that
anyone can make it again and compare.  Run it as ``make dist``.
"""

import argparse
import gzip
import hashlib
import io
import re
import tarfile

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import yaml

from charts.generate import CHART


__all__ = ["main", "package"]

_TIME: Final = 1577836800
"""
The time of every file, in seconds: 2020-01-01, as in the wheel.
"""


def package(chart: Path, repository: str = "", digest: str = "") -> tuple[str, bytes]:
    """
    Return the file name and the content of the packaged *chart*.

    Args:
        chart: its directory.
        repository: where its image comes from, if not where values.yaml says.
        digest: the image's digest, which the chart then pulls.
    """
    about = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))
    content = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=content, mode="wb", filename="", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for path in _files(chart):
            member = tarfile.TarInfo(f"{about['name']}/{path.relative_to(chart).as_posix()}")
            data = path.read_bytes()
            if path == chart / "values.yaml":
                data = _released(data.decode(), repository, digest).encode()
            member.size, member.mode, member.mtime = len(data), 0o644, _TIME
            archive.addfile(member, io.BytesIO(data))
    return f"{about['name']}-{about['version']}.tgz", content.getvalue()


def _released(values: str, repository: str, digest: str) -> str:
    """
    Return values.yaml with the image as it was released.
    """
    for key, value in (("repository", repository), ("digest", digest)):
        if value:
            values, found = re.subn(rf"(?m)^  {key}: .*$", f"  {key}: {value}", values)
            if found != 1:
                raise ValueError(f"values.yaml has no single image.{key}")
    return values


def _files(chart: Path) -> Iterator[Path]:
    """
    Yield the chart's files in the order that Helm writes them: Chart.yaml first.
    """
    ignored = [
        line.rstrip("/") for line in (chart / ".helmignore").read_text(encoding="utf-8").split()
    ]
    files = sorted(path for path in chart.rglob("*") if path.is_file())
    for path in sorted(files, key=lambda path: path != chart / "Chart.yaml"):
        parts = path.relative_to(chart).parts
        if not any(fnmatch(part, pattern) for part in parts for pattern in ignored):
            yield path


def main() -> None:
    """
    Put the packaged chart into a directory, and SHA256SUMS of all that is there.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--repository", default="", help="where the chart's image comes from")
    parser.add_argument("--digest", default="", help="the digest of that image")
    options = parser.parse_args()
    directory: Path = options.directory
    directory.mkdir(parents=True, exist_ok=True)
    name, content = package(CHART, options.repository, options.digest)
    (directory / name).write_bytes(content)
    sums = directory / "SHA256SUMS"
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(directory.iterdir())
        if path.is_file() and path != sums
    ]
    sums.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
