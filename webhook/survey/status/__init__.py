"""
The state of an installation, problems first: what `harbor-cache status` shows.
"""

from webhook.survey.status.facts import Facts, Problem, Replica, Team
from webhook.survey.status.judge import judge
from webhook.survey.status.look import look


__all__ = ["Facts", "Problem", "Replica", "Team", "judge", "look"]
