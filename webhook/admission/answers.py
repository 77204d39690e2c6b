"""
Answers to reviews, remembered by what they were made from.

A cluster makes the same few hundred kinds of Pods again and again.  What `admit` returns follows
from its three arguments alone: the `Question`, the policy and what is known of Harbor.  All three
are frozen values, and the core is pure, so for equal arguments it would return the same again.
Here the question itself is the key, not something made from it: what is not in it was never
shown to the decision, and can't have changed it.  When the policy or the knowledge is another one,
all is forgotten.  The uid is the one thing in an answer that is of its review alone, and it is
written in each time.

What is remembered is bounded in number and in bytes.  The oldest goes first: whatever a cluster
still makes is back after one decision.  Failures are not remembered.

Not for several threads.
"""

from typing import Final

from msgspec.json import Encoder

from webhook.admission.admit import Question, admit, leave_alone, question_of, turn_away
from webhook.admission.respond import Answer, Written, answer, write, write_plainly
from webhook.admission.review import Review
from webhook.image.availability import UNKNOWN, Availability
from webhook.pod.decision import Mode, Policy


__all__ = ["MAX_BYTES", "MAX_NUMBER", "Answers"]

MAX_NUMBER: Final = 1024
"""
The most answers that are remembered.
"""

MAX_BYTES: Final = 4 * 1024 * 1024
"""
The most bytes of memory that these take.
"""

# One huge Pod must not push out what all others need.
_MAX_SHARE: Final = 16

_encode: Final = Encoder().encode


class Answers:
    """
    Answers reviews; a review like one before gets the answer of that one.
    """

    def __init__(self, max_number: int = MAX_NUMBER, max_bytes: int = MAX_BYTES) -> None:
        """
        Begin with nothing remembered.
        """
        self._max_number, self._max_bytes = max_number, max_bytes
        self._known: dict[Question, tuple[Written, int]] = {}
        self._bytes = 0
        self._policy: Policy | None = None
        self._availability: Availability = UNKNOWN

    def to(self, review: Review, policy: Policy, availability: Availability, mode: Mode) -> Answer:
        """
        Answer *review*, which came in for a namespace in *mode*; whatever happens, allow the Pod.
        """
        if policy.mode == "audit":
            mode = "audit"
        try:
            written = self._written(review, policy, availability, mode)
        except Exception as error:  # noqa: BLE001 - a Pod is never refused because of us.
            written = write_plainly(leave_alone(review, mode, error))
        return answer(review, written)

    def _written(
        self, review: Review, policy: Policy, availability: Availability, mode: Mode
    ) -> Written:
        if away := turn_away(review, mode):
            return write(away)
        if policy is not self._policy or availability is not self._availability:
            self._go_by(policy, availability)
        question = question_of(review, policy, mode)
        known = self._known.get(question)
        if known is None:
            known = self._remember(question, write(admit(question, policy, availability)))
        return known[0]

    def _go_by(self, policy: Policy, availability: Availability) -> None:
        """
        Forget all, unless *availability* is another object that says the same.
        """
        if policy is not self._policy or availability != self._availability:
            self._known.clear()
            self._bytes = 0
        self._policy, self._availability = policy, availability

    def _remember(self, question: Question, written: Written) -> tuple[Written, int]:
        known = (written, _weight(question, written))
        if known[1] <= self._max_bytes // _MAX_SHARE:
            while self._known and (
                len(self._known) >= self._max_number or self._bytes + known[1] > self._max_bytes
            ):
                _, weight = self._known.pop(next(iter(self._known)))
                self._bytes -= weight
            self._known[question] = known
            self._bytes += known[1]
        return known


def _weight(question: Question, written: Written) -> int:
    """
    Return more than what the two take in memory, in bytes: objects take up to four times their JSON.
    """
    return (
        1000 + 4 * len(_encode(question)) + 500 * len(written.admission.images) + len(written.rest)
    )
