import textwrap

import pytest

from pydantic import ValidationError

from webhook.config import default_config, load_config, parse_config
from webhook.config.base import parse_duration
from webhook.errors import ConfigError
from webhook.image.decision import Rewrite, rewrite_by_rules


HEAD = "apiVersion: harbor-cache.io/v1\nkind: Config\n"
MINIMAL = HEAD + "harbor: {url: https://harbor.example}\n"


def parse(text, **environment):
    return parse_config(textwrap.dedent(text), environment)


def problems(text, **environment):
    """
    Return the lines of the error that *text* gives.
    """
    with pytest.raises(ConfigError) as caught:
        parse(text, **environment)
    return str(caught.value).splitlines()


def test_defaults():
    """
    With Harbor's URL alone, the article's four registries are cached, in projects named for them.
    """
    config = parse(MINIMAL)

    assert [r.host for r in config.registries] == ["docker.io", "gcr.io", "k8s.gcr.io", "quay.io"]
    assert all(r.project == f"proxy.{r.host}" for r in config.registries)
    assert config == parse(MINIMAL, UNRELATED="1")
    assert (
        config.probe.interval,
        config.probe.timeout,
        config.probe.max_age,
        config.probe.canary_interval,
    ) == (5, 2, 30, 60)
    assert not config.paused
    assert not config.images.volumes
    assert not config.images.ephemeral_containers
    assert config.mode == "enforce"
    assert config.exclude_owners == (
        "postgresql.cnpg.io",
        "operators.coreos.com",
        "kubevirt.io",
        "workloads.kubeblocks.io",
        "Service",
    )
    assert (config.exclude_pods, config.placeholders) == ((), ("auto",))
    assert tuple(dict(config.recovery).values()) == (True, 30, 30, True, 30, 5, 86400, 1000)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("nginx", "harbor-cache.example.com/proxy.docker.io/library/nginx"),
        ("registry-1.docker.io/a/b:1", "harbor-cache.example.com/proxy.docker.io/a/b:1"),
        ("registry.hub.docker.com/a/b", "harbor-cache.example.com/proxy.docker.io/a/b"),
        ("k8s.gcr.io/pause:3.9", "harbor-cache.example.com/proxy.k8s.gcr.io/pause:3.9"),
    ],
)
def test_default_config(image, expected):
    """
    Without a config file there is a placeholder Harbor with the default rules.
    """
    decision = rewrite_by_rules(image, default_config().rules)

    assert isinstance(decision, Rewrite)
    assert expected == decision.result


def test_values_are_final():
    """
    A config can't be changed once it is read.
    """
    with pytest.raises(ValidationError, match="frozen"):
        parse(MINIMAL).paused = True


def test_harbor_host_and_base_url():
    """
    Images carry the host and port of `url`; probes go to `apiUrl` where there is one.
    """
    plain = parse(HEAD + "harbor: {url: 'https://harbor.example:8443/'}").harbor
    split = parse(HEAD + "harbor: {url: https://a.example, apiUrl: 'http://b.example:80'}").harbor

    assert (plain.host, plain.base_url) == ("harbor.example:8443", "https://harbor.example:8443")
    assert (split.host, split.base_url) == ("a.example", "http://b.example:80")


@pytest.mark.parametrize(
    "registry",
    [
        "{host: index.docker.io, project: p}",
        "{host: docker.io, project: p, aliases: [index.docker.io]}",
        "{host: index.docker.io, project: p, aliases: [docker.io, index.docker.io]}",
    ],
)
def test_index_docker_io_is_docker_io(registry):
    """
    The grammar of references knows both as one, so the config does.
    """
    [read] = parse(MINIMAL + f"registries: [{registry}]").registries

    assert ("docker.io", ()) == (read.host, read.aliases)


