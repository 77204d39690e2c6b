import asyncio
import itertools
import json
import shutil

from pathlib import Path

import pytest

from aiohttp import web

from benchmarks import load
from benchmarks.generator import percentile
from benchmarks.growth import growth_row
from benchmarks.pods import PODS, review_of
from benchmarks.report import into_docs, table
from benchmarks.reviews import NUMBER, SHAPE, Workload, template
from webhook.admission.admit import question_of
from webhook.admission.review import read_review
from webhook.config import default_config


POLICY = default_config().policy


@pytest.mark.parametrize("size", [{"rules": 7}, {"quarantined": 9}, {}])
def test_growth_is_measured(size):
    """
    A row of a growth table holds the cost of a review, and that of each of its images.
    """
    row = growth_row(2, containers=2, **size)

    assert row["review"] > 0
    assert row["image"] == row["review"] / 2


def test_reviews_of_benchmarks_are_reviews():
    """
    What is sent where no API server is at hand can be read, and names its images.
    """
    review = read_review(review_of(PODS["typical"]))

    assert not review.problem
    assert 2 == len(review.request.object.spec.containers)


def bodies_of(tmp_path, shapes, count):
    workload = Workload(tmp_path / "template.json", shapes)
    workload.file.write_bytes(template(review_of(PODS["typical"])))
    return list(itertools.islice(workload.bodies(5), count))


def test_no_two_reviews_are_alike_and_all_have_one_length(tmp_path):
    """
    As an API server sends them: what is made up for each Pod differs, and only that.
    """
    first, second = bodies_of(tmp_path, 1, 2)
    members = [json.loads(body)["request"] for body in (first, second)]
    pods = [member["object"] for member in members]

    assert len(first) == len(second)
    assert members[0]["uid"] != members[1]["uid"]
    assert pods[0]["metadata"]["name"] != pods[1]["metadata"]["name"]
    assert pods[0]["metadata"]["ownerReferences"] != pods[1]["metadata"]["ownerReferences"]
    assert pods[0]["spec"]["volumes"][-1] != pods[1]["spec"]["volumes"][-1]
    assert [c["image"] for c in pods[0]["spec"]["containers"]] == [
        c["image"] for c in pods[1]["spec"]["containers"]
    ]


@pytest.mark.parametrize(("shapes", "expected"), [(1, 1), (3, 3), (0, 7)])
def test_pods_have_as_many_shapes_as_wanted(tmp_path, shapes, expected):
    """
    Each is decided once, so this many decisions are made.
    """
    seen = set()
    for body in bodies_of(tmp_path, shapes, 7):
        review = read_review(body)
        seen.add(question_of(review, POLICY, "enforce"))

    assert expected == len(seen)


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
async def test_both_generators_send_the_same(tmp_path, aiohttp_server):
    """
    Wrk's script makes of a template what Python makes of it.
    """
    arrived = []

    async def take(request):
        arrived.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    server = await aiohttp_server(app)
    workload = Workload(tmp_path / "template.json", 3)
    expected = bodies_of(tmp_path, 3, 10)
    script = Path(load.__file__).parent / "review.lua"
    process = await asyncio.create_subprocess_exec(
        *("wrk", "-t1", "-c1", "-d1s", "-s", script, str(server.make_url("/"))),
        *("--", workload.file, "3", "5", NUMBER, SHAPE),
        stdout=asyncio.subprocess.PIPE,
    )
    await process.communicate()

    # wrk makes a review or two before it begins.
    start = expected.index(arrived[0])
    assert expected[start : start + 5] == arrived[:5]


def test_percentile():
    """
    A percentile is a value that was measured.
    """
    values = [float(n) for n in range(100, 0, -1)]

    assert (51.0, 100.0, 100.0) == tuple(percentile(values, part) for part in (0.5, 0.99, 1.0))


def test_docs_keep_what_people_wrote(tmp_path):
    """
    Only what stands between the markers is replaced, as often as one likes.
    """
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- Made by `make x`. -->\nold\n<!-- End of what `make x` makes. -->\nafter\n"
    )
    for text in ("first", table(("a", "b"), [("1", "2")])):
        into_docs(page, text, by="make x")
    lines = page.read_text().split()

    assert "before" == lines[0]
    assert "after" == lines[-1]
    assert "old" not in lines
    assert "| 1 | 2 |" in page.read_text()
