"""
The demo, as a newcomer runs it.
"""

import os
import shutil
import subprocess
import sys
import tomllib

from pathlib import Path

import pytest


_BROKEN = """
import webhook.image.rules
from webhook.image.reference import Reference

def cached(self, original, rule):
    return Reference("elsewhere.example", original.path, original.tag, original.digest)

webhook.image.rules.Rules.cached = cached
"""

_DENYING = """
import webhook.admission.respond

encode = webhook.admission.respond._encode

def refuse(document):
    return encode(document).replace(b'"allowed":true', b'"allowed":false')

webhook.admission.respond._encode = refuse
"""


ROOT = Path(__file__).parents[2]


def run_demo(*args, path=None, cwd=None):
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    command = [sys.executable, "-m", "webhook", "demo", *args]
    return subprocess.run(
        command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.mark.slow
def test_demo_ends_well():
    """
    On a machine without cluster and Harbor, all of the story is seen.
    """
    done = run_demo()

    opening = done.stdout.partition("\n\n  Real: ")[0].splitlines()

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "refused: 0" in done.stdout
    assert "harbor-cache.example.com/proxy.docker.io/library/nginx" in done.stdout
    assert "  -    image: nginx" in opening
    assert "  +    image: harbor-cache.example.com/proxy.docker.io/library/nginx" in opening
    assert 24 > len(opening)
    assert 80 > max(map(len, opening))


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
    The same story holds where a real API server calls the webhook, and both moves are seen.
    """
    done = run_demo("--kube")
    _, _, moves = done.stdout.partition("Pods that wait get out by themselves")
    moves, _, _ = moves.partition("Verdict")

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "refused: 0" in done.stdout
    assert "no label" in done.stdout
    assert "is rescued" in moves
    assert "is restored" in moves
    assert 10 >= len(moves.splitlines())


def test_without_the_demo_the_rest_works_and_the_demo_says_where_it_is(tmp_path):
    """
    What the image and the wheel hold: every command, and of the demo one sentence.
    """
    left_out = "webhook/demo"
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for package in ("webhook", "certs"):
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=shutil.ignore_patterns("demo", "__pycache__"),
        )
    demo = run_demo(path=tmp_path, cwd=tmp_path)
    command = [sys.executable, "-m", "webhook", "explain", "nginx:1.27"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    explained = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert left_out in wheel["targets"]["wheel"]["exclude"]
    assert left_out in ignored
    assert (1, "") == (demo.returncode, demo.stdout)
    assert demo.stderr.startswith("Error: the demo ")
    assert "`make demo`" in demo.stderr
    assert 1 == len(demo.stderr.splitlines())
    assert 0 == explained.returncode, explained.stderr
