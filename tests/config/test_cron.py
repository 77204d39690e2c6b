"""
Schedules, as Harbor takes and refuses them.
"""

import pytest

from webhook.config.cron import check_cron


@pytest.mark.parametrize(
    "text",
    [
        "0 0 3 * * *",
        "0 */15 * * * *",
        "0 5,20,35 2-4 ? JAN-mar,12 MON-FRI",
        "0 10/20 0 1 1 0",
        "0 0 0 31 12 6",
    ],
)
def test_what_harbor_takes(text):
    """
    Lists, ranges, steps and names are taken, the seconds being 0.
    """

    assert text == check_cron(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 0 * * *", "must have six fields"),
        ("@daily", "must have six fields"),
        ("* 0 3 * * *", "the seconds must be 0"),
        ("30 0 3 * * *", "the seconds must be 0"),
        ("0 60 3 * * *", "'60' is no value for minutes (0 to 59)"),
        ("0 0 24 * * *", "'24' is no value for hours"),
        ("0 0 0 0 * *", "'0' is no value for days of the month (1 to 31)"),
        ("0 0 0 32 * *", "days of the month"),
        ("0 0 0 * 13 *", "'13' is no value for months"),
        ("0 0 0 * * 7", "'7' is no value for days of the week (0 to 6)"),
        ("0 0 5-3 * * *", "'5-3' is no value for hours"),
        ("0 */0 3 * * *", "'*/0' is no value for minutes"),
        ("0 0 3 * MOON *", "'MOON' is no value for months"),
        ("0 0 3, * * *", "'' is no value for hours"),
        ("0 0 -3 * * *", "'-3' is no value for hours"),
    ],
)
def test_what_harbor_refuses(text, words):
    """
    A schedule that Harbor would refuse halfway through an apply is refused in the config.
    """
    with pytest.raises(ValueError) as refusal:
        check_cron(text)

    assert words in str(refusal.value)
