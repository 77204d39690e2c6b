"""
What a stranger builds from a checkout, and what a release is made of.
"""

import os
import re
import shlex
import subprocess

from pathlib import Path

import pytest
import yaml

from charts.package import package
from tests.support.golang import go
from tests.support.helm import CHART, HARBOR, helm, render_text
from tests.support.readme import commands


ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.7"


def chart_image(*arguments):
    """
    Return the one image that the chart's Deployments pull.
    """
    (image,) = set(re.findall(r"^ +image: (\S+)$", render_text(*HARBOR, *arguments), re.MULTILINE))
    return image.strip('"')


def make_image(directory, *arguments, engines):
    """
    Run `make image` with these engines alone; a value says how `info` ends, as a shell command.
    """
    for program in ("sh", "make", "sed", "dirname", "python3"):
        found = subprocess.run(["which", program], capture_output=True, text=True, check=True)
        (directory / program).symlink_to(found.stdout.strip())
    for engine, answer in engines.items():
        script = directory / engine
        script.write_text(
            "#!/bin/sh\n"
            f'case $1 in info | version) {answer} ;; *) echo "{engine} $*" >> $LOG ;; esac\n'
        )
        script.chmod(0o755)
    environment = {"PATH": str(directory), "LOG": str(directory / "log")}
    ended = subprocess.run(
        ["make", "image", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    log = directory / "log"
    return ended, log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize(
    ("engines", "build"),
    [
        ({"docker": "true", "podman": "true", "buildah": "true"}, "docker build"),
        ({"docker": "false", "podman": "true"}, "podman build"),
        ({"docker": "false", "buildah": "true"}, "buildah bud"),
    ],
)
def test_whatever_engine_works_builds_what_the_chart_pulls(engines, build, tmp_path):
    """The image has the name and tag of the chart's defaults; a client without daemon is passed."""
    ended, log = make_image(tmp_path, engines=engines)

    assert (0, "") == (ended.returncode, ended.stderr)
    assert [f"{build} --tag {chart_image()} ."] == log
    assert f"  {build.split()[0]} push {chart_image()}\n" in ended.stdout


@pytest.mark.parametrize(
    ("image", "built"),
    [
        ("registry.example.com:5000/team/hcw:2", "registry.example.com:5000/team/hcw:2"),
        ("localhost:5000/hcw", "localhost:5000/hcw:{version}"),
        ("hcw:1.5", "hcw:1.5"),
    ],
)
def test_the_printed_install_pulls_what_was_built(image, built, tmp_path):
    """Whatever the name, the command that is printed makes the chart pull that very image."""
    version = chart_image().rpartition(":")[2]
    built = built.format(version=version)
    ended, log = make_image(tmp_path, f"IMAGE={image}", engines={"podman": "true"})
    push, install = (line.strip() for line in ended.stdout.splitlines()[-2:])

    assert [f"podman build --tag {built} ."] == log
    assert f"podman push {built}" == push
    words = shlex.split(install)

    assert ["helm", "install", "harbor-cache-webhook", "charts/harbor-cache-webhook"] == words[:4]
    assert built == chart_image(*words[words.index("--set") :])


@pytest.mark.parametrize(
    ("arguments", "engines", "words"),
    [
        ((), {}, "Neither docker, podman nor buildah works here"),
        ((), {"docker": "false"}, "Neither docker, podman nor buildah works here"),
        (("IMAGE=Registry/Name:1",), {"podman": "true"}, "write registry/name:tag"),
        (("IMAGE=a/b@sha256:00",), {"podman": "true"}, "name a tag, not a digest"),
    ],
)
def test_what_stands_in_the_way_is_said(arguments, engines, words, tmp_path):
    """Without an engine that works, or with a name that can't be, it ends with a sentence."""
    ended, log = make_image(tmp_path, *arguments, engines=engines)

    assert 0 != ended.returncode
    assert words in ended.stderr
    assert [] == log


def test_readme_installs_what_it_builds():
    """README's push and load commands name the image that its `make image` builds."""
    ((_, _, named),) = commands("make", "image")
    ((_, _, pushed),) = commands("docker", "push")
    (install,) = commands("helm", "install")
    loaded = [words[-1] for tool in ("kind", "k3d", "minikube") for words in commands(tool)]

    assert f"{named.removeprefix('IMAGE=')}:{chart_image().rpartition(':')[2]}" == pushed
    assert pushed == chart_image(*install[install.index("--set") :])
    assert [chart_image()] * 3 == loaded


def test_the_packaged_chart_is_the_chart(tmp_path):
    """Two packages are the same bytes, and render what the directory renders."""
    name, content = package(CHART)
    (tmp_path / name).write_bytes(content)
    render = ("harbor-cache-webhook", "--namespace", "harbor-cache", *HARBOR)
    rendered = helm("template", *render[:1], str(tmp_path / name), *render[1:])

    assert (name, content) == package(CHART)
    assert "" == rendered.stderr
    assert render_text(*HARBOR) == rendered.stdout


def test_a_released_chart_pulls_by_digest(tmp_path):
    """With a repository and a digest, the packaged chart's default image is exactly that one."""
    digest = f"sha256:{'ab' * 32}"
    name, content = package(CHART, "ghcr.io/acme/cache", digest)
    (tmp_path / name).write_bytes(content)
    rendered = helm("template", "x", str(tmp_path / name), *HARBOR)

    assert {f"ghcr.io/acme/cache@{digest}"} == set(
        re.findall(r"^ +image: \"?([^\s\"]+)", rendered.stdout, re.MULTILINE)
    )


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_take_nothing_on_trust(workflow):
    """Every action is pinned by a commit, named by its version, and rights are given per job."""
    text = workflow.read_text()
    uses = re.findall(r"uses: (\S+)(.*)", text)
    parsed = yaml.safe_load(text)

    assert uses
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action, _ in uses)
    assert all(re.fullmatch(r" # v[\d.]+", comment) for _, comment in uses)
    assert {} == parsed["permissions"]
    assert all("permissions" in job for job in parsed["jobs"].values())


def test_the_base_image_is_pinned():
    """The Dockerfile's base is named by its digest, and one file says who updates it."""
    (base,) = re.findall(
        r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    updates = yaml.safe_load((ROOT / ".github/dependabot.yaml").read_text())["updates"]

    assert re.fullmatch(r"docker\.io/library/python:[\w.-]+@sha256:[0-9a-f]{64}", base)
    assert {"docker", "github-actions", "uv"} == {each["package-ecosystem"] for each in updates}


@pytest.mark.slow
def test_workflows_are_what_they_look_like():
    """Actionlint finds nothing: names, expressions, shells and permissions of workflows are right."""
    command = [go(), "run", ACTIONLINT, *map(str, WORKFLOWS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (0, "") == (ended.returncode, ended.stdout), ended.stderr


@pytest.mark.slow
def test_two_runs_give_the_same_bytes():
    """`make dist` writes the same checksums twice, for wheel, sdist and chart."""
    sums = []
    for _ in range(2):
        subprocess.run(["make", "dist"], cwd=ROOT, check=True, capture_output=True, env=os.environ)
        sums.append((ROOT / "dist/SHA256SUMS").read_text())

    assert 3 == len(sums[0].splitlines())
    assert sums[0] == sums[1]
