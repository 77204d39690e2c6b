import base64
import importlib
import json

import pytest
import yaml

from tests.support.helm import CHART, HARBOR, helm, named, refusal, render, render_text, set_json
from webhook.config import parse_config


MODES = sorted((CHART / "ci").glob("*-values.yaml"))
NAME = "harbor-cache-webhook"


@pytest.fixture(params=MODES, ids=lambda path: path.name.removesuffix("-values.yaml"))
def values(request):
    return "--values", str(request.param)


@pytest.fixture(scope="module")
def objects():
    return render(*HARBOR)


def pods(objects):
    """
    Yield the specification of every Pod that the chart makes.
    """
    for item in objects:
        if item["kind"] == "Deployment":
            yield item["spec"]["template"]["spec"]
        elif item["kind"] == "Pod":
            yield item["spec"]


def nulls(node, path=""):
    if node is None:
        yield path
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from nulls(value, f"{path}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from nulls(value, f"{path}[{index}]")


def test_lint_passes(values):
    """
    Helm's own checks find nothing in any mode.
    """
    result = helm("lint", "--strict", str(CHART), *values)

    assert result.returncode == 0, result.stdout
    assert "[WARNING]" not in result.stdout


def test_two_renders_are_identical(values):
    """
    Nothing is made up while rendering, or GitOps would deploy something new on every sync.
    """
    assert render_text(*values) == render_text(*values)


def test_nothing_is_null(values):
    """
    Null in a manifest means that a value was forgotten, and some tools fail on it.
    """
    documents = list(yaml.safe_load_all(render_text(*values)))

    assert list(nulls(documents)) == []
    assert all(documents)


def test_names_are_unique(values):
    """
    No two objects of a kind share a name, or the later would overwrite the earlier.
    """
    names = [
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
        for item in render(*values)
    ]

    assert len(names) == len(set(names))


def test_the_config_file_is_one_that_the_program_accepts(values):
    """
    What the ConfigMap holds is read by the program itself.
    """
    objects = render(*values)
    holder = next(
        item for item in objects if item["kind"] == "ConfigMap" and "config.yaml" in item["data"]
    )
    config = parse_config(holder["data"]["config.yaml"], {})

    assert config.harbor.host.partition(":")[0] == "harbor-cache.example.com"


def test_every_pod_meets_the_restricted_level(values):
    """
    No Pod asks for more than Pod Security "restricted" allows, and none fixes a user ID.
    """
    for pod in pods(render(*values)):
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }


def test_no_pod_gets_variables_from_services(values):
    """
    A Service's variables are named like those that override the config file.
    """
    assert list({pod["enableServiceLinks"] for pod in pods(render(*values))}) == [False]


def test_all_optional_objects_are_off_by_default(objects):
    """
    A plain install needs no other software in the cluster.
    """
    groups = {
        item["apiVersion"].partition("/")[0] for item in objects if "/" in item["apiVersion"]
    }

    assert {
        "admissionregistration.k8s.io",
        "apps",
        "policy",
        "rbac.authorization.k8s.io",
    } == groups


def test_no_hooks_but_the_test(values):
    """
    Install, upgrade and uninstall run no hook that could fail or be forgotten.
    """
    hooks = {
        item["metadata"].get("annotations", {}).get("helm.sh/hook", "test")
        for item in render(*values)
    }

    assert {"test"} == hooks


def test_the_webhook_has_no_token(objects):
    """
    The webhook's Pods hold no Kubernetes credentials.
    """
    account = named(objects, "ServiceAccount", NAME)
    pod = named(objects, "Deployment", NAME)["spec"]["template"]["spec"]

    assert account["automountServiceAccountToken"] is False
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == NAME
    subjects = [
        subject["name"]
        for item in objects
        if item["kind"].endswith("Binding") and "subjects" in item
        for subject in item["subjects"]
    ]
    assert NAME not in subjects


