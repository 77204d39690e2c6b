import pytest
import yaml


# What `prepare` of Harbor 2.15 takes without a default, so that it ends with a KeyError where one
# is missing (make/photon/prepare/utils/configs.py, parse_yaml_config), or what its own template
# of that version leaves uncommented (make/photon/prepare/migrations/version_2_15_0).
_REQUIRED = [
    "_version",
    "hostname",
    "harbor_admin_password",
    "data_volume",
    "database.password",
    "database.max_idle_conns",
    "database.max_open_conns",
    "jobservice.max_job_workers",
    "jobservice.max_job_duration_hours",
    "jobservice.job_loggers",
    "jobservice.logger_sweeper_duration",
    "notification.webhook_job_max_retry",
    "notification.webhook_job_http_client_timeout",
    "log.level",
    "log.local.rotate_count",
    "log.local.rotate_size",
    "log.local.location",
    "metric.enabled",
    "metric.port",
    "metric.path",
    "proxy.components",
    "upload_purging.enabled",
    "upload_purging.age",
    "upload_purging.interval",
    "upload_purging.dryrun",
    "cache.enabled",
    "cache.expire_hours",
]
_SELF_SIGNED = "vm: {front: self-signed}"


def _lookup(data, path):
    for part in path.split("."):
        data = data[part]
    return data


@pytest.fixture
def harbor_yml(texts):
    return lambda more="": yaml.safe_load(texts("harbor", more)["harbor.yml.tmpl"])


@pytest.mark.parametrize("front", ["", _SELF_SIGNED])
@pytest.mark.parametrize("path", _REQUIRED)
def test_has_what_prepare_requires(harbor_yml, front, path):
    """
    No key is missing, or empty, that Harbor's `prepare` asks for.
    """
    value = _lookup(harbor_yml(front), path)

    assert value not in (None, "")


def test_behind_traefik(harbor_yml):
    """
    Behind Traefik there is plain HTTP and no https section, and the URL outside is https.
    """
    data = harbor_yml()

    assert {"port": 8080} == data["http"]
    assert "https" not in data
    assert "https://harbor-cache.example.com" == data["external_url"]
    assert "harbor-cache.example.com" == data["hostname"]


def test_self_signed(harbor_yml):
    """
    Without Traefik, Harbor serves https by itself, with the pair that the playbook lays down.
    """
    data = harbor_yml(_SELF_SIGNED)

    expected = {
        "port": 443,
        "certificate": "/opt/harbor/tls/harbor.crt",
        "private_key": "/opt/harbor/tls/harbor.key",
        "strong_ssl_ciphers": True,
    }
    assert expected == data["https"]
    assert "https://harbor-cache.example.com" == data["external_url"]


def test_the_log_level_is_one_that_prepare_takes(harbor_yml):
    """
    `prepare` refuses all other levels.
    """
    assert harbor_yml()["log"]["level"] in {"debug", "info", "warning", "error", "fatal"}


def test_no_password_of_harbors_own(texts):
    """
    The passwords that everyone knows stand nowhere in what is rendered, but where they are refused.
    """
    for path, text in texts("harbor").items():
        if path != "fill-passwords.sh":
            assert "Harbor12345" not in text
            assert "root123" not in text
