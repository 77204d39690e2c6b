import base64
import tomllib

import pytest
import yaml

from webhook.errors import ConfigError, RenderError
from webhook.render import KINDS, files


_OIDC = """
provisioning: {oidc: {endpoint: https://dex.example.com, clientSecretFile: dex/client-secret}}
"""


def test_every_yaml_and_toml_file_can_be_read(config, authority_file):
    """
    Whatever ends in .yaml, .yml or .toml is what its ending says.
    """
    whole = config(_OIDC + f"vm: {{caFile: {authority_file}}}")
    read = 0
    for kind in KINDS:
        for file in files(kind, whole):
            if file.path.endswith((".yaml", ".yml")) and "override" not in file.path:
                assert yaml.safe_load(file.text)
                read += 1
            elif file.path.endswith(".toml"):
                assert tomllib.loads(file.text)
                read += 1

    assert 13 == read


def test_every_file_says_why(config, authority_file):
    """
    Each file has a comment or is a text, but for secrets and certificates.
    """
    whole = config(_OIDC + f"vm: {{caFile: {authority_file}}}")
    silent = [
        file.path
        for kind in KINDS
        for file in files(kind, whole)
        if "#" not in file.text and not file.private and not file.path.endswith("ca.crt")
    ]

    assert [] == silent


def test_mirrors(texts):
    """
    A mirror asks the proxy project first, and the registry itself when that fails.
    """
    found = texts("containerd")

    hub = tomllib.loads(found["certs.d/docker.io/hosts.toml"])
    expected = {
        "server": "https://registry-1.docker.io",
        "host": {
            "https://harbor-cache.example.com/v2/proxy.docker.io": {
                "capabilities": ["pull", "resolve"],
                "override_path": True,
            }
        },
    }
    assert expected == hub
    quay = tomllib.loads(found["certs.d/quay.io/hosts.toml"])
    assert "https://quay.io" == quay["server"]
    assert ["https://harbor-cache.example.com/v2/proxy.quay.io"] == list(quay["host"])


def test_a_public_certificate_needs_no_trust(texts):
    """
    Where no CA is named, nothing is said about Harbor's own host, nor is any CA.
    """
    found = texts("containerd") | texts("docker")

    assert not [path for path in found if "harbor-cache.example.com" in path]
    assert not [path for path, text in found.items() if "ca.crt" in text]


def test_trust_in_our_ca(texts, authority_file):
    """
    A CA of our own is copied, and named by the host's file and by every mirror.
    """
    found = texts("containerd", f"vm: {{caFile: {authority_file}}}")

    folder = "certs.d/harbor-cache.example.com"
    path = "/etc/containerd/certs.d/harbor-cache.example.com/ca.crt"
    trust = tomllib.loads(found[f"{folder}/hosts.toml"])
    assert path == trust["host"]["https://harbor-cache.example.com"]["ca"]
    assert authority_file.read_text() == found[f"{folder}/ca.crt"]
    for name, text in found.items():
        if name.endswith("hosts.toml"):
            assert f'ca = "{path}"' in text


def test_ports_in_folder_names(config, authority_file):
    """
    Containerd wants a port between underscores; Docker wants it as it stands in image names.
    """
    plain = config(
        f"vm: {{caFile: {authority_file}}}\n"
        "registries: [{host: 'registry.example.com:5000', project: proxy.example}]"
    )
    ported = plain.model_copy(
        update={
            "harbor": plain.harbor.model_copy(update={"url": "https://harbor.example.com:8443"})
        }
    )

    paths = {file.path for kind in ("containerd", "docker") for file in files(kind, ported)}

    expected = {
        "README.md",
        "certs.d/harbor.example.com_8443_/hosts.toml",
        "certs.d/harbor.example.com_8443_/ca.crt",
        "certs.d/registry.example.com_5000_/hosts.toml",
        "certs.d/harbor.example.com:8443/ca.crt",
    }
    assert expected == paths