def test_the_webhook_configuration_is_as_decided(objects):
    """
    Every field of the two entries, word for word.
    """
    configuration = named(objects, "MutatingWebhookConfiguration")

    assert configuration["metadata"]["name"] == NAME
    assert "annotations" not in configuration["metadata"]
    assert [
        {
            "name": f"{mode}.harbor-cache.io",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            "timeoutSeconds": 2,
            "reinvocationPolicy": "IfNeeded",
            "matchPolicy": "Equivalent",
            "clientConfig": {
                "service": {
                    "name": NAME,
                    "namespace": "harbor-cache",
                    "path": path,
                    "port": 443,
                }
            },
            "rules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "resources": [resource],
                    "operations": [operation],
                    "scope": "Namespaced",
                }
                for resource, operation in (
                    ("pods", "CREATE"),
                    ("pods/ephemeralcontainers", "UPDATE"),
                )
            ],
            "namespaceSelector": {
                "matchLabels": {"harbor-cache.io/mode": mode},
                "matchExpressions": [
                    {
                        "key": "kubernetes.io/metadata.name",
                        "operator": "NotIn",
                        "values": ["kube-system", "kube-node-lease", "harbor-cache"],
                    }
                ],
            },
            "objectSelector": {
                "matchExpressions": [
                    {"key": "harbor-cache.io/mode", "operator": "NotIn", "values": ["off"]}
                ]
            },
            "matchConditions": [
                {
                    "name": "no-mirror-pods",
                    "expression": "!('kubernetes.io/config.mirror' in "
                    "object.metadata.?annotations.orValue({}))",
                }
            ],
        }
        for mode, path in (("audit", "/audit"), ("enforce", "/mutate"))
    ] == configuration["webhooks"]


def test_excluded_namespaces_are_added_once():
    """
    The list of namespaces to leave alone extends the fixed ones.
    """
    objects = render(*HARBOR, *set_json(excludeNamespaces=["dex", "kube-system", "cert-manager"]))

    for entry in named(objects, "MutatingWebhookConfiguration")["webhooks"]:
        assert entry["namespaceSelector"]["matchExpressions"][0]["values"] == [
            "kube-system",
            "kube-node-lease",
            "harbor-cache",
            "dex",
            "cert-manager",
        ]


def test_cert_manager_injects_the_authority():
    """
    In mode cert-manager the certificate covers the Service, and cainjector finds it.
    """
    objects = render("--values", str(CHART / "ci" / "cert-manager-values.yaml"))
    configuration = named(objects, "MutatingWebhookConfiguration")
    certificate = named(objects, "Certificate", NAME)

    assert {"cert-manager.io/inject-ca-from": f"harbor-cache/{NAME}"} == configuration["metadata"][
        "annotations"
    ]
    assert f"{NAME}.harbor-cache.svc" in certificate["spec"]["dnsNames"]
    assert f"{NAME}-tls" == certificate["spec"]["secretName"]
    issuer = named(objects, "Issuer", certificate["spec"]["issuerRef"]["name"])
    authority = named(objects, "Certificate", f"{NAME}-ca")
    assert issuer["spec"]["ca"]["secretName"] == authority["spec"]["secretName"]
    assert authority["spec"]["isCA"] is True
    assert not [item for item in objects if item["kind"] == "Secret"]


def test_an_issuer_of_your_own_replaces_the_chart_s():
    """
    With an issuer given, the chart brings none.
    """
    objects = render("--values", str(CHART / "ci" / "cert-manager-issuer-values.yaml"))

    assert named(objects, "Certificate")["spec"]["issuerRef"] == {
        "group": "cert-manager.io",
        "kind": "ClusterIssuer",
        "name": "internal",
    }
    assert not [item for item in objects if item["kind"] == "Issuer"]


def test_an_existing_secret_is_mounted_and_its_authority_rendered():
    """
    In mode existingSecret nothing of the certificate is made, and the given authority is used.
    """
    objects = render("--values", str(CHART / "ci" / "existing-secret-values.yaml"))
    volumes = named(objects, "Deployment", NAME)["spec"]["template"]["spec"]["volumes"]
    bundles = {
        entry["clientConfig"]["caBundle"]
        for entry in named(objects, "MutatingWebhookConfiguration")["webhooks"]
    }

    assert [volume["secret"]["secretName"] for volume in volumes if "secret" in volume] == [
        "webhook-pair"
    ]
    assert not [item for item in objects if item["kind"] == "Secret"]
    assert len(bundles) == 1
    assert base64.b64decode(bundles.pop()).startswith(b"-----BEGIN CERTIFICATE-----")
    arguments = named(objects, "Deployment", f"{NAME}-controller")["spec"]["template"]["spec"][
        "containers"
    ][0]["args"]
    assert "--tls-mode=none" in arguments


