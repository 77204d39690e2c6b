import json

import pytest
import yaml

from hypothesis import given, settings
from hypothesis import strategies as st

from webhook.config import default_config
from webhook.errors import ManifestError
from webhook.image.availability import Availability
from webhook.manifests import parse_path, rewrite_text


CONFIG = default_config()
POLICY = CONFIG.policy
ALL = Availability.of_all(tuple(rule.project for rule in CONFIG.rules.rules))
HUB = "harbor-cache.example.com/proxy.docker.io/library"


def rewrite(text, *paths):
    return rewrite_text(text, POLICY, ALL, tuple(map(parse_path, paths))).text


def pod(container):
    return f"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: a\n{container}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("    image: nginx:1   # why\n", f"    image: {HUB}/nginx:1   # why\n"),
        ("    image: 'nginx:1'\n", f"    image: '{HUB}/nginx:1'\n"),
        ('    image: "nginx:1"\n', f'    image: "{HUB}/nginx:1"\n'),
        ('    image: "ngi\\x6ex:1"\n', f'    image: "{HUB}/nginx:1"\n'),
        ("    image:\n      nginx:1\n", f"    image:\n      {HUB}/nginx:1\n"),
        ("    image: |-  # b\n      nginx:1\n", f"    image: |-  # b\n      {HUB}/nginx:1\n"),
        ("    image: >-\n      nginx\n\n", f"    image: >-\n      {HUB}/nginx\n\n"),
        ("    image: !!str nginx\n", f"    image: !!str {HUB}/nginx\n"),
        ("    image: !!str 1.5\n", f"    image: !!str {HUB}/1.5\n"),
        ("    image: &a # x\n      nginx\n", f"    image: &a # x\n      {HUB}/nginx\n"),
        ("    image: nginx\r\n    tty: true\r\n", f"    image: {HUB}/nginx\r\n    tty: true\r\n"),
        ("    image: nginx", f"    image: {HUB}/nginx"),
        ("    env: [😀]\n    image: nginx", f"    env: [😀]\n    image: {HUB}/nginx"),
        ("    image: redis\n    image: nginx", f"    image: redis\n    image: {HUB}/nginx"),
        ('    "image" :  nginx', f'    "image" :  {HUB}/nginx'),
    ],
)
def test_only_the_image_changes_whatever_its_style(before, after):
    """Quoting, comments, blank lines and line endings around an image stay byte for byte."""

    assert pod(after) == rewrite(pod(before))


@pytest.mark.parametrize(
    "container",
    [
        "    image: 1.5\n",
        "    image: null\n",
        "    image: !!binary bmdpbng=\n",
        "    image: [nginx]\n",
        "    image: |\n      nginx\n",
        "    image: ghcr.io/a/b\n",
        "    image: nginx\n    imagePullPolicy: Never\n",
        f"    image: {HUB}/nginx\n",
        "    env: [{name: image, value: nginx}]\n",
        "    image: ''\n",
        "",
    ],
)
def test_what_an_admission_would_keep_stays(container):
    """What is no string, no reference or not rewritten by an admission is left alone."""

    assert pod(container) == rewrite(pod(container))


@pytest.mark.parametrize(
    ("version", "kind", "manifest"),
    [
        ("v1", "Pod", "%s"),
        ("v1", "PodTemplate", '"template": {%s}'),
        ("v1", "ReplicationController", '"spec": {"template": {%s}}'),
        ("apps/v1", "Deployment", '"spec": {"template": {%s}}'),
        ("apps/v1", "StatefulSet", '"spec": {"template": {%s}}'),
        ("apps/v1", "DaemonSet", '"spec": {"template": {%s}}'),
        ("apps/v1", "ReplicaSet", '"spec": {"template": {%s}}'),
        ("batch/v1", "Job", '"spec": {"template": {%s}}'),
        ("batch/v1", "CronJob", '"spec": {"jobTemplate": {"spec": {"template": {%s}}}}'),
    ],
)
@pytest.mark.parametrize("wrap", ["%s", '{"kind": "List", "apiVersion": "v1", "items": [%s]}'])
def test_every_kind_with_a_pod_template(version, kind, manifest, wrap):
    """Pods, templates of every kind, and lists of them are rewritten; YAML reads JSON the same."""
    containers = '"spec": {"initContainers": [{"name": "i", "image": "%s"}]}'
    text = wrap % f'{{"apiVersion": "{version}", "kind": "{kind}", {manifest % containers}}}'
    before, after = text % "nginx", text % f"{HUB}/nginx"

    assert after == rewrite(before)
    assert f"--- # YAML\n{after}" == rewrite(f"--- # YAML\n{before}")


