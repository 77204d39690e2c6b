"""
What all tests share.
"""

import pytest
import structlog


_MEASURING = {"kube", "node", "slow"}


def pytest_terminal_summary(terminalreporter):
    """
    Show what the tests with real programs measured, also where they passed.
    """
    lines = [
        line
        for report in terminalreporter.getreports("passed")
        if report.when == "call" and _MEASURING & set(report.keywords)
        for line in report.capstdout.splitlines()
    ]
    if lines:
        terminalreporter.section("Measured")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def _as_it_was():
    """
    Put the configuration of the log back: a command that ran in this process sets its own.
    """
    before = structlog.get_config()
    yield
    structlog.configure(**before)