def test_registries_become_rules():
    """
    What the config says of registries, and of where Harbor was, reaches the rules.
    """
    config = parse(
        HEAD
        + """\
harbor: {url: https://new.example, formerUrls: [https://old.example]}
registries:
- host: ghcr.io
  project: github
  aliases: [docker.pkg.github.com]
  include: ["a/*"]
  exclude: ["a/b"]
  whenUpstreamDown: keep
"""
    )
    [rule] = config.rules.rules

    assert (
        rule.host,
        rule.project,
        rule.aliases,
    ) == ("ghcr.io", "github", ("docker.pkg.github.com",))
    assert (rule.include, rule.exclude, rule.when_upstream_down) == (("a/*",), ("a/b",), "keep")
    assert (
        config.rules.harbor_host,
        config.rules.former_hosts,
    ) == ("new.example", ("old.example",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must be a mapping with apiVersion, kind and harbor"),
        ("- a", "must be a mapping with apiVersion, kind and harbor"),
        ("harbor: [", "line 2, column 1: no valid YAML"),
        ("a: b: c", "line 1, column 5: no valid YAML"),
        ("a: \0", "no valid YAML"),
        (HEAD, "harbor: is missing"),
        ("kind: Config\nharbor: {url: https://h.example}", "apiVersion: is missing"),
        (MINIMAL.replace("v1", "v2"), "apiVersion: "),
        (MINIMAL.replace("Config", "Configuration"), "kind: "),
        (MINIMAL + "pausd: true", "pausd: unknown key"),
        (MINIMAL + "probe: {Interval: 5s}", "probe.Interval: unknown key"),
        (MINIMAL + "probe: {interval: 5}", "probe.interval: must be a duration with a unit"),
        (MINIMAL + "probe: {interval: 0s}", "probe.interval: "),
        (MINIMAL + "probe: {interval: -5s}", "probe.interval: must be a duration"),
        (MINIMAL + "probe: {failureThreshold: 0}", "probe.failureThreshold: "),
        (
            MINIMAL + "probe: {maxAge: 7s}",
            "probe: maxAge must be longer than interval and timeout",
        ),
        (MINIMAL + "probe: no", "probe: "),
        (MINIMAL + "mode: dry-run", "mode: "),
        (MINIMAL + "paused: perhaps", "paused: "),
        (MINIMAL + "pullSecrets: secret", "pullSecrets: "),
        (MINIMAL + "registries: []", "registries: is empty"),
        (MINIMAL + "registries: [{host: quay.io}]", "registries[0].project: is missing"),
        (MINIMAL + "registries: [{project: p}]", "registries[0].host: is missing"),
        (
            MINIMAL + "registries: [{host: 'https://quay.io', project: p}]",
            "registries[0].host: 'https://quay.io' is no registry host",
        ),
        (
            MINIMAL + "registries: [{host: quay.io, project: p, aliases: [a/b]}]",
            "registries[0].aliases[0]: 'a/b' is no registry host",
        ),
        (MINIMAL + "registries: [{host: quay.io, project: A}]", "registries[0].project: "),
        (MINIMAL + "registries: [{host: quay.io, project: a/b}]", "registries[0].project: "),
        (
            MINIMAL + "registries: [{host: a.b, project: p}, {host: a.b, project: q}]",
            "registries: the host 'a.b' stands there twice",
        ),
        (
            MINIMAL + "registries: [{host: a.b, project: p, aliases: [a.b]}]",
            "registries: the host 'a.b' stands there twice",
        ),
        (
            MINIMAL + "registries: [{host: a.b, project: p}, {host: c.d, project: p}]",
            "registries: the project 'p' stands there twice",
        ),
        (
            MINIMAL + "registries: [{host: a.b, project: p, whenUpstreamDown: wait}]",
            "registries[0].whenUpstreamDown: ",
        ),
        (HEAD + "harbor: {url: h.example}", "harbor.url: must be a URL such as https://h.example"),
        (HEAD + "harbor: {url: 'http://harbor'}", "harbor.url: 'harbor' can't stand in front of"),
        (
            MINIMAL + "paused: true\npaused: false",
            "line 5, column 1: no valid YAML: the key 'paus",
        ),
        (MINIMAL + "probe: {interval: 5s, interval: 6s}", "line 4, column 23: no valid YAML: the"),
        (MINIMAL + "a: 2020-99-99", "no valid YAML: "),
        (MINIMAL + "paused: 'perhaps'", "paused: must be true or false, not 'perhaps'"),
        (MINIMAL + "mode: dry-run", "mode: must be enforce or audit, not 'dry-run'"),
        (MINIMAL + "pausd: true", "pausd: unknown key; did you mean paused?"),
        (
            MINIMAL + "probe: {intervall: 5s}",
            "probe.intervall: unknown key; did you mean interval?",
        ),
        (
            MINIMAL + "registries: [{host: quay.io, project: p, exlude: [a]}]",
            "registries[0].exlude: unknown key; did you mean exclude?",
        ),
        (MINIMAL + "pullSecrets: [1]", 'pullSecrets[0]: must be text; put it in quotes: "…"'),
        (MINIMAL + "probe: {maxAge: 99999999999d}", "probe.maxAge: must be at most 3650d"),
        (MINIMAL + "recovery: {maxPatchesPerSecond: .inf}", "recovery.maxPatchesPerSecond: must"),
        (MINIMAL + "probe: {failureThreshold: 1.5}", "probe.failureThreshold: must be a whole"),
        (MINIMAL + "vm: {caFile: ''}", "vm.caFile: must name a file"),
        (
            MINIMAL + "registries: [{host: Quay.io, project: p}]",
            "registries[0].host: 'Quay.io' is matched exactly, and images have it in lower case",
        ),
        (
            MINIMAL + "registries: [{host: registry-1.docker.io, project: p}]",
            "registries[0].host: 'registry-1.docker.io' is Docker Hub",
        ),
        (
            MINIMAL + "registries: [{host: quay, project: p}]",
            "registries[0].host: 'quay' is no registry host: an image quay/app is Docker Hub's",
        ),
        (
            MINIMAL + "registries: [{host: 'harbor.example:443', project: p}]",
            "registries: 'harbor.example:443' is Harbor's own host",
        ),
        (HEAD + "harbor: {url: 'ftp://h.example'}", "harbor.url: must be a URL such as https://"),
        (HEAD + "harbor: {url: 'https://u:p@h.example'}", "harbor.url: must hold no user name"),
        (HEAD + "harbor: {url: 'https://h.example/path'}", "harbor.url: must be a host and an"),
        (HEAD + "harbor: {url: 'https://h.example?q'}", "harbor.url: must be a host and an"),
        (HEAD + "harbor: {url: 'https://h.example:port'}", "harbor.url: "),
        (HEAD + "harbor: {url: 'https://h.example:99999'}", "harbor.url: "),
        (HEAD + "harbor: {url: 'https://my_host.example'}", "harbor.url: 'my_host.example' can't"),
        (HEAD + "harbor: {url: 'https://[::1'}", "harbor.url: "),
        (
            HEAD + "harbor: {url: https://h.example, usernameFile: u}",
            "harbor: usernameFile and passwordFile go together",
        ),
        (MINIMAL + "recovery: {quarantineMax: -1}", "recovery.quarantineMax: "),
        (MINIMAL + "recovery: {maxPatchesPerSecond: 0}", "recovery.maxPatchesPerSecond: "),
    ],
)
def test_refused(text, expected):
    """
    A bad config gives one line that names the key by its path and says what is wrong.
    """
    lines = problems(text)

    assert len(lines) == 1
    assert lines[0].startswith(expected)


