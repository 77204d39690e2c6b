import asyncio

import pytest

from click.testing import CliRunner

from webhook.cli import main
from webhook.config import parse_config
from webhook.demo.standin import Fault, HarborStandIn
from webhook.errors import ClusterError, SmokeError
from webhook.kube.api import Answer
from webhook.survey import smoke
from webhook.survey.smoke import prove, wanted


_REGISTRIES = """
registries:
  - {host: docker.io, project: proxy.docker.io, canary: "library/alpine:3"}
  - {host: quay.io, project: proxy.quay.io, exclude: ["library/*"]}
"""


def _config(url="https://harbor.example.com", more=""):
    text = f"apiVersion: harbor-cache.io/v1\nkind: Config\nharbor: {{url: '{url}'}}\n"
    return parse_config(text + _REGISTRIES + more, {})


class Api:
    """
    An API server that makes of images what a table says.
    """

    def __init__(self, images, refusals=0):
        self.images = images
        self.refusals = refusals

    async def request(self, method, path, body, *, query):
        assert (method, query) == ("POST", {"dryRun": "All"})
        assert path == "/api/v1/namespaces/try/pods"
        if self.refusals:
            self.refusals -= 1
            return Answer(403, {"message": "no ServiceAccount yet"})
        for container in body["spec"]["containers"]:
            container["image"] = self.images.get(container["image"], container["image"])
        body["spec"]["containers"].insert(0, {"name": "injected", "image": "sidecar"})
        return Answer(201, body)


REWRITTEN = {
    "docker.io/library/alpine:3": "harbor.example.com/proxy.docker.io/library/alpine:3",
}


async def test_rewritten_images_are_proof():
    """
    Each registry's sample comes out as its rule says, excluded ones unchanged.
    """
    found = await prove(Api(REWRITTEN), _config(), "try", patience=0)

    assert found == {**REWRITTEN, "quay.io/library/busybox:1": "quay.io/library/busybox:1"}


async def test_a_namespace_may_need_a_moment():
    """
    A refusal is tried again, since a new namespace has no ServiceAccount at first.
    """
    assert await prove(Api(REWRITTEN, refusals=1), _config(), "try", patience=5)


async def test_a_lasting_refusal_is_told():
    """
    What the API server says stands in the error.
    """
    with pytest.raises(SmokeError, match=r"refuses a Pod in try: no ServiceAccount yet"):
        await prove(Api(REWRITTEN, refusals=9), _config(), "try", patience=0)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault.NONE, "Harbor is available"),
        (Fault.REFUSED, "Harbor can't serve, so images are kept, as they should be"),
    ],
)
async def test_untouched_images_are_no_proof_and_harbor_is_looked_at(fault, said):
    """
    Where nothing is rewritten, the error says whether Harbor is the reason.
    """
    async with HarborStandIn() as harbor:
        await harbor.set_fault(fault)
        config = parse_config(
            f"{{apiVersion: harbor-cache.io/v1, kind: Config, harbor: {{url: '{harbor.url}'}}}}",
            {},
        )
        with pytest.raises(SmokeError) as raised:
            await prove(Api({}), config, "try", patience=0)

    assert "docker.io/library/busybox:1 became docker.io/library/busybox:1" in str(raised.value)
    assert said in str(raised.value)


async def test_nobody_waits_for_a_harbor_that_is_away(monkeypatch):
    """
    Where Harbor stays away the answer comes before the patience for a starting webhook is over.
    """
    monkeypatch.setattr(smoke, "_UNWELL_SECONDS", 0.5)
    monkeypatch.setattr(smoke, "_RETRY_AFTER", 0.1)
    config = _config(url="http://127.0.0.1:9")  # The port that discards; nobody listens there.
    async with asyncio.timeout(60):
        with pytest.raises(SmokeError, match="Harbor can't serve"):
            await prove(Api({}), config, "try", patience=3600)


@pytest.mark.parametrize("more", ["paused: true", "mode: audit"])
async def test_a_config_that_rewrites_nothing_is_taken_at_its_word(more):
    """
    With `paused` or `mode: audit` unchanged images are right, and changed ones are not.
    """
    config = _config(more=more)

    assert all(image == became for image, became in wanted(config).items())
    assert await prove(Api({}), config, "try", patience=0) == wanted(config)
    with pytest.raises(SmokeError):
        await prove(Api(REWRITTEN), config, "try", patience=0)


async def test_no_error_but_ours_leaves():
    """
    An API server that can't be reached is told like a refusal.
    """

    class Gone:
        async def request(self, *_, **__):
            raise ClusterError("https://10.0.0.1: connection refused")

    with pytest.raises(SmokeError, match="connection refused"):
        await prove(Gone(), _config(), "try", patience=0)


def test_the_command_tells_trouble_in_plain_words(tmp_path):
    """
    Without a cluster `harbor-cache smoke` ends with 1 and one line, and with no traceback.
    """
    config = tmp_path / "config.yaml"
    config.write_text(
        "{apiVersion: harbor-cache.io/v1, kind: Config, harbor: {url: 'https://h.example.com'}}"
    )
    result = CliRunner().invoke(
        main,
        [
            *("smoke", "--config", str(config), "--namespace", "try"),
            *("--kubeconfig", str(tmp_path / "absent")),
        ],
    )

    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "No such file" in result.output
