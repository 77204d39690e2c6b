"""
What is in the image that is really built from the Dockerfile; test_release.py runs it.
"""

import json
import tarfile

import pytest

from tests.support.node.product import built_image
from webhook import __version__


pytestmark = [pytest.mark.node, pytest.mark.slow]


@pytest.mark.usefixtures("_equipped")
def test_the_image_is_lean_compiled_and_not_root():
    """
    The image runs as a numeric user without a health check, all compiled and without the demo.
    """
    archive = built_image(__version__)
    with tarfile.open(archive) as image:
        manifest = json.load(image.extractfile("manifest.json"))[0]
        config = json.load(image.extractfile(manifest["Config"]))["config"]
        names = set()
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=image.extractfile(layer)) as content:
                names |= {name.lstrip("./") for name in content.getnames()}
    ours = {name for name in names if name.startswith("app/.venv/lib/")}
    packages = sum(name.endswith(".dist-info/METADATA") for name in ours)
    print(
        f"image: {archive.stat().st_size / 2**20:.0f} MiB uncompressed, {packages} Python packages"
    )
    source = [name for name in ours if name.endswith(".py")]
    compiled = sum("/__pycache__/" in name for name in ours if name.endswith(".pyc"))

    assert config["User"] == "65532:65532"
    assert "Healthcheck" not in config
    assert config["Entrypoint"] == ["/app/.venv/bin/harbor-cache"]
    assert packages > 20
    assert compiled > 0.95 * len(source)
    assert not [name for name in ours if "/pytest/" in name or "/ruff" in name]
    assert not [name for name in ours if "/webhook/demo" in name]