def test_all_problems_at_once():
    """
    Every bad key is named, not just the first.
    """
    lines = problems(MINIMAL + "pausd: true\nmode: off\nprobe: {interval: 1}")

    assert [line.partition(":")[0] for line in lines] == ["probe.interval", "mode", "pausd"]


def test_no_secret_in_errors():
    """
    A password that somebody put into a URL is not repeated.
    """
    [line] = problems(HEAD + "harbor: {url: 'https://user:hunter2@h.example'}")

    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("name", "value", "read", "expected"),
    [
        ("PAUSED", "true", lambda c: c.paused, True),
        ("MODE", "audit", lambda c: c.mode, "audit"),
        ("HARBOR_URL", "https://b.example", lambda c: c.harbor.url, "https://b.example"),
        ("HARBOR_CA_FILE", "/ca", lambda c: str(c.harbor.ca_file), "/ca"),
        ("PROBE_MAX_AGE", "1m30s", lambda c: c.probe.max_age, 90),
        ("PROBE_FAILURE_THRESHOLD", "7", lambda c: c.probe.failure_threshold, 7),
        ("IMAGES_EPHEMERAL_CONTAINERS", "true", lambda c: c.images.ephemeral_containers, True),
        ("RECOVERY_ENABLED", "false", lambda c: c.recovery.enabled, False),
    ],
)
def test_environment(name, value, read, expected):
    """
    A scalar is overridden by the environment variable that is named for its path.
    """
    assert expected == read(parse(MINIMAL, **{f"HARBOR_CACHE_{name}": value}))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PAUSED", "perhaps", "paused: "),
        ("PROBE_INTERVAL", "5", "probe.interval: must be a duration"),
        ("HARBOR_URL", "x", "harbor.url: must be a URL"),
        ("MODE", "[", "HARBOR_CACHE_MODE: "),
        ("MODE", "", "mode: "),
    ],
)
def test_bad_environment(name, value, expected):
    """
    A bad value in the environment is refused like one in the file.
    """
    [line] = problems(MINIMAL, **{f"HARBOR_CACHE_{name}": value})

    assert line.startswith(expected)


