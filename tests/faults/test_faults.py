import subprocess
import sys

import pytest

from tests.faults.catalogue import SCENARIOS
from tests.support.programs import require_program


pytestmark = [pytest.mark.kube, pytest.mark.slow]


_CLOCK = "The clock is set forward and back"


@pytest.mark.parametrize(
    "name", ["Harbor answers 502", "The certificate authority is exchanged", _CLOCK]
)
def test_fault_ends_as_it_should(name):
    """
    With Pods created all the while, a fault refuses none; `make faults` tries all the others.
    """
    if name == _CLOCK:
        require_program("faketime", "faketime")
    run = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--only", name],
        capture_output=True,
        text=True,
        check=False,
    )
    print(run.stdout, run.stderr[-2000:])

    assert name in SCENARIOS
    assert run.returncode == 0
    assert "| passed |" in run.stdout
