"""
Why an image is rewritten or kept, for people and for programs.

The decision is the one that an admission makes; here it is put into words.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from webhook.config import Config
from webhook.errors import InvalidReferenceError
from webhook.image.availability import Availability
from webhook.image.decision import Reason
from webhook.image.reference import Reference
from webhook.image.rules import Rule
from webhook.pod.decision import decide_pod
from webhook.pod.model import Container, Pod, PodSpec
from webhook.text import printable


__all__ = ["REASONS", "Explanation", "explain_image"]

REASONS: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.RULE: "the rule for its registry sends it through Harbor",
        Reason.NO_RULE: "no rule covers its registry",
        Reason.EXCLUDED: "the rule for its registry leaves this repository out",
        Reason.ALREADY_CACHED: "it points at Harbor already",
        Reason.HARBOR_UNAVAILABLE: "Harbor can't be reached, or nothing is known of it yet",
        Reason.PROJECT_UNAVAILABLE: "Harbor answers, but this proxy project can't serve",
        Reason.UPSTREAM_UNAVAILABLE: "the project's upstream is down, and its rule says to keep then",
        Reason.QUARANTINED: "Harbor could not serve this image lately",
        Reason.INVALID_REFERENCE: "it is no reference to an image in a registry",
        Reason.TOO_LONG: "it is too long, or would be with the project in front",
        Reason.TOO_LARGE: "the Pod is too large to record the original image",
        Reason.PAUSED: "the config says paused: true, so nothing is rewritten",
        Reason.OPTED_OUT: "the Pod has opted out",
        Reason.MIRROR_POD: "the Pod is the mirror of a static Pod, whose image lies on the node",
        Reason.OWNER_EXCLUDED: "the config leaves Pods of its owner, or with its labels, alone",
        Reason.PULL_POLICY_NEVER: "it is never pulled",
        Reason.NOT_RECOVERABLE: "it could not be restored if Harbor failed",
        Reason.PLACEHOLDER: "it stands for an image that an injector fills in later",
        Reason.INTERNAL_ERROR: "something went wrong while deciding",
    }
)
"""
Each reason in words, to stand behind "since" or a colon.
"""


@dataclass(frozen=True, slots=True)
class Explanation:
    """
    The decision about one image, with what led to it.

    Attributes:
        image: the image as it was given.
        outcome: whether it would be rewritten.
        reason: why.
        result: what it becomes; where it is kept, the image itself.
        reference: the parsed reference, or None where *problem* says what is wrong.
        rule: the rule that matched its registry, if any.
        problem: why the image is no reference, or an empty string.
    """

    image: str
    outcome: Literal["rewritten", "kept"]
    reason: Reason
    result: str
    reference: Reference | None = None
    rule: Rule | None = None
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """
        Return what programs are promised, and nothing else.
        """
        return {
            "image": self.image,
            "outcome": self.outcome,
            "reason": str(self.reason),
            "result": self.result,
        }

    def as_lines(self) -> Iterator[tuple[str, str]]:
        """
        Yield what people want to know, as pairs of a heading and a text that is fit for a terminal.
        """
        yield ("outcome", f"{self.outcome} ({self.reason}): {REASONS[self.reason]}")
        if self.outcome == "rewritten":
            yield ("result", printable(self.result))
        if self.problem:
            yield ("problem", self.problem)
        if self.reference is not None:
            yield ("registry", self.reference.domain)
            yield ("repository", self.reference.path)
            # The runtime takes latest where neither tag nor digest is given.
            implied = "none" if self.reference.digest else "none, so latest"
            yield ("tag", self.reference.tag or implied)
            yield ("digest", self.reference.digest or "none")
        if self.rule is not None:
            yield ("rule", _describe(self.rule))
        elif self.reason is Reason.NO_RULE:
            yield ("rule", "none")


def explain_image(image: str, config: Config, availability: Availability) -> Explanation:
    """
    Decide about *image* as an admission does for a Pod that nothing else speaks against.
    """
    reference, problem = None, ""
    try:
        reference = Reference.parse(image)
    except InvalidReferenceError as error:
        problem = str(error)
    pod = Pod(spec=PodSpec(containers=(Container(name="image", image=image),)))
    (decision,) = decide_pod(pod, config.policy, availability)
    if decision.reason is Reason.PLACEHOLDER:
        reference, problem = None, "it is listed in placeholders"
    if decision.reason is Reason.INVALID_REFERENCE and not problem:
        reference, problem = None, "the kubelet reads it as the ID of an image on its node"
    return Explanation(
        image,
        decision.outcome,
        decision.reason,
        decision.result,
        reference,
        decision.rule,
        problem,
    )


def _describe(rule: Rule) -> str:
    """
    Return *rule* in one line, leaving out what is as usual.
    """
    parts = [f"{rule.host} → {rule.project}"]
    if rule.aliases:
        parts.append(f"aliases {', '.join(rule.aliases)}")
    if rule.include != ("*",):
        parts.append(f"include {', '.join(rule.include)}")
    if rule.exclude:
        parts.append(f"exclude {', '.join(rule.exclude)}")
    if rule.when_upstream_down == "keep":
        parts.append("kept while the upstream is down")
    return "; ".join(parts)