def test_dex(config):
    """
    Dex's client has the id and the redirect that Harbor uses, and its secret is in no values file.
    """
    found = {file.path: file for file in files("dex", config(_OIDC))}

    values = yaml.safe_load(found["values.yaml"].text)
    (client,) = values["config"]["staticClients"]
    secret = found["client-secret"].text
    assert "https://dex.example.com" == values["config"]["issuer"]
    assert "harbor-cache-oidc-dex" == client["id"]
    assert ["https://harbor-cache.example.com/c/oidc/callback"] == client["redirectURIs"]
    (variable,) = values["envVars"]
    assert client["secretEnv"] == variable["name"]
    assert 20 == len(base64.b64decode(secret, validate=True))
    assert found["client-secret"].private
    assert not [
        path for path, file in found.items() if path != "client-secret" and secret in file.text
    ]


def test_the_dns_provider(texts):
    """
    Another DNS provider comes with its own variables, in the container and in .env.
    """
    more = "vm: {acme: {provider: hetzner, environment: [HETZNER_API_TOKEN]}}"
    found = texts("traefik", more)

    assert "dnschallenge.provider=hetzner" in found["docker-compose.override.yml"]
    assert "      - HETZNER_API_TOKEN\n" in found["docker-compose.override.yml"]
    assert "HETZNER_API_TOKEN=\n" == found[".env"]
    assert "AWS" not in "".join(found.values())


def test_the_variables_of_route53(texts):
    """
    The credentials for Route 53 include the zone, in the container and in .env.
    """
    found = texts("traefik")

    names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_HOSTED_ZONE_ID"]
    assert "".join(f"{name}=\n" for name in names) == found[".env"]
    for name in names:
        assert f"      - {name}\n" in found["docker-compose.override.yml"]


def test_the_resolvers(texts):
    """
    Traefik asks the DNS servers that the config names, and else the machine's own.
    """
    found = texts(
        "traefik", "vm: {acme: {resolvers: ['1.1.1.1:53', 'dns.example.com', '[::1]:5353']}}"
    )
    without = texts("traefik")

    override = "docker-compose.override.yml"
    assert "dnschallenge.resolvers=1.1.1.1:53,dns.example.com,[::1]:5353\n" in found[override]
    assert "resolvers=" not in without[override]


@pytest.mark.parametrize(
    ("kind", "more", "why"),
    [
        ("dex", "", r"provisioning\.oidc: is missing"),
        ("traefik", "vm: {front: self-signed}", r"vm\.front: is self-signed"),
        ("containerd", "vm: {front: self-signed}", r"vm\.caFile: is missing"),
        ("docker", "vm: {front: self-signed}", r"vm\.caFile: is missing"),
    ],
)
def test_what_a_kind_needs(texts, kind, more, why):
    """
    What a kind needs and the config lacks is an error that names the key.
    """
    with pytest.raises(ConfigError, match=why):
        texts(kind, more)


def test_an_absent_ca_file(texts, tmp_path):
    """
    A CA file that is not there is an error that names it.
    """
    with pytest.raises(RenderError, match=r"vm\.caFile: .*gone\.crt: No such file"):
        texts("docker", f"vm: {{caFile: {tmp_path}/gone.crt}}")


@pytest.mark.parametrize(
    "more",
    [
        "vm: {directory: '/opt/har bor'}",
        "vm: {dataDirectory: relative}",
        "vm: {logDirectory: '/var/log/$(reboot)'}",
        "vm: {harborVersion: '2'}",
        "vm: {traefikVersion: 'latest'}",
        "vm: {httpPort: 80}",
        "vm: {acme: {email: 'a\"b@example.com'}}",
        "vm: {acme: {provider: cloudflare}}",
        "vm: {acme: {environment: ['A=B']}}",
        "vm: {acme: {resolvers: ['1.1.1.1:53,8.8.8.8:53']}}",
        "vm: {acme: {resolvers: ['https://1.1.1.1']}}",
        "vm: {acme: {resolvers: ['::1']}}",
        "vm: {front: nginx}",
    ],
)
def test_values_that_would_not_survive_quoting(config, more):
    """
    What would mean something else in a unit, a shell or YAML is refused with the config.
    """
    with pytest.raises(ConfigError, match=r"vm\."):
        config(more)
