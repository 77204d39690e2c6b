import pytest

from benchmarks.generator import percentile
from benchmarks.growth import growth_row
from benchmarks.pods import PODS, review_of
from benchmarks.report import into_docs, table
from webhook.admission.review import read_review


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
