"""
The demo, as a newcomer runs it.
"""

import os
import subprocess
import sys

import pytest


_BROKEN = """
import webhook.image.rules
from webhook.image.reference import Reference

def cached(self, original, rule):
    return Reference("elsewhere.example", original.path, original.tag, original.digest)

webhook.image.rules.Rules.cached = cached
"""

_DENYING = """
import webhook.admission.admit
from webhook.admission.review import build_response

def build(review, **options):
    return build_response(review, **options).replace(b'"allowed":true', b'"allowed":false')

webhook.admission.admit.build_response = build
"""


def run_demo(*args, path=None):
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    command = [sys.executable, "-m", "webhook", "demo", *args]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.mark.slow
def test_demo_ends_well():
    """
    On a machine without cluster and Harbor, all of the story is seen.
    """
    done = run_demo()

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "refused: 0" in done.stdout
    assert "harbor-cache.example.com/proxy.docker.io/library/nginx" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sabotage", "seen"), [(_BROKEN, "elsewhere.example"), (_DENYING, "refused")]
)
def test_demo_fails_where_the_webhook_is_broken(tmp_path, sabotage, seen):
    """
    What the demo shows comes from answers: a broken rewriter, or one that refuses, is noticed.
    """
    (tmp_path / "sitecustomize.py").write_text(sabotage)

    done = run_demo(path=tmp_path)

    assert 1 == done.returncode
    assert "NOT SEEN" in done.stdout
    assert seen in done.stdout


@pytest.mark.kube
@pytest.mark.slow
def test_demo_with_an_api_server_ends_well():
    """
    The same story holds where a real API server calls the webhook.
    """
    done = run_demo("--kube")

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "refused: 0" in done.stdout
    assert "no label" in done.stdout
