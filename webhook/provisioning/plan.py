"""
The difference between what is desired and what is actual: pure.

What bears the right name and means something else is refused, with a remedy.  Nothing is ever
deleted, and nothing that the config does not name is touched; of what it names, what it no longer
says goes back to what Harbor has without it.
"""

from webhook.provisioning.actual import Actual
from webhook.provisioning.desired import Desired
from webhook.provisioning.plan_access import oidc_step, robot_step, robots_that_may_poison
from webhook.provisioning.plan_projects import endpoint_step, project_step
from webhook.provisioning.plan_storage import quota_step, retention_step, schedule_step
from webhook.provisioning.steps import Plan, Step


__all__ = ["make_plan"]


def make_plan(desired: Desired, actual: Actual, *, resend: bool = False) -> Plan:
    """
    Compare.

    With *resend*, secrets that Harbor never shows are sent again: of upstreams and of the login.
    """
    steps: list[Step] = [endpoint_step(e, actual, resend=resend) for e in desired.endpoints]
    steps += [project_step(project, actual) for project in desired.projects]
    for project in desired.projects:
        held = actual.projects.get(project.name)
        if held is not None:  # A new project gets its quota when it is made.
            steps.append(quota_step(project, held))
        if desired.retention is not None:
            steps.append(retention_step(project.name, held, desired.retention))
    if desired.robot is not None:
        steps.append(robot_step(desired.robot, actual.robot))
    if desired.garbage_collection is not None:
        steps.append(schedule_step(desired.garbage_collection, actual.gc_schedule))
    if desired.oidc is not None:
        steps.append(oidc_step(desired.oidc, actual, resend=resend))
    return Plan(tuple(steps), tuple(_notes(actual)), actual.read_only)


def _notes(actual: Actual) -> list[str]:
    notes = robots_that_may_poison(actual)
    if actual.read_only:
        notes.append(
            "Harbor is in read-only mode: nothing can be changed, and upstreams can't be checked,"
            " before an administrator ends it (Configuration, System Settings)"
        )
    return notes
