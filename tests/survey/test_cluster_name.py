"""
What a survey calls the cluster.
"""

import json

import pytest

from webhook.kube.api import connect


@pytest.mark.parametrize(("context", "name"), [(None, "prod-eu"), ("b", "staging")])
async def test_the_kubeconfig_names_the_cluster(tmp_path, context, name):
    """The name is that of the cluster of the context that is used, current or chosen."""
    contexts = {"a": "prod-eu", "b": "staging"}
    file = tmp_path / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "a",
                "contexts": [
                    {"name": key, "context": {"cluster": value, "user": "me"}}
                    for key, value in contexts.items()
                ],
                "clusters": [
                    {"name": value, "cluster": {"server": "https://127.0.0.1:1"}}
                    for value in contexts.values()
                ],
                "users": [{"name": "me", "user": {"token": "t"}}],
            }
        )
    )
    async with connect(file, context=context) as kube:
        assert name == kube.name