@pytest.mark.parametrize(
    ("version", "kind"), [("batch.volcano.sh/v1", "Job"), ("acme.io/v1", "Thing"), ("v1", "")]
)
def test_other_kinds_are_left_alone(version, kind):
    """A kind that only looks like one of Kubernetes' own is none of our business."""
    text = (
        f"apiVersion: {version}\nkind: '{kind}'\n"
        "spec: {template: {spec: {containers: [{name: a, image: nginx}]}}}\n"
    )

    assert text == rewrite(text)


@pytest.mark.parametrize(
    ("path", "before"),
    [
        ("spec.image", "spec: {image: %s}"),
        ("spec.steps[].image", "spec: {steps: [{image: %s}, {x: 1}]}"),
        ("spec.steps[*].image", "spec: {steps: [{image: %s}]}"),
        ("Thing:spec.pod", "spec: {pod: {containers: [{name: a, image: %s}]}}"),
        ("spec.pod", "spec: {pod: {spec: {containers: [{name: a, image: %s}]}}}"),
        ("spec.pods[]", "spec: {pods: [{spec: {containers: [{name: a, image: %s}]}}]}"),
    ],
)
def test_a_path_leads_to_an_image_a_spec_or_a_template(path, before):
    """Other kinds are rewritten where the user says that they hold an image or a Pod."""
    text = f"apiVersion: acme.io/v1\nkind: Thing\n{before}\n"

    assert text % f"{HUB}/nginx" == rewrite(text % "nginx", path)


def test_a_path_for_another_kind_changes_nothing():
    """A path with a kind in front holds for that kind alone."""
    text = "apiVersion: acme.io/v1\nkind: Thing\nspec: {image: nginx}\n"

    assert text == rewrite(text, "Other:spec.image")


@pytest.mark.parametrize("path", ["", ".", "a..b", "a[0]", "a:b:c", "[].a"])
def test_a_bad_path_is_refused(path):
    """What is no path says how one looks."""
    with pytest.raises(ManifestError, match="is no path; write"):
        parse_path(path)


def test_an_anchored_image_changes_for_all_images():
    """An alias that is an image follows its anchor; any other keeps its value, written out."""
    before = pod("    image: &i nginx:1\n    args: [*i]\n  - {name: b, image: *i}\n")
    after = pod(f"    image: &i {HUB}/nginx:1\n    args: [nginx:1]\n  - {{name: b, image: *i}}\n")

    assert after == rewrite(before)


def test_an_anchor_that_is_no_image_keeps_its_value():
    """An alias of something that is no image is written out where it is one."""
    text = "x-image: &i nginx:1\n" + pod("    image: %s\n    args: [*i]\n")

    assert text % f"{HUB}/nginx:1" == rewrite(text % "*i")


def test_an_alias_with_another_decision_keeps_its_value():
    """Where one container's policy keeps an image, an alias of it is written out."""
    before = pod("    image: &i nginx\n  - {name: b, imagePullPolicy: Never, image: *i}\n")
    after = pod(
        f"    image: &i {HUB}/nginx\n  - {{name: b, imagePullPolicy: Never, image: nginx}}\n"
    )

    assert after == rewrite(before)


def test_a_merged_image_changes_where_it_stands():
    """An image that comes in by a merge key is changed in the mapping that it comes from."""
    text = "x-base: &base {image: %s}\n" + pod("    <<: *base\n  - {<<: [*base], name: b}\n")

    assert text % f"{HUB}/nginx" == rewrite(text % "nginx")


def test_a_pod_that_opts_out_is_left_alone():
    """The template's own label and its owner count, as they do in an admission."""
    text = (
        "apiVersion: v1\nkind: Pod\nmetadata: {labels: {harbor-cache.io/mode: 'off'}}\n"
        "spec: {containers: [{name: a, image: nginx}]}\n"
    )

    assert text == rewrite(text)


