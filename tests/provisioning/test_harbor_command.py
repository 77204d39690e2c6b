"""
`harbor-cache harbor`, as people run it.
"""

import json
import os
import ssl
import subprocess
import sys

import pytest
import trustme

from click.testing import CliRunner

from tests.support.provisioning import CLIENT_SECRET, SECRET, empty_harbor, everything
from webhook.cli import main
from webhook.demo.standin import ADMIN_PASSWORD, Fault, HarborStandIn, ThreadedStandIn


@pytest.fixture(autouse=True)
def no_password_from_outside(monkeypatch):
    monkeypatch.delenv("HARBOR_PASSWORD", raising=False)


@pytest.fixture
def run(tmp_path):
    """
    Return a function that runs a subcommand against a Harbor with a config of its own.
    """

    def run(command, url, *arguments, password=ADMIN_PASSWORD, sections=None, **harbor):
        config = tmp_path / "harbor-cache.yaml"
        data = {
            "apiVersion": "harbor-cache.io/v1",
            "kind": "Config",
            "harbor": {"url": url, **harbor},
            **(sections or {}),
        }
        config.write_text(json.dumps(data), "utf-8")
        environment = {"HARBOR_PASSWORD": password} if password else {}
        words = ["harbor", command, "--config", str(config), *arguments]
        return CliRunner().invoke(main, words, env=environment)

    return run


@pytest.fixture
def harbor():
    with ThreadedStandIn() as harbor:
        yield harbor


def test_plan_apply_plan(run, tmp_path):
    """
    The exit codes and words of a first set-up: 2 with a difference, then 0 without one.
    """
    with ThreadedStandIn(empty_harbor()) as harbor:
        sections = everything(tmp_path)
        first = run("plan", harbor.url, "--detailed-exitcode", sections=sections)
        plain = run("plan", harbor.url, sections=sections)
        applied = run("apply", harbor.url, sections=sections)
        again = run("apply", harbor.url, sections=sections)
        last = run("plan", harbor.url, "--detailed-exitcode", sections=sections)

    assert [2, 0, 0, 0, 0] == [r.exit_code for r in (first, plain, applied, again, last)]
    assert "8 to create, 4 to change." in first.output
    assert "created project proxy.private" in applied.output
    assert "Harbor is as the config says." in applied.output
    assert "Nothing to do." in again.output
    assert "No difference." in last.output


def test_no_secret_in_any_output(run, tmp_path):
    """
    Passwords, the client secret and the robot's secret are in no output, of failures neither.
    """
    with ThreadedStandIn(empty_harbor()) as harbor:
        sections = everything(tmp_path)
        commands = ("plan", "apply", "verify", "plan")
        shown = [run(command, harbor.url, sections=sections).output for command in commands]
        shown.append(run("apply", harbor.url, "--resend-secrets", sections=sections).output)
        robot = harbor.harbor.state.robots[1].secret
        for fault in Fault:
            if fault not in (Fault.HANG, Fault.BLACK_HOLE, Fault.SLOW):
                harbor.set_fault(fault)
                result = run("apply", harbor.url, "--resend-secrets", sections=sections)
                shown += [result.output, repr(result.exception)]
    text = "".join(shown)

    assert "proxy.private" in text
    assert "Traceback" not in text
    for secret in (SECRET, CLIENT_SECRET, ADMIN_PASSWORD, robot):
        assert secret not in text


FAULTS = {
    Fault.REFUSED: "the connection is refused",
    Fault.BAD_GATEWAY: "a proxy answered with a page (HTTP 502) in Harbor's place",
    Fault.SERVER_ERROR: "answered with HTTP 500",
    Fault.UNAUTHORIZED: "answered with HTTP 401",
    Fault.NOT_FOUND: "what answers there is no Harbor 2.x",
    Fault.HTML: "what answers there is no Harbor 2.x",
    Fault.REDIRECT: "redirects elsewhere (HTTP 302)",
    Fault.ENDLESS: "answers with more than 1 MiB",
}