def test_secrets_are_empty_and_opaque(objects):
    """
    The controller fills the Secrets; a data key here would wipe them on every upgrade.
    """
    secrets = [item for item in objects if item["kind"] == "Secret"]

    assert {f"{NAME}-ca", f"{NAME}-tls"} == {item["metadata"]["name"] for item in secrets}
    for secret in secrets:
        assert {"apiVersion", "kind", "metadata", "type"} == set(secret)
        assert secret["type"] == "Opaque"


def test_the_quarantine_has_no_data_key(objects):
    """
    The controller fills the ConfigMap; a data key here would wipe it on every upgrade.
    """
    assert {"apiVersion", "kind", "metadata"} == set(
        named(objects, "ConfigMap", f"{NAME}-quarantine")
    )


def test_the_authority_is_in_no_pod(objects):
    """
    The key of the authority is read over the API by the controller alone.
    """
    for pod in pods(objects):
        assert f"{NAME}-ca" not in json.dumps(pod["volumes"])


def test_the_controller_s_role_names_its_objects(objects):
    """
    Whatever can be named is named; nothing else may be written.
    """
    role = named(objects, "Role", f"{NAME}-controller")
    cluster_role = named(objects, "ClusterRole", f"{NAME}-controller")

    def grants(rules):
        return {
            (group, resource, tuple(rule.get("resourceNames", ()))): set(rule["verbs"])
            for rule in rules
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        }

    assert {
        ("", "pods", ()): {"get", "list", "watch", "patch"},
        ("", "namespaces", ()): {"list", "watch"},
        ("", "events", ()): {"create"},
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", (NAME,)): {
            "get",
            "patch",
        },
    } == grants(cluster_role["rules"])
    assert {
        ("", "configmaps", (f"{NAME}-quarantine",)): {"get", "update"},
        ("", "configmaps", ()): {"create"},
        ("", "secrets", (f"{NAME}-ca", f"{NAME}-tls")): {"get", "update"},
        ("coordination.k8s.io", "leases", (f"{NAME}-controller",)): {"get", "update"},
        ("coordination.k8s.io", "leases", ()): {"create"},
    } == grants(role["rules"])


def test_other_modes_grant_no_secrets_and_no_change_of_the_webhook_configuration():
    """
    Where the controller does not look after the certificate, it may not touch what belongs to it.
    """
    objects = render("--values", str(CHART / "ci" / "cert-manager-values.yaml"))
    text = json.dumps([item for item in objects if item["kind"] in ("Role", "ClusterRole")])

    assert "secrets" not in text
    cluster_role = named(objects, "ClusterRole", f"{NAME}-controller")
    (rule,) = [r for r in cluster_role["rules"] if "mutatingwebhook" in r["resources"][0]]
    assert ["get"] == rule["verbs"]
    assert [f"{NAME}-controller-pods"] == [
        item["metadata"]["name"] for item in objects if item["kind"] == "ValidatingAdmissionPolicy"
    ]


def test_the_webhook_alone_brings_nothing_of_the_controller():
    """
    With the controller off, no account, role, policy or ConfigMap of it is left.
    """
    text = render_text("--values", str(CHART / "ci" / "webhook-alone-values.yaml"))

    assert "controller" not in text
    assert "quarantine" not in text


@pytest.mark.parametrize("name", [NAME, f"{NAME}-controller"])
def test_a_drain_is_never_blocked(objects, name):
    """
    The disruption budget lets one Pod go at a time, even where there is only one, or none is well.
    """
    budget = named(objects, "PodDisruptionBudget", name)["spec"]
    labels = named(objects, "Deployment", name)["spec"]["template"]["metadata"]["labels"]

    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_a_rollout_never_lacks_a_webhook(objects):
    """
    A new Pod is ready before an old one goes, and the old one has time to drain.
    """
    deployment = named(objects, "Deployment", NAME)["spec"]

    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert deployment["template"]["spec"]["terminationGracePeriodSeconds"] >= 45
    assert {"ScheduleAnyway"} == {
        constraint["whenUnsatisfiable"]
        for constraint in deployment["template"]["spec"]["topologySpreadConstraints"]
    }
    assert {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} == {
        constraint["topologyKey"]
        for constraint in deployment["template"]["spec"]["topologySpreadConstraints"]
    }


def test_our_own_pods_are_left_alone(values):
    """
    The webhook never decides on its own Pods: the chicken needs no egg.
    """
    for item in render(*values):
        metadata = (
            item["spec"]["template"]["metadata"]
            if item["kind"] == "Deployment"
            else item["metadata"]
            if item["kind"] == "Pod"
            else None
        )
        if metadata is not None:
            assert metadata["labels"]["harbor-cache.io/mode"] == "off"


