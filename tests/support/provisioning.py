"""
What the tests of provisioning share.
"""

import json

from webhook.config import parse_config
from webhook.demo.standin import ADMIN, HarborStandIn, SimulatedUpstream, State
from webhook.harbor.client import Credentials, HarborClient
from webhook.provisioning.api import Api
from webhook.provisioning.apply import apply, plan_for
from webhook.provisioning.desired import read_desired


SECRET = "S3cret-of-the-upstream"
CLIENT_SECRET = "S3cret-of-the-client"
URLS = {
    "docker.io": "https://hub.docker.com",
    "gcr.io": "https://gcr.io",
    "k8s.gcr.io": "https://k8s.gcr.io",
    "quay.io": "https://quay.io",
}


def empty_harbor(**options):
    """
    Return a Harbor as it is after its installation, with the upstreams in reach.
    """
    state = State()
    state.add_project("library", None)
    harbor = HarborStandIn(state, **options)
    for url in (*URLS.values(), "https://private.example"):
        harbor.upstreams[url] = SimulatedUpstream()
    harbor.issuers = {"https://dex.example.com"}
    return harbor


def config_for(url, **sections):
    data = {"apiVersion": "harbor-cache.io/v1", "kind": "Config", "harbor": {"url": url}}
    return parse_config(json.dumps(data | sections), {})


def everything(tmp_path):
    """
    Return sections of a config that uses all that can be provisioned.
    """
    for name, text in (
        ("user", "account"),
        ("password", SECRET),
        ("client-secret", CLIENT_SECRET),
    ):
        (tmp_path / name).write_text(text + "\n", "utf-8")
    private = {
        "host": "private.example",
        "project": "proxy.private",
        "upstream": {
            "usernameFile": str(tmp_path / "user"),
            "passwordFile": str(tmp_path / "password"),
            "insecure": True,
        },
        "maxUpstreamConnections": 20,
        "maxKilobytesPerSecond": 5000,
    }
    return {
        "pullSecrets": ["harbor-cache-robot"],
        "registries": [
            {"host": "docker.io", "project": "proxy.docker.io"},
            {"host": "quay.io", "project": "proxy.quay.io"},
            private,
        ],
        "provisioning": {
            "quotaGib": 100,
            "robot": {
                "name": "pull",
                "usernameFile": str(tmp_path / "robot-name"),
                "passwordFile": str(tmp_path / "robot-secret"),
            },
            "oidc": {
                "endpoint": "https://dex.example.com",
                "clientSecretFile": str(tmp_path / "client-secret"),
            },
        },
    }


def client_of(harbor):
    credentials = Credentials(ADMIN, harbor.state.admin_password)
    return HarborClient(harbor.url, credentials=credentials, timeout=5.0)


async def plan_of(harbor, config, **options):
    async with client_of(harbor) as client:
        return await plan_for(Api(client, locked_for=0.0), read_desired(config), **options)


async def apply_to(harbor, config, **options):
    desired = read_desired(config)
    async with client_of(harbor) as client:
        api = Api(client, locked_for=0.0)
        made = await plan_for(api, desired, **options)
        return [step async for step in apply(api, desired, made)]


def writes_of(harbor):
    return [seen for seen in harbor.requests if seen.writes]


def without_times(value):
    """
    Return *value* without moments and numbers that differ from one run to the next.
    """
    if isinstance(value, dict):
        dropped = ("creation_time", "update_time", "next_scheduled_time")
        return {k: without_times(v) for k, v in value.items() if k not in dropped}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


def end_state(harbor):
    """
    Return all of a stand-in's database that provisioning decides on, by names.
    """
    state = harbor.state
    names = {endpoint.id: endpoint.name for endpoint in state.endpoints.values()}
    endpoints = {
        e.name: (e.type, e.url, e.insecure, e.access_key, e.access_secret, e.ca_certificate)
        for e in state.endpoints.values()
    }
    projects = {}
    for project in state.projects.values():
        policy = project.metadata.get("retention_id")
        metadata = {k: v for k, v in project.metadata.items() if k != "retention_id"}
        rules = state.retentions[int(policy)]["rules"] if policy else None
        rules = [
            {k: v for k, v in rule.items() if k not in ("id", "priority")} for rule in rules or []
        ]
        registry = names.get(project.registry_id)
        projects[project.name] = (registry, project.storage, metadata, rules)
    robots = {r.name: (r.level, r.permissions, r.disable) for r in state.robots.values()}
    schedule = {k: v for k, v in without_times(state.gc_schedule or {}).items() if k != "id"}
    return endpoints, projects, robots, state.configuration, state.oidc_client_secret, schedule