@pytest.mark.parametrize("command", ["plan", "apply"])
@pytest.mark.parametrize(("fault", "words"), FAULTS.items())
def test_what_is_no_harbor_is_said_in_one_sentence(run, harbor, fault, words, command):
    """
    Whatever answers in Harbor's place gives one line and exit code 1, and gets no password.
    """
    harbor.set_fault(fault)
    result = run(command, harbor.url)

    assert 1 == result.exit_code
    assert words in result.stderr
    assert 1 == len(result.stderr.strip().splitlines())
    assert result.stderr.startswith("Error: looking for a Harbor at")
    assert all(seen.principal == "" for seen in harbor.harbor.requests)


def test_harbor_1(run, harbor, monkeypatch):
    """
    Harbor 1.x is named as what it is.
    """
    from aiohttp import web  # noqa: PLC0415

    async def old(request, body):
        from webhook.demo.standin.simulated import Principal  # noqa: PLC0415

        return Principal(), web.Response(text='{"version":"v1.10"}', content_type="text/plain")

    monkeypatch.setattr(harbor.harbor, "_answer", old)
    result = run("plan", harbor.url)

    assert 1 == result.exit_code
    assert "it is Harbor 1.x; 2.x is needed" in result.stderr


@pytest.mark.parametrize("odd", ["{}", "[]", "null", "3", '[{"name": 1}]', '{"project_id": "x"}'])
@pytest.mark.parametrize("path", ["/projects/proxy.quay.io", "/registries", "/configurations"])
def test_answers_of_an_odd_form(run, harbor, monkeypatch, odd, path):
    """
    JSON that is not Harbor's gives one sentence and exit code 1 or a refusal, never a traceback.
    """
    from aiohttp import web  # noqa: PLC0415

    real = harbor.harbor._answer

    async def answer(request, body):
        principal, response = await real(request, body)
        if request.path.endswith(path):
            response = web.Response(text=odd, content_type="application/json")
        return principal, response

    monkeypatch.setattr(harbor.harbor, "_answer", answer)
    result = run("plan", harbor.url)

    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    if result.exit_code == 1 and result.stderr:
        assert 1 == len(result.stderr.strip().splitlines())


def test_a_wrong_password(run, harbor):
    """
    A wrong password is tried once, and named; nothing is read as anonymous.
    """
    result = run("apply", harbor.url, password="wrong")
    tried = [s for s in harbor.harbor.requests if s.path.endswith("/users/current")]

    assert 1 == result.exit_code
    assert "the user name or the password is wrong" in result.stderr
    assert 1 == len(tried)
    assert tried[-1] is harbor.harbor.requests[-1]


def test_no_rights(run, harbor):
    """
    A user who is no administrator is told so.
    """
    harbor.harbor.state.users["jane"] = "Passw0rd"
    result = run("plan", harbor.url, "--username", "jane", password="Passw0rd")

    assert 1 == result.exit_code
    assert "'jane': this user is no system administrator" in result.stderr


def test_no_password(run, harbor):
    """
    Without a terminal a missing password is a usage error that says how to give one.
    """
    result = run("plan", harbor.url, password=None)

    assert 2 == result.exit_code
    assert "give --password-file or HARBOR_PASSWORD" in result.stderr


def test_the_password_from_a_file(run, harbor, tmp_path):
    """
    A line end behind the password is not part of it.
    """
    (tmp_path / "admin").write_text(ADMIN_PASSWORD + "\n", "utf-8")
    result = run("plan", harbor.url, "--password-file", str(tmp_path / "admin"), password=None)

    assert 0 == result.exit_code, result.output


def test_a_certificate_that_is_not_trusted(run, tmp_path):
    """
    TLS that does not verify is named; with the CA in caFile it works.
    """
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    with ThreadedStandIn(HarborStandIn(tls=context)) as harbor:
        refused = run("plan", harbor.url)
        accepted = run("plan", harbor.url, caFile=str(tmp_path / "ca.pem"))

    assert (1, 0) == (refused.exit_code, accepted.exit_code), accepted.output
    assert "the certificate is not accepted" in refused.stderr