def test_services_find_the_pods(objects):
    """
    The webhook's Service selects its Pods alone; the one for metrics selects both kinds.
    """
    webhook = named(objects, "Deployment", NAME)["spec"]["template"]
    controller = named(objects, "Deployment", f"{NAME}-controller")["spec"]["template"]

    def selected(service, template):
        selector = named(objects, "Service", service)["spec"]["selector"]
        return selector.items() <= template["metadata"]["labels"].items()

    assert selected(NAME, webhook)
    assert not selected(NAME, controller)
    assert selected(f"{NAME}-metrics", webhook)
    assert selected(f"{NAME}-metrics", controller)
    ports = {
        port["name"]: port["containerPort"] for port in webhook["spec"]["containers"][0]["ports"]
    }
    assert ports == {"https": 10250, "ops": 8080}
    assert [
        (port["port"], port["targetPort"])
        for port in named(objects, "Service", NAME)["spec"]["ports"]
    ] == [(443, "https")]


def test_a_digest_is_stronger_than_a_tag():
    """
    A pinned image stays pinned, whatever the tag.
    """
    digest = "sha256:" + "0" * 64
    objects = render(*HARBOR, *set_json(image={"digest": digest, "tag": "x"}))

    assert named(objects, "Deployment", NAME)["spec"]["template"]["spec"]["containers"][0][
        "image"
    ].endswith(f"/harbor-cache-webhook@{digest}")


def test_common_labels_are_everywhere_but_in_selectors():
    """
    Labels of your own reach every object and Pod; selectors can't change, so they stay as they are.
    """
    objects = render(*HARBOR, *set_json(commonLabels={"team": "platform"}))

    for item in objects:
        if item["kind"] != "Pod":
            assert item["metadata"]["labels"]["team"] == "platform", item["metadata"]["name"]
        if item["kind"] == "Deployment":
            assert item["spec"]["template"]["metadata"]["labels"]["team"] == "platform"
            assert "team" not in item["spec"]["selector"]["matchLabels"]


def test_everything_reaches_its_place():
    """
    The values of the fullest example are found where they belong.
    """
    objects = render("--values", str(CHART / "ci" / "everything-values.yaml"))
    pod = named(objects, "Deployment", "cache")["spec"]["template"]

    assert pod["spec"]["hostNetwork"] is True
    assert pod["spec"]["priorityClassName"] == "system-cluster-critical"
    assert pod["metadata"]["labels"]["example.com/zone"] == "blue"
    assert {"config", "credentials", "more", "tls", "quarantine"} == {
        volume["name"] for volume in pod["spec"]["volumes"]
    }
    assert "--port=10260" in pod["spec"]["containers"][0]["args"]
    config = parse_config(named(objects, "ConfigMap", "cache")["data"]["config.yaml"], {})
    assert str(config.harbor.ca_file) == "/etc/harbor-cache/config/harbor-ca.crt"
    assert named(objects, "ConfigMap", "harbor-cache-webhook-extra-map")
    assert named(objects, "ConfigMap", "harbor-cache-webhook-extra-text")
    egress = named(objects, "NetworkPolicy", "cache")["spec"]["egress"]
    assert {53, 443, 8443, 80, 3128} == {port["port"] for rule in egress for port in rule["ports"]}


def test_network_values_reach_their_places():
    """
    IP families, aliases, ports and relabelings stand where Kubernetes and Prometheus look for them.
    """
    objects = render("--values", str(CHART / "ci" / "everything-values.yaml"))
    [endpoint] = named(objects, "ServiceMonitor")["spec"]["endpoints"]
    egress = named(objects, "NetworkPolicy", "cache-controller")["spec"]["egress"]
    default = render(*HARBOR, "--set", "networkPolicy.enabled=true")

    for name in ("cache", "cache-metrics"):
        service = named(objects, "Service", name)["spec"]
        assert ("PreferDualStack", ["IPv4"]) == (service["ipFamilyPolicy"], service["ipFamilies"])
    for pod in (named(objects, "Deployment", name) for name in ("cache", "cache-controller")):
        assert "192.0.2.7" == pod["spec"]["template"]["spec"]["hostAliases"][0]["ip"]
    assert [{"targetLabel": "cluster", "replacement": "blue"}] == endpoint["relabelings"]
    assert [{"action": "labeldrop", "regex": "pod"}] == endpoint["metricRelabelings"]
    assert {6443, 8443} <= {port["port"] for rule in egress for port in rule["ports"]}
    usual = named(default, "NetworkPolicy", "harbor-cache-webhook-controller")["spec"]["egress"]
    assert {53, 5353, 443, 6443} == {port["port"] for rule in usual for port in rule["ports"]}


