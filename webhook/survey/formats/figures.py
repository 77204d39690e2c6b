"""
What a survey comes to, in one sentence, and what its colours mean.
"""

from typing import Final

from webhook.image.decision import Reason
from webhook.survey import Survey


__all__ = ["GOOD", "LOOK", "WRONG", "color_of", "headline", "share"]

GOOD: Final = "green"
"""
The color of what is on Harbor, or goes there.
"""

LOOK: Final = "yellow"
"""
The color of what someone should look at, or that passes.
"""

WRONG: Final = "red"
"""
The color of what is wrong.
"""

_COLORS: Final = {
    Reason.RULE: GOOD,
    Reason.ALREADY_CACHED: GOOD,
    Reason.HARBOR_UNAVAILABLE: LOOK,
    Reason.PROJECT_UNAVAILABLE: LOOK,
    Reason.UPSTREAM_UNAVAILABLE: LOOK,
    Reason.QUARANTINED: LOOK,
    Reason.PAUSED: LOOK,
    Reason.INVALID_REFERENCE: WRONG,
    Reason.TOO_LONG: WRONG,
    Reason.TOO_LARGE: WRONG,
    Reason.INTERNAL_ERROR: WRONG,
}


def color_of(reason: Reason) -> str:
    """
    Return the color of an image's reason; none where it is kept because someone wants it so.
    """
    return _COLORS.get(reason, "")


def headline(survey: Survey) -> str:
    """
    Say what is on Harbor now, and what could be.
    """
    now, could = (share(part, survey.uses) for part in (survey.on_harbor, survey.could_be))
    if not survey.could_be:
        return "Nothing in this cluster would come from Harbor"
    if not survey.on_harbor:
        return f"Nothing comes from Harbor now; {could} of image uses could"
    if survey.on_harbor == survey.could_be:
        return f"{now} of image uses come from Harbor: all that could"
    return f"{now} of image uses come from Harbor now; {could} could"


def share(part: int, whole: int) -> str:
    """
    Return a percentage without decimals that is 0 or 100 only where it is exactly that.
    """
    if not whole:
        return "-"
    percent = round(100 * part / whole)
    if part:
        percent = max(percent, 1)
    if part < whole:
        percent = min(percent, 99)
    return f"{percent}\u202f%"
