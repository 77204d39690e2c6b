import pytest

from webhook.config import parse_config
from webhook.render import files


_BASE = """
apiVersion: harbor-cache.io/v1
kind: Config
harbor: {url: https://harbor-cache.example.com}
"""


@pytest.fixture
def config():
    """
    Make a config of the least that is allowed, with sections added.
    """

    def make(more=""):
        return parse_config(_BASE + more, {})

    return make


@pytest.fixture
def texts(config):
    """
    Render a kind in memory: a mapping from path to text.
    """

    def make(kind, more=""):
        return {file.path: file.text for file in files(kind, config(more))}

    return make


@pytest.fixture
def authority_file(tmp_path):
    file = tmp_path / "their-ca.crt"
    file.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return file
