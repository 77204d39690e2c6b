"""
The page of the promises and the list that it is made from.
"""

import re

import pytest

from tests.promises.mutations import ROOT, read


PROMISES = read()
MUTATIONS = [mutation for promise in PROMISES for mutation in promise.mutations]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.fault)
def test_a_fault_can_be_put_into_the_code(mutation):
    """What a fault changes stands in the code once, and its tests are there."""
    healthy = (ROOT / mutation.file).read_text()

    assert healthy != mutation.applied_to(healthy)
    for test in mutation.tests:
        path, _, name = test.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), test


def test_the_page_tells_of_every_promise_and_fault():
    """Whoever adds a fault, or changes a sentence, makes the page anew."""
    page = (ROOT / "docs/promises.md").read_text()

    assert 4 == len(PROMISES)
    for promise in PROMISES:
        assert f". {promise.sentence}\n\n{promise.what}\n" in page
    for mutation in MUTATIONS:
        (row,) = (line for line in page.splitlines() if line.startswith(f"| {mutation.fault} |"))
        assert mutation.tests == [
            f"{path}::{name}" for name, path in re.findall(r"\[`(test_\w+)`\]\(\.\./(\S+?)\)", row)
        ]
