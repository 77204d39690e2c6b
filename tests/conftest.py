"""
What all tests share.
"""

import pytest
import structlog


_MEASURING = {"kube", "node", "slow"}


@pytest.fixture(autouse=True)
def logging_as_at_the_start():
    """
    Take back what a command that ran in this process made of logging.

    Else the next logger that is used stays with it, and what it logs is not captured any more.
    """
    yield
    structlog.reset_defaults()


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
