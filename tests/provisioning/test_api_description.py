"""
Every request to Harbor against Harbor's own API description (OpenAPI 2).
"""

import os
import re
import warnings

from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import yaml

from tests.support.provisioning import apply_to, config_for, empty_harbor, everything, plan_of
from webhook.demo.standin import HarborStandIn
from webhook.harbor.monitor import Monitor


# Reading the description alone takes seconds.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DESCRIPTION = Path(
    os.environ.get("HARBOR_API_DESCRIPTION", ROOT.parent / "shared" / "harbor" / "swagger.yaml")
)
PREFIX = "/api/v2.0"


@pytest.fixture(scope="module")
def description():
    """
    Return the description as bravado-core sees it: it knows OpenAPI 2, and validates by it.
    """
    if not DESCRIPTION.exists():
        pytest.skip(
            "Harbor's API description is not here: name its swagger.yaml (goharbor/harbor"
            " v2.15.2, api/v2.0) by HARBOR_API_DESCRIPTION"
        )
    with warnings.catch_warnings():
        # It uses a part of jsonschema that is to be replaced one day.
        warnings.simplefilter("ignore", DeprecationWarning)
        from bravado_core.spec import Spec  # noqa: PLC0415

        document = yaml.load(DESCRIPTION.read_text("utf-8"), Loader=yaml.CSafeLoader)
        # It says that these hold objects, which means anything to Harbor's code generator: the
        # recorded retention policy holds a number, and delete_untagged is a bool.
        for name, key in (("RetentionRule", "params"), ("Schedule", "parameters")):
            field = document["definitions"][name]["properties"][key]
            assert {"type": "object"} == field["additionalProperties"]
            field["additionalProperties"] = {}
        options = {
            "validate_swagger_spec": False,  # The description is Harbor's business.
            "use_models": False,
        }
        return Spec.from_dict(document, origin_url=DESCRIPTION.as_uri(), config=options)


class Incoming:
    """
    A request that the stand-in saw, in the form that bravado-core checks.
    """

    def __init__(self, seen, path):
        self.path = path
        self.query = dict(parse_qsl(seen.query))
        self.headers = {}
        self.form = {}
        self.files = {}
        self.body = seen.body

    def json(self):
        return self.body


def check(description, seen):
    """
    Raise unless the operation exists and takes what was sent, and nothing unknown was sent.
    """
    from bravado_core.request import unmarshal_request  # noqa: PLC0415

    path = seen.path.removeprefix(PREFIX)
    for resource in description.resources.values():
        for operation in resource.operations.values():
            pattern = re.sub(
                r"\{(\w+)\}", r"(?P<\1>[^/]+)", re.sub(r"\.", r"\.", operation.path_name)
            )
            match = re.fullmatch(pattern, path)
            if match is None or operation.http_method.upper() != seen.method:
                continue
            if "{" in operation.path_name and path in description.spec_dict["paths"]:
                continue  # A literal path wins over one with a parameter.
            unmarshal_request(Incoming(seen, match.groupdict()), operation)
            known = {p.name for p in operation.params.values()}
            assert set(dict(parse_qsl(seen.query))) <= known
            check_keys(description, operation, seen.body)
            return operation.operation_id
    raise AssertionError(f"Harbor has no {seen.method} {seen.path}")


def check_keys(description, operation, body):
    """
    Hold the keys of a body against its schema: Harbor passes over unknown ones in silence.
    """
    for parameter in operation.params.values():
        if parameter.location == "body" and isinstance(body, dict):
            check_object(description, parameter.param_spec["schema"], body)


def check_object(description, schema, value):
    schema = description.deref(schema)
    properties = schema.get("properties")
    if isinstance(value, dict) and properties and not schema.get("additionalProperties"):
        assert set(value) <= set(properties), set(value) - set(properties)
        for key, item in value.items():
            check_object(description, properties[key], item)
    elif isinstance(value, list) and "items" in schema:
        for item in value:
            check_object(description, schema["items"], item)


def seen_of_the_api(harbor):
    return [seen for seen in harbor.requests if seen.path.startswith(f"{PREFIX}/")]


async def test_every_request_of_provisioning_is_one_that_harbor_describes(description, tmp_path):
    """
    What plan and apply send, from nothing and after drift, fits Harbor's own description.
    """
    async with empty_harbor() as harbor:
        config = config_for(harbor.url, **everything(tmp_path))
        await apply_to(harbor, config)
        state = harbor.state
        quay = state.project("proxy.quay.io")
        quay.metadata["public"] = "false"
        quay.storage = 1 << 30
        del quay.metadata["retention_id"]
        state.endpoint("private.example").insecure = False
        state.robots[1].disable = True
        (tmp_path / "robot-secret").unlink()
        state.gc_schedule["schedule"]["cron"] = "0 0 0 * * 0"
        await apply_to(harbor, config, resend=True)
        left = await plan_of(harbor, config)
        requests = seen_of_the_api(harbor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        operations = {check(description, seen) for seen in requests}

    print(f"{len(requests)} requests, operations: {', '.join(sorted(operations))}")
    assert left.is_empty
    assert {
        "createRegistry",
        "updateRegistry",
        "createProject",
        "updateProject",
        "updateQuota",
        "createRetention",
        "updateRetention",
        "CreateRobot",
        "UpdateRobot",
        "RefreshSec",
        "updateConfigurations",
        "createGCSchedule",
        "updateGCSchedule",
    } <= operations


async def test_every_request_of_the_probes_is_one_that_harbor_describes(description):
    """
    What the monitor sends fits Harbor's own description.
    """
    async with HarborStandIn() as harbor:
        await Monitor(config_for(harbor.url)).round()
        requests = seen_of_the_api(harbor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        operations = {check(description, seen) for seen in requests}

    assert {"getHealth", "getProjectSummary"} == operations


async def test_the_check_notices_what_harbor_does_not_describe(description):
    """
    A wrong type, an unknown key or an unknown path fails this check.
    """
    from webhook.demo.standin.server import Seen  # noqa: PLC0415

    good = {"project_name": "a", "registry_id": 1, "metadata": {"public": "true"}}
    bad = [
        Seen("POST", f"{PREFIX}/projects", "", "", good | {"metadata": {"public": True}}, 0),
        Seen("POST", f"{PREFIX}/projects", "", "", good | {"registry": 1}, 0),
        Seen("POST", f"{PREFIX}/project", "", "", good, 0),
        Seen("GET", f"{PREFIX}/projects", "page_size=200", "", None, 0),
        Seen("GET", f"{PREFIX}/quotas", "project=1", "", None, 0),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        check(description, Seen("POST", f"{PREFIX}/projects", "", "", good, 0))
        for seen in bad:
            with pytest.raises(Exception):  # noqa: B017 - of the library, or ours.
                check(description, seen)
