import pytest

from click.testing import CliRunner

from webhook.cli import main


HUB = "harbor-cache.example.com/proxy.docker.io/library"
POD = """\
# A Pod
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - name: a
    image: %s  # the image
"""


def run(*arguments, text=None):
    return CliRunner().invoke(main, ["rewrite", *map(str, arguments)], input=text)


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_standard_input_to_standard_output(arguments):
    """Without a file, or with a dash, manifests flow through."""
    result = run(*arguments, text=POD % "nginx")

    assert (0, POD % f"{HUB}/nginx") == (result.exit_code, result.stdout)


def test_bytes_stay(tmp_path):
    """Carriage returns and a missing end of line come out as they went in."""
    file = tmp_path / "p.yaml"
    file.write_bytes((POD % "nginx").replace("\n", "\r\n").rstrip().encode())
    result = run(file)

    assert (POD % f"{HUB}/nginx").replace("\n", "\r\n").rstrip().encode() == result.stdout_bytes


def test_several_files_become_one_stream(tmp_path):
    """Files are kept apart by document separators, where they have none of their own."""
    texts = [POD % "nginx", (POD % "redis").rstrip(), f"---\n{POD % 'memcached'}"]
    files = [tmp_path / f"{index}.yaml" for index in range(3)]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    result = run(*files)

    assert (
        f"{POD % f'{HUB}/nginx'}---\n{(POD % f'{HUB}/redis').rstrip()}\n"
        f"---\n{POD % f'{HUB}/memcached'}"
    ) == result.stdout


def test_check_lists_and_fails(tmp_path):
    """--check names every image that would change by file, line and column, and exits with 1."""
    file = tmp_path / "p.yaml"
    file.write_text(POD % "nginx")
    result = run("--check", file)

    assert 1 == result.exit_code
    assert f"{file}:8:12: nginx → {HUB}/nginx\n" == result.stdout


def test_check_is_silent_where_nothing_would_change():
    """--check of manifests that are rewritten already says nothing and exits with 0."""
    result = run("--check", text=POD % f"{HUB}/nginx")

    assert (0, "") == (result.exit_code, result.stdout)


def test_diff_shows_the_images_alone():
    """--diff is a unified diff in which every changed line is an image."""
    result = run("--diff", text=(POD % "nginx").rstrip())
    changed = [
        line
        for line in result.stdout.splitlines()
        if line[0] in "+-" and line[:3] not in ("+++", "---")
    ]

    assert 0 == result.exit_code
    assert [
        "-    image: nginx  # the image",
        f"+    image: {HUB}/nginx  # the image",
    ] == changed
    assert "\\ No newline at end of file" in result.stdout


def test_check_with_diff_fails_too():
    """--check --diff shows the diff, and still exits with 1."""
    result = run("--check", "--diff", text=POD % "nginx")

    assert 1 == result.exit_code
    assert "+++" in result.stdout


def test_twice_is_once():
    """A second pass changes nothing more."""
    once = run(text=POD % "nginx").stdout

    assert once == run(text=once).stdout


def test_broken_yaml_is_named(tmp_path):
    """File, line and column of broken YAML are named, with exit code 2 and no output."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(POD % "nginx")
    bad.write_text("a: b\n c: d\n")
    result = run(good, bad)

    assert (2, "") == (result.exit_code, result.stdout)
    assert (
        f"Error: {bad}: line 2, column 3: no valid YAML: "
        "mapping values are not allowed in this context\n"
    ) == result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file or directory"), (b"a: b\nc: \xff", "line 2, column 4: is not UTF-8")],
)
def test_an_unreadable_file_is_named(tmp_path, content, message):
    """A file that is missing or no text is named, with exit code 2."""
    file = tmp_path / "p.yaml"
    if content is not None:
        file.write_bytes(content)
    result = run(file)

    assert (2, f"Error: {file}: {message}\n") == (result.exit_code, result.stderr)


def test_a_bad_path_is_a_mistake_in_the_usage():
    """A --path that is none is refused with the usage, and exit code 2."""
    result = run("--path", "a..b", text="")

    assert 2 == result.exit_code
    assert "'a..b' is no path; write spec.image" in result.stderr


def test_a_paused_config_is_said_aloud(tmp_path):
    """Where the config pauses everything, manifests come out unchanged, and a note says why."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "{apiVersion: harbor-cache.io/v1, kind: Config, paused: true, "
        "harbor: {url: 'https://h.example'}}"
    )
    result = run("--config", config, text=POD % "nginx")

    assert POD % "nginx" == result.stdout
    assert "Note: the config says paused: true, so nothing is rewritten.\n" == result.stderr
