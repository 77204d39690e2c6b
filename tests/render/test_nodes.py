"""
What `harbor-cache render nodes` writes, read by the parsers that nodes read it with.

Images are looked up at a Harbor stand-in over TLS, with a certificate that only the rendered files
make anyone trust.
"""

import json
import socket
import ssl
import subprocess
import tomllib

import pytest
import yaml

from tests.support.programs import require_program
from tests.support.render_programs import readers
from webhook.config import parse_config
from webhook.demo.standin import HarborStandIn, ThreadedStandIn
from webhook.render import certificates, files, write


_CONFIG = """
apiVersion: harbor-cache.io/v1
kind: Config
harbor: {{url: "https://127.0.0.1:{port}"}}
vm: {{front: self-signed, caFile: certs/ca.crt}}
registries:
  # A name that leads nowhere, so that no lookup that goes wrong leaves the machine.
  - {{host: registry.invalid, project: proxy.docker.io}}
"""
_IMAGE = "registry.invalid/library/busybox:1"
_ASKED = "/v2/proxy.docker.io/library/busybox/manifests/1"


@pytest.fixture
def rendered(tmp_path):
    """
    Render for a Harbor stand-in that runs over TLS; return the folder and the stand-in.
    """
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    config = parse_config(_CONFIG.format(port=port), {})
    write(certificates(config, tmp_path / "certs"), tmp_path / "certs", force=False)
    write(files("nodes", config, tmp_path), tmp_path / "nodes", force=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certs/harbor.crt", tmp_path / "certs/harbor.key")
    with ThreadedStandIn(HarborStandIn(port=port, tls=context)) as running:
        yield tmp_path / "nodes", running.harbor


def _run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def _asked(harbor):
    return {seen.path for seen in harbor.requests if seen.status == 200}


def test_the_kubelet_pulls_side_by_side(texts):
    """
    The kubelet's file and Talos' patch turn the same setting off, and leave room for hung pulls.
    """
    found = texts("nodes")
    kubelet = yaml.safe_load(found["kubelet/90-harbor-cache.conf"])
    talos = yaml.safe_load(found["talos/patch.yaml"])["machine"]["kubelet"]["extraConfig"]

    assert ("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration") == (
        kubelet.pop("apiVersion"),
        kubelet.pop("kind"),
    )
    assert {"serializeImagePulls": False, "maxParallelImagePulls": 20} == kubelet == talos


def test_a_public_certificate_needs_no_trust(texts):
    """
    Where no CA is named, no file and no key about one is there.
    """
    found = texts("nodes")

    assert "configs" not in yaml.safe_load(found["rancher/registries.yaml"])
    assert "config" not in yaml.safe_load(found["talos/patch.yaml"])["machine"]["registries"]
    assert not [path for path in found if path.endswith(".crt")]


def test_every_registry_has_its_mirror(texts):
    """
    All three files send each registry and each of its aliases to its own project.
    """
    found = texts("nodes")
    host = "harbor-cache.example.com"
    rancher = yaml.safe_load(found["rancher/registries.yaml"])["mirrors"]
    talos = yaml.safe_load(found["talos/patch.yaml"])["machine"]["registries"]["mirrors"]
    crio = tomllib.loads(found["crio/registries.conf.d/50-harbor-cache.conf"])["registry"]
    hub = dict.fromkeys(
        ("docker.io", "registry-1.docker.io", "registry.hub.docker.com"), "proxy.docker.io"
    )
    others = {name: f"proxy.{name}" for name in ("gcr.io", "k8s.gcr.io", "quay.io")}
    expected = hub | others

    assert expected == {
        name: one["rewrite"]["^(.*)$"].removesuffix("/$1") for name, one in rancher.items()
    }
    assert {f"https://{host}"} == {url for one in rancher.values() for url in one["endpoint"]}
    assert expected == {
        name: one["endpoints"][0].removeprefix(f"https://{host}/v2/")
        for name, one in talos.items()
    }
    assert expected == {
        one["prefix"]: one["mirror"][0]["location"].removeprefix(f"{host}/") for one in crio
    }
    assert all(one["prefix"] == one["location"] for one in crio)


@pytest.mark.slow
def test_talos_takes_the_patch(rendered):
    """
    Talos' own library merges the patch into a machine config, and keeps what that had.
    """
    folder, harbor = rendered

    result = _run(readers(), "talos", folder / "talos/patch.yaml")

    assert 0 == result.returncode, result.stderr
    found = json.loads(result.stdout)
    url = f"https://127.0.0.1:{harbor.port}/v2/proxy.docker.io"
    assert {"serializeImagePulls": False, "maxParallelImagePulls": 20} == found["kubelet"]
    assert {"registry.example.net", "registry.invalid"} == set(found["mirrors"])
    assert {"Endpoints": [url], "OverridePath": True, "SkipFallback": False} == found["mirrors"][
        "registry.invalid"
    ]
    authority = found["authorities"][f"127.0.0.1:{harbor.port}"]
    assert (folder.parent / "certs/ca.crt").read_text() == authority


@pytest.mark.slow
def test_talos_would_refuse_a_mistake(rendered):
    """
    The check above can fail: a key that Talos does not know is refused.
    """
    folder, _ = rendered
    patch = folder / "talos/patch.yaml"
    patch.write_text(patch.read_text().replace("overridePath", "overridesPath"))

    result = _run(readers(), "talos", patch)

    assert 0 != result.returncode
    assert "overridesPath" in result.stderr


@pytest.mark.slow
def test_k3s_asks_harbor(rendered):
    """
    The library that k3s and RKE2 read registries.yaml with finds an image in Harbor's project.
    """
    folder, harbor = rendered
    registries = folder / "rancher/registries.yaml"
    registries.write_text(
        registries.read_text().replace(
            "/etc/rancher/harbor-cache-ca.crt", str(folder / "rancher/harbor-cache-ca.crt")
        )
    )

    result = _run(readers(), "rancher", registries, _IMAGE)

    assert 0 == result.returncode, result.stderr
    assert result.stdout.startswith("sha256:")
    assert _ASKED in _asked(harbor)


@pytest.mark.slow
def test_k3s_asks_the_registry_where_harbor_is_down(rendered):
    """
    With no Harbor that it trusts, the same library goes on to the registry itself.
    """
    folder, harbor = rendered

    result = _run(readers(), "rancher", folder / "rancher/registries.yaml", _IMAGE)

    assert 0 != result.returncode
    assert "https://registry.invalid/v2/" in result.stderr
    assert set() == _asked(harbor)


def test_crio_asks_harbor(rendered):
    """
    The library that CRI-O reads registries.conf with, in skopeo, finds an image in the project.
    """
    skopeo = require_program("skopeo", "skopeo")
    folder, harbor = rendered
    authorities = folder / f"crio/certs.d/127.0.0.1:{harbor.port}"
    conf = folder / "crio/registries.conf.d/50-harbor-cache.conf"
    inspect = ("inspect", "--raw", f"--cert-dir={authorities}", f"docker://{_IMAGE}")

    result = _run(skopeo, f"--registries-conf={conf}", *inspect)

    assert 0 == result.returncode, result.stderr
    assert "schemaVersion" in json.loads(result.stdout)
    assert _ASKED in _asked(harbor)


def test_crio_asks_the_registry_where_harbor_is_down(rendered):
    """
    With Harbor failing, the same library goes on to the registry itself.
    """
    skopeo = require_program("skopeo", "skopeo")
    folder, _ = rendered
    conf = folder / "crio/registries.conf.d/50-harbor-cache.conf"

    inspect = ("inspect", "--raw", f"docker://{_IMAGE}")

    result = _run(skopeo, f"--registries-conf={conf}", *inspect)

    assert 0 != result.returncode
    assert "registry.invalid" in result.stderr.rpartition("127.0.0.1")[2]