def test_environment_of_services_is_passed_over():
    """
    Variables that Kubernetes sets for a Service called harbor-cache-webhook change nothing.
    """
    environment = {
        "HARBOR_CACHE_WEBHOOK_SERVICE_HOST": "10.0.0.1",
        "HARBOR_CACHE_WEBHOOK_SERVICE_PORT": "443",
        "HARBOR_CACHE_WEBHOOK_SERVICE_PORT_HTTPS": "443",
        "HARBOR_CACHE_WEBHOOK_PORT": "tcp://10.0.0.1:443",
        "HARBOR_CACHE_WEBHOOK_PORT_443_TCP": "tcp://10.0.0.1:443",
        "HARBOR_CACHE_WEBHOOK_PORT_443_TCP_PROTO": "tcp",
        "HARBOR_CACHE_WEBHOOK_PORT_443_TCP_PORT": "443",
        "HARBOR_CACHE_WEBHOOK_PORT_443_TCP_ADDR": "10.0.0.1",
    }

    assert parse(MINIMAL) == parse(MINIMAL, **environment)
    assert () == parse(MINIMAL, **environment).warnings


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("HARBOR_CACHE_PAUSE", "did you mean HARBOR_CACHE_PAUSED?"),
        ("HARBOR_CACHE_PROBE_INTERVALL", "did you mean HARBOR_CACHE_PROBE_INTERVAL?"),
        ("HARBOR_CACHE_VM_HTTP_PORTS", "did you mean HARBOR_CACHE_VM_HTTP_PORT?"),
        ("HARBOR_CACHE_REGISTRIES", "overrides no key"),
        ("HARBOR_CACHE_XYZ", "overrides no key"),
    ],
)
def test_misspelt_environment_is_told(name, advice):
    """
    A variable with our prefix that overrides nothing is noted, with the name that was meant.
    """
    config = parse(MINIMAL, **{name: "x"})
    [warning] = config.warnings

    assert warning.startswith(f"{name} overrides no key of the config")
    assert advice in warning
    assert parse(MINIMAL).rules.fingerprint == config.rules.fingerprint


def test_environment_below_what_is_no_mapping():
    """
    Where the file has something else than the section, the file's error is the one shown.
    """
    [line] = problems(MINIMAL + "probe: 7", HARBOR_CACHE_PROBE_INTERVAL="1s")

    assert line.startswith("probe: ")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("0s", 0),
        ("1m30s", 90),
        ("24h", 86400),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        ("2d", 172800),
    ],
)
def test_duration(text, seconds):
    """
    A duration is a number with a unit, or several in a row.
    """
    assert seconds == parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5 s", "5s ", "-5s", "5y", "\uff15s", "1e3s", 60, None, True]
)
def test_no_duration(text):
    """
    Anything else is refused: nobody can see whether a bare number means seconds.
    """
    with pytest.raises(ValueError, match="must be a duration with a unit"):
        parse_duration(text)