def test_documents_are_independent():
    """A stream's documents keep their separators and comments, and anchors end with each."""
    one = pod("    image: &i %s\n")
    text = f"# head\n{one}---\n# nothing\n---\n{one}...\n# tail\n"

    assert text % (f"{HUB}/nginx", f"{HUB}/redis") == rewrite(text % ("nginx", "redis"))


def test_json_that_is_no_yaml_to_libyaml():
    """JSON with surrogate pairs, tabs, long keys and a byte order mark is rewritten too."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "annotations": {"k" * 2000: '😀 \\ / " \x7f', "n": -1.5e3, "t": [True, None]}
        },
        "spec": {"containers": [{"name": "a", "image": "%s"}]},
    }
    text = "\ufeff" + json.dumps(manifest, indent="\t") + "\n"
    text = text + text.strip("\ufeff")

    assert text.replace("%s", f"{HUB}/nginx") == rewrite(text.replace("%s", "nginx"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [\nb", "line 3, column 1: no valid YAML: "),
        ("a: b\n c: d\n", "line 2, column 3: no valid YAML: mapping values are not allowed"),
        ("a: *nope\n", "line 1, column 4: no valid YAML: unknown anchor 'nope'"),
        ("a: b\nc: \x00\n", "line 2, column 4: no valid YAML: "),
        ('{"a":\n "b', "line 2, column 4: no valid YAML: "),
        ("a: {{ .Values.x }}\nb: {{ x }}: y", "line 2"),
        ("a: \udc80", "line 1, column 4: "),
    ],
)
def test_broken_text_names_line_and_column(text, message):
    """What can't be read says where, in one line."""
    with pytest.raises(ManifestError) as error:
        rewrite(text)

    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_text_made_to_hurt_does_not():
    """Recursive aliases, deep nesting and aliases that multiply cost nothing."""
    bomb = "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    recursive = "apiVersion: v1\nkind: List\nitems: &l [*l, {kind: List, items: *l}]\n"
    deep = "[" * 500 + "]" * 500
    merge = "x: &x {<<: *x}\n" + pod("    <<: *x\n")

    for text in (f"a0: &a0 x\n{bomb}kind: List\nitems: *a29\n", recursive, deep, merge):
        assert text == rewrite(text)


_IMAGES = st.sampled_from(["nginx", "quay.io/a/b:1", "ghcr.io/x", "a//b", "1.5", "~", "", "é"])
_STYLES = st.sampled_from([None, "'", '"', "|", ">"])


@settings(deadline=None)
@given(st.lists(st.tuples(_IMAGES, _STYLES, st.booleans()), min_size=1, max_size=5), st.booleans())
def test_the_rest_of_the_document_means_the_same(containers, flow):
    """Whatever the styles, only images differ once read again, and a second pass finds nothing."""

    class Styled(str):
        __slots__ = ("style",)

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(
        Styled, lambda d, s: d.represent_scalar("tag:yaml.org,2002:str", str(s), style=s.style)
    )
    items = []
    for index, (image, style, before) in enumerate(containers):
        styled = Styled(image)
        styled.style = style
        item = {"name": f"c{index}", "args": [image]}
        items.append({"image": styled, **item} if before else {**item, "image": styled})
    manifest = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": items}}
    text = yaml.dump(manifest, Dumper=Dumper, default_flow_style=flow, sort_keys=False)
    once = rewrite(text)
    expected = json.loads(json.dumps(manifest))
    for item in expected["spec"]["containers"]:
        if item["image"] in ("nginx", "quay.io/a/b:1", "1.5"):
            project = (
                "proxy.quay.io/a/b:1"
                if "quay" in item["image"]
                else f"proxy.docker.io/library/{item['image']}"
            )
            item["image"] = f"harbor-cache.example.com/{project}"

    assert expected == yaml.safe_load(once)
    assert once == rewrite(once)


@pytest.mark.parametrize("shape", ["[", "{", "[{", "- ", "? ", "{a: ", "[a: ", '{"items":['])
def test_depth_is_bounded(shape):
    """Half a megabyte of brackets is refused at once: its parser's time grows with the square."""

    with pytest.raises(
        ManifestError, match=r"^line 1, column \d+: nested deeper than 1000 levels"
    ):
        rewrite(shape * (500_000 // len(shape)))
