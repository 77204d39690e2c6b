"""
What all tests share.
"""

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