def test_monitoring_files_are_passed_on_unchanged():
    """
    Alerts and dashboard arrive as they stand in the chart's files, their own braces included.
    """
    objects = render("--values", str(CHART / "ci" / "everything-values.yaml"))
    alerts = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())

    assert alerts == named(objects, "PrometheusRule")["spec"]
    assert dashboard == json.loads(
        named(objects, "ConfigMap", "cache-dashboard")["data"]["harbor-cache-webhook.json"]
    )
    assert dashboard == json.loads(named(objects, "GrafanaDashboard")["spec"]["json"])
    monitor = named(objects, "ServiceMonitor")["spec"]
    service = named(objects, "Service", "cache-metrics")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


@pytest.mark.parametrize("command", ["serve", "controller", "smoke"])
def test_the_processes_understand_their_arguments(objects, command):
    """
    Every option that the chart passes is one that the command has.
    """
    options = [
        option
        for pod in pods(objects)
        for option in pod["containers"][0]["args"][1:]
        if pod["containers"][0]["args"][0] == command
    ]
    module = importlib.import_module(f"webhook.cli.{command}")
    known = {option for parameter in getattr(module, command).params for option in parameter.opts}

    assert options
    assert {option.partition("=")[0] for option in options} <= known


def test_a_long_release_name_still_fits():
    """
    Names of Services are at most 63 characters long, whatever the release is called.
    """
    result = helm("template", "r" * 53, str(CHART), *HARBOR)
    names = [item["metadata"]["name"] for item in yaml.safe_load_all(result.stdout)]

    assert result.returncode == 0
    assert not [name for name in names if "service" not in name and len(name) > 74]
    assert not [
        item["metadata"]["name"]
        for item in yaml.safe_load_all(result.stdout)
        if item["kind"] in ("Service", "Namespace", "Pod") and len(item["metadata"]["name"]) > 63
    ]


@pytest.mark.parametrize(
    ("lifetime", "seconds"), [("90d", "20 * 86400"), ("720h", "576000"), ("9d", "172800")]
)
def test_the_certificate_s_alert_knows_its_lifetime(lifetime, seconds):
    """
    With certificates that live shorter, the alert fires later: not while renewal is still to come.
    """
    objects = render(
        *HARBOR, "--set", f"prometheusRule.enabled=true,tls.certificateLifetime={lifetime}"
    )
    rules = named(objects, "PrometheusRule")["spec"]["groups"][0]["rules"]
    [rule] = [rule for rule in rules if rule["alert"] == "HarborCacheCertificateExpires"]

    assert rule["expr"].endswith(f"< {seconds}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("config.harbor.url=harbor.example.com", "config.harbor.url"),
        ("config.probe.interval=60s", "config.probe.maxAge"),
        ("config.probe.interval=25s,config.probe.timeout=5s", "config.probe.maxAge"),
        ("config.probe.interval=5", "config.probe.interval"),
        ("config.paused=perhaps", "config.paused"),
        ("config.probe.maxAeg=60s", "maxAeg"),
        ("webhook.port=8080", "webhook.opsPort"),
        ("webhook.opsPort=10250", "webhook.opsPort"),
        ("webhook.port=443", "webhook.port"),
        ("webhook.hostNetwork=true", "webhook.port"),
        ("tls.certificateLifetime=200d", "tls.caLifetime"),
        ("tls.certificateLifetime=soon", "tls.certificateLifetime"),
        ("webhook.terminationGracePeriodSeconds=5", "webhook.terminationGracePeriodSeconds"),
        ("service.ipFamilyPolicy=Dual", "service.ipFamilyPolicy"),
    ],
)
def test_what_would_crash_loop_is_refused(arguments, said):
    """
    A value with which the Pods would not start is an error of helm, which names it.
    """
    message = refusal("--set", arguments)

    assert said in message.replace("/", ".")