def test_load(tmp_path, monkeypatch):
    """
    A file is read with the process's own environment.
    """
    path = tmp_path / "config.yaml"
    path.write_text(MINIMAL)
    monkeypatch.setenv("HARBOR_CACHE_PAUSED", "true")

    assert load_config(path).paused
    assert not load_config(path, {}).paused


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "No such file or directory"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"", "must be a mapping"),
        (HEAD.encode(), "harbor: is missing"),
    ],
)
def test_load_names_the_file(tmp_path, content, expected):
    """
    Every line of an error begins with the file's name.
    """
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load_config(path, {})

    assert all(line.startswith(f"{path}: ") for line in str(caught.value).splitlines())
    assert expected in str(caught.value)


def test_relative_paths_count_from_the_config_file(tmp_path, monkeypatch):
    """
    Wherever the command runs, a path leads to the same file; absolute ones stay as they are.
    """
    path = tmp_path / "here" / "config.yaml"
    path.parent.mkdir()
    files = "caFile: ca.crt, usernameFile: ../user, passwordFile: /run/password"
    path.write_text(
        HEAD + f"harbor: {{url: https://harbor.example, {files}}}\nvm: {{caFile: v/ca}}\n"
    )
    monkeypatch.chdir(tmp_path)
    config = load_config(path, {})

    assert path.parent / "ca.crt" == config.harbor.ca_file
    assert path.parent / "../user" == config.harbor.username_file
    assert str(config.harbor.password_file) == "/run/password"
    assert path.parent / "v" / "ca" == config.vm.ca_file


def test_docker_hub_needs_no_upstream_of_its_own():
    """
    docker.io gets Harbor's type docker-hub by default; other registries are plain ones.
    """
    text = MINIMAL + "registries: [{host: docker.io, project: a}, {host: quay.io, project: b}]\n"
    hub, quay = parse(text).registries

    assert ("docker_hub", "docker-hub", "https://hub.docker.com") == (
        hub.endpoint_name,
        hub.endpoint_type,
        hub.endpoint_url,
    )
    assert ("quay.io", "docker-registry", "https://quay.io") == (
        quay.endpoint_name,
        quay.endpoint_type,
        quay.endpoint_url,
    )


def test_a_project_whose_upstream_has_credentials_is_private_unless_said_otherwise():
    """
    A public project would show everyone what the upstream's account may read.
    """
    files = "upstream: {usernameFile: u, passwordFile: p}"
    text = MINIMAL + (
        f"registries: [{{host: a.example, project: a, {files}}},"
        f" {{host: b.example, project: b, public: true, {files}}}, {{host: c.example, project: c}}]"
    )

    assert [False, True, True] == [registry.is_public for registry in parse(text).registries]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{quotaGib: 0}", "provisioning: quotaGib: must be positive, or -1 for no limit"),
        (
            "{robot: {passwordFile: p}}",
            "provisioning.robot: needs usernameFile and passwordFile, or manifestFile",
        ),
        (
            "{robot: {}}",
            "provisioning.robot: needs usernameFile and passwordFile, or manifestFile",
        ),
    ],
)
def test_provisioning_that_can_not_work(section, message):
    """
    What Harbor would refuse, or would leave a secret nowhere, is named before anything is called.
    """
    assert [message] == problems(MINIMAL + f"provisioning: {section}\n")


def test_plain_http_is_accepted_with_a_warning():
    """
    A Harbor without TLS works, and the log says what that means.
    """
    text = "apiVersion: harbor-cache.io/v1\nkind: Config\nharbor: {{url: {}://harbor.example}}"

    assert parse_config(text.format("http"), {}).warnings
    assert not parse_config(text.format("https"), {}).warnings