@pytest.mark.parametrize(
    ("status", "code"), [(409, "CONFLICT"), (412, "PRECONDITION"), (500, "UNKNOWN")]
)
def test_a_refusal_halfway(run, harbor, monkeypatch, status, code):
    """
    409, 412 and 500 in the middle give one sentence, and a rerun goes on.
    """
    from webhook.demo.standin.routing import Refusal, errors  # noqa: PLC0415

    real = harbor.harbor._answer

    async def answer(request, body):
        principal, response = await real(request, body)
        if request.method == "POST" and request.path.endswith("/system/gc/schedule"):
            harbor.harbor.state.gc_schedule = None
            return principal, errors(Refusal(status, code, "not now"))
        return principal, response

    with monkeypatch.context() as patch:
        patch.setattr(harbor.harbor, "_answer", answer)
        halfway = run("apply", harbor.url)
    rerun = run("apply", harbor.url)
    after = run("plan", harbor.url, "--detailed-exitcode")

    assert [1, 0, 0] == [halfway.exit_code, rerun.exit_code, after.exit_code]
    assert (
        f"answered with HTTP {status}: not now (8 of 9 steps are done; apply again goes on)"
        in (halfway.stderr)
    )
    assert 1 == len(halfway.stderr.strip().splitlines())
    assert "created garbage collection schedule" in rerun.output


def test_what_is_in_the_way_stops_apply_before_its_first_write(run, harbor):
    """
    Where something is refused nothing at all is written; plan exits with 1 too.
    """
    harbor.harbor.state.project("proxy.quay.io").registry_id = None
    planned = run("plan", harbor.url, "--detailed-exitcode")
    applied = run("apply", harbor.url)

    assert [1, 1] == [planned.exit_code, applied.exit_code]
    assert "no proxy project" in planned.output
    assert "choose another name in registries[].project" in applied.output
    assert not any(seen.writes for seen in harbor.harbor.requests)


def test_verify(run, harbor):
    """
    Verify prints a line per project with its time; one that fails makes exit code 1.
    """
    good = run("verify", harbor.url, password=None)
    harbor.harbor.upstream_of("proxy.quay.io").state = "refused"
    bad = run("verify", harbor.url)

    assert (0, 1) == (good.exit_code, bad.exit_code), good.output
    assert "4 of 4 projects serve." in good.output
    assert 4 == good.output.count("works")
    assert "upstream-unhealthy: Harbor can't use the upstream quay.io" in bad.output
    assert "3 of 4 projects serve." in bad.output


def test_another_url(run, harbor):
    """
    --url says where the API is; images still point at harbor.url.
    """
    result = run("plan", "https://harbor.example.com", "--url", harbor.url)
    wrong = run("plan", "https://harbor.example.com", "--url", "harbor")

    assert (0, 2) == (result.exit_code, wrong.exit_code), result.output
    assert "--url: must be a URL" in wrong.stderr


def test_a_file_that_is_missing_is_a_config_error(run, harbor, tmp_path):
    """
    An upstream password that can't be read names its key and file.
    """
    files = {"usernameFile": str(tmp_path / "none"), "passwordFile": str(tmp_path / "none")}
    sections = {"registries": [{"host": "quay.io", "project": "q", "upstream": files}]}
    result = run("plan", harbor.url, sections=sections)

    assert 2 == result.exit_code
    assert "registries: quay.io: upstream:" in result.stderr
    assert "No such file or directory" in result.stderr


