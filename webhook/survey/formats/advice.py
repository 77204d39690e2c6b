"""
What to do next, from what a survey found.
"""

import ipaddress

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from webhook.survey import HARBOR, RegistryReport, Survey
from webhook.text import printable


__all__ = ["Step", "next_steps"]

_MAX_NAMED: Final = 8
_LOCAL_SUFFIXES: Final = (".local", ".svc", ".internal", ".lan", ".corp", ".intern", ".test")
# Registries that hand out nothing, or little, without credentials.
_PRIVATE_SUFFIXES: Final = (".amazonaws.com", ".azurecr.io", ".pkg.dev")


@dataclass(frozen=True, slots=True)
class Step:
    """
    One thing to do: a heading, why, and what to paste.
    """

    title: str
    text: str
    snippet: str = ""


def next_steps(survey: Survey) -> list[Step]:
    """
    Return what to do next, the most urgent first.
    """
    return list(_steps(survey))


def _steps(survey: Survey) -> Iterator[Step]:
    if survey.unseen:
        yield Step(
            "Look at the rest",
            f"{_some(len(survey.unseen), 'list')} could not be read, so numbers are too low. "
            "Run the audit as a user that may list these.",
        )
    if survey.placeholder:
        yield Step(
            "Name your Harbor",
            f"{survey.placeholder}, so a placeholder Harbor is judged by. Run the audit with the "
            "config that you will install.",
            "harbor-cache audit --config harbor-cache.yaml",
        )
    bad = [probe for probe in survey.probes or () if probe.state != "available"]
    # Where Harbor as a whole can't serve, its projects can't either.
    bad = [probe for probe in bad if probe.name == HARBOR] or bad
    if bad:
        yield Step(
            "Make Harbor serve",
            "Nothing is rewritten for these until they are available: "
            + "; ".join(f"{p.name} is {p.state}{f' ({p.why})' if p.why else ''}" for p in bad)
            + ".",
            "harbor-cache harbor plan --config harbor-cache.yaml",
        )
    refused = [result for result in survey.preflight or () if result.outcome == "refused"]
    if refused:
        policies = sorted({result.policy or "an unnamed policy" for result in refused})
        places = sorted({result.namespace for result in refused})
        yield Step(
            "Allow the Harbor host in policies",
            f"{', '.join(policies)} would refuse rewritten Pods in {_named(places)}. "
            f"Allow images from {survey.harbor} there before enforcing.",
        )
    serial = [n.node for n in survey.nodes or () if n.at_once == 1]
    if serial:
        yield Step(
            "Let nodes pull several images at a time",
            f"{_named(serial)} {'pulls' if len(serial) == 1 else 'pull'} one image at a time: "
            "while one pull hangs, no other Pod gets its image there. Set this in the kubelet's "
            "configuration, and restart it.",
            "serializeImagePulls: false\nmaxParallelImagePulls: 20",
        )
    wrong = [n for n in survey.namespaces if n.mode in ("unknown", "excluded")]
    if wrong:
        yield Step(
            "Correct namespace labels that do nothing",
            "; ".join(f"{n.name}: {n.why}" for n in wrong[:_MAX_NAMED]) + ".",
        )
    public = [gap for gap in survey.gaps if is_public(gap.registry, survey.harbor)]
    if public:
        yield Step(
            "Cover more registries",
            f"{_named([gap.registry for gap in public])} "
            f"{'serves' if len(public) == 1 else 'serve'} images that no rule covers. "
            "Add what should be cached to the config, then let Harbor follow.",
            _snippet(public),
        )
    operated = [w for w in survey.workloads if w.operator and w.would_rewrite]
    if operated:
        operators = sorted({w.operator for w in operated})
        yield Step(
            "Look at Pods that operators control",
            f"{_named(operators)} {'controls' if len(operators) == 1 else 'control'} Pods that "
            "would be rewritten. Some operators compare images, and replace a Pod whose image is "
            "another: try one such Pod first, or leave them alone.",
            "excludeOwners:\n  # ... those that are there already, and:\n"
            + "\n".join(f"  - {operator}" for operator in operators),
        )
    bare = [w for w in survey.workloads if w.gitops and w.would_rewrite]
    if bare:
        tools = sorted({w.gitops for w in bare})
        yield Step(
            "Look at Pods that stand in Git",
            f"{_named([f'{w.namespace}/{w.name}' for w in bare])}: no Deployment is between "
            f"{' and '.join(tools)} and the Pod, so a rewritten image is a difference there. Keep "
            'them out with the label harbor-cache.io/mode: "off", or let the tool ignore images '
            "of Pods.",
        )
    if survey.private:
        names = [f"{w.namespace}/{w.name}" for w in survey.private]
        yield Step(
            "Look at workloads with pull secrets",
            f"{_named(names)}: if an image there is private, Harbor can't pull it without the "
            "upstream's credentials. Exclude such repositories, or keep these workloads out with "
            'the label harbor-cache.io/mode: "off".',
        )
    # Where *why* speaks, a label would do nothing.
    ready = [n for n in survey.namespaces if n.mode == "none" and n.would_rewrite and not n.why]
    if ready:
        largest = max(ready, key=lambda n: n.would_rewrite)
        yield Step(
            "Try one namespace in audit mode",
            f"{_some(len(ready), 'namespace')} without a mode label would profit. "
            "Audit mode changes nothing, and reports what would change.",
            f"kubectl label --overwrite namespace {largest.name} harbor-cache.io/mode=audit",
        )
    audited = [n for n in survey.namespaces if n.mode == "audit" and n.would_rewrite]
    if audited and survey.mode == "enforce":
        yield Step(
            "Go from audit to enforce",
            f"{_named([n.name for n in audited])}: once the above is done.",
            f"kubectl label --overwrite namespace {audited[0].name} harbor-cache.io/mode=enforce",
        )


def is_public(registry: str, harbor: str) -> bool:
    """
    Tell whether a registry looks like one that Harbor could cache for everyone.
    """
    host = registry.partition(":")[0]
    if registry == harbor or "." not in host or not host.isascii():
        return False
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return not host.endswith(_LOCAL_SUFFIXES + _PRIVATE_SUFFIXES) and ":" not in registry
    return False


def _snippet(gaps: list[RegistryReport]) -> str:
    lines = ["registries:", "  # ... those that are there already, and:"]
    lines += [
        f"  - {{host: {gap.registry}, project: proxy.{gap.registry.lower()}}}" for gap in gaps
    ]
    return "\n".join(lines)


def _named(names: list[str]) -> str:
    shown = ", ".join(printable(name, 80) for name in names[:_MAX_NAMED])
    more = len(names) - _MAX_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