@pytest.mark.parametrize("arguments", ["config.probe.interval=60s,config.probe.maxAge=2m", ""])
def test_what_starts_is_rendered(arguments):
    """
    The same keys with values that fit together are no error.
    """
    assert render(*HARBOR, "--set", arguments)


def test_a_release_named_by_digits():
    """
    Names, labels and namespaces stay text, and names of Services begin with a letter.
    """
    result = helm("template", "123", str(CHART), "--namespace", "456", *HARBOR)
    objects = [item for item in yaml.safe_load_all(result.stdout) if item]

    assert "" == result.stderr
    for item in objects:
        metadata = item["metadata"]
        texts = [metadata["name"], metadata.get("namespace", ""), *metadata["labels"].values()]
        assert all(isinstance(text, str) for text in texts), item
        assert metadata["name"].startswith("hcw-123-harbor-cache-webhook")


def test_variables_are_text():
    """
    `value: true` in values.yaml is the text that the API server wants; sources are passed on.
    """
    variables = [
        {"name": "HARBOR_CACHE_PAUSED", "value": True},
        {"name": "A", "value": 1},
        {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]
    extra = {"extraEnv": variables}
    objects = render(*HARBOR, *set_json(webhook=extra, controller=extra))
    for name in ("harbor-cache-webhook", "harbor-cache-webhook-controller"):
        pod = named(objects, "Deployment", name)["spec"]["template"]["spec"]

        assert ["true", "1", None] == [v.get("value") for v in pod["containers"][0]["env"]]
        assert variables[2] == pod["containers"][0]["env"][2]


@pytest.mark.parametrize(
    ("values", "image"),
    [
        (
            "image.registry=r.example:5000",
            "r.example:5000/harbor-cache-webhook/harbor-cache-webhook",
        ),
        ("global.imageRegistry=r.example", "r.example/harbor-cache-webhook/harbor-cache-webhook"),
        (
            "global.imageRegistry=a,image.registry=b/c",
            "b/c/harbor-cache-webhook/harbor-cache-webhook",
        ),
        ("image.registry=r,image.repository=acme/hcw", "r/acme/hcw"),
        ("image.repository=acme/hcw", "acme/hcw"),
    ],
)
def test_an_image_from_a_registry_of_your_own(values, image):
    """
    A registry of the chart, or of the parent chart, takes the place of the repository's host.
    """
    objects = render(*HARBOR, "--set", values)

    assert {f"{image}:0.1.0.dev0"} == {pod["containers"][0]["image"] for pod in pods(objects)}


def test_the_node_s_network():
    """
    There a Pod more would find no port, so one goes before one comes; the ops port can be moved.
    """
    objects = render(
        *HARBOR, "--set", "webhook.hostNetwork=true,webhook.port=10260,webhook.opsPort=8081"
    )
    spec = named(objects, "Deployment", "harbor-cache-webhook")["spec"]
    [container] = spec["template"]["spec"]["containers"]

    assert {"maxSurge": 0, "maxUnavailable": 1} == spec["strategy"]["rollingUpdate"]
    assert "--ops-port=8081" in container["args"]
    assert {"https": 10260, "ops": 8081} == {
        p["name"]: p["containerPort"] for p in container["ports"]
    }


def test_a_parent_chart_with_a_condition(tmp_path):
    """
    `condition: harbor-cache-webhook.enabled` switches the chart on and off.
    """
    parent = tmp_path / "parent"
    (parent / "charts").mkdir(parents=True)
    (parent / "charts" / "harbor-cache-webhook").symlink_to(CHART)
    dependency = {
        "name": "harbor-cache-webhook",
        "version": "*",
        "condition": "harbor-cache-webhook.enabled",
    }
    chart = {
        "apiVersion": "v2",
        "name": "parent",
        "version": "1.0.0",
        "dependencies": [dependency],
    }
    (parent / "Chart.yaml").write_text(yaml.safe_dump(chart))
    values = {"harbor-cache-webhook": {"config": {"harbor": {"url": "https://h.example"}}}}
    (parent / "values.yaml").write_text(yaml.safe_dump(values))

    on = helm("template", "x", str(parent), "--set", "harbor-cache-webhook.enabled=true")
    off = helm("template", "x", str(parent), "--set", "harbor-cache-webhook.enabled=false")

    assert "kind: MutatingWebhookConfiguration" in on.stdout, on.stderr
    assert (0, "") == (off.returncode, off.stdout.strip())