def test_plan_as_json(run, tmp_path):
    """
    One JSON object on standard output and nothing else, with every step and what it changes.
    """
    with ThreadedStandIn(empty_harbor()) as harbor:
        sections = everything(tmp_path)
        first = run("plan", harbor.url, "-o", "json", "--detailed-exitcode", sections=sections)
        run("apply", harbor.url, sections=sections)
        after = run("plan", harbor.url, "--output", "json", sections=sections)
        harbor.harbor.state.project("proxy.quay.io").registry_id = None
        refused = run("plan", harbor.url, "-o", "json", sections=sections)

    made, kept, blocked = (json.loads(result.stdout) for result in (first, after, refused))
    assert [2, 0, 1] == [first.exit_code, after.exit_code, refused.exit_code]
    assert (True, 8, 4, 0, 0) == (
        made["difference"],
        made["create"],
        made["change"],
        made["keep"],
        made["refuse"],
    )
    assert {"action": "create", "kind": "registry endpoint", "name": "quay.io"}.items() <= (
        made["steps"][1].items()
    )
    assert ["type docker-registry", "https://quay.io"] == made["steps"][1]["details"]
    assert (False, False, []) == (kept["difference"], kept["readOnly"], kept["notes"])
    assert {"keep"} == {step["action"] for step in kept["steps"]}
    assert 1 == blocked["refuse"]
    assert SECRET not in first.output + after.output + refused.output


def test_read_only_mode(run, harbor):
    """
    Plan shows the difference and says why nothing can be done; apply is one sentence.
    """
    harbor.harbor.state.configuration["read_only"] = True
    planned = run("plan", harbor.url)
    applied = run("apply", harbor.url)

    assert (0, 1) == (planned.exit_code, applied.exit_code)
    assert "Note: Harbor is in read-only mode" in planned.output
    assert applied.stderr.startswith("Error: nothing was changed: Harbor is in read-only mode")
    assert 1 == len(applied.stderr.strip().splitlines())
    assert not any(seen.writes for seen in harbor.harbor.requests)


def test_verify_says_that_the_robot_account_is_refused(run, harbor, tmp_path):
    """
    It is one line of its own and exit code 1, though every project serves.
    """
    files = {"usernameFile": str(tmp_path / "name"), "passwordFile": str(tmp_path / "secret")}
    missing = run("verify", harbor.url, password=None, **files)
    (tmp_path / "name").write_text("robot$pull", "utf-8")
    (tmp_path / "secret").write_text("wrong", "utf-8")
    wrong = run("verify", harbor.url, password=None, **files)

    assert [1, 1] == [missing.exit_code, wrong.exit_code]
    assert all("4 of 4 projects serve." in result.output for result in (missing, wrong))
    assert "The robot account can't be read:" in missing.output
    assert "The robot account robot$pull is refused: its secret is wrong" in wrong.output


def at_a_terminal(words, answer):
    """
    Run the program at a terminal, type *answer*, and return what it printed and its exit code.
    """
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "webhook", *words]
    environment = os.environ | {"HARBOR_PASSWORD": ADMIN_PASSWORD}
    try:
        os.write(ours, answer.encode())
        result = subprocess.run(
            command,
            stdin=theirs,
            capture_output=True,
            env=environment,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    return result


def test_apply_asks_at_a_terminal(run, harbor, tmp_path):
    """
    Whoever sits at a terminal sees the plan and is asked; --yes and pipes are not.
    """
    run("plan", harbor.url)
    words = ["harbor", "apply", "--config", str(tmp_path / "harbor-cache.yaml")]
    refused = at_a_terminal(words, "n\n")
    left = at_a_terminal(words, "\x04")
    written = [seen for seen in harbor.harbor.requests if seen.writes]
    agreed = at_a_terminal(words, "y\n")
    again = at_a_terminal([*words, "--yes"], "")

    assert (1, [], 0, 0) == (refused.returncode, written, agreed.returncode, again.returncode)
    assert "1 to create, 8 to change." in refused.stdout
    assert (130, "Interrupted.") == (left.returncode, left.stderr.splitlines()[-1])
    assert "Apply this?" in refused.stderr
    assert "Error: nothing was changed" in refused.stderr
    assert "Harbor is as the config says." in agreed.stdout
    assert "Apply this?" not in again.stderr
