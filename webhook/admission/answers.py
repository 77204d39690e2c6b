"""
Answers to reviews, remembered by what they were made from.

A cluster makes the same few hundred kinds of Pods again and again.  What `admit` returns follows
from its three arguments alone: the `Question`, the policy and what is known of Harbor.  All three
are frozen values, and the core is pure, so for equal arguments it would return the same again.
Here the question itself is the key, not something made from it: what is not in it was never
shown to the decision, and can't have changed it.  When the policy or the knowledge is another one,
all is forgotten.  The uid is the one thing in an answer that is of its review alone, and it is
written in each time.

What is remembered is bounded in number and in bytes.  Once there is no more room, only every
eighth new answer takes the place of the oldest: Pods that never come again cost nearly nothing then,
and one that does is in soon.  Failures are not remembered.

Not for several threads.
"""

from typing import Final

from msgspec.json import Encoder
from msgspec.structs import replace

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
_ONE_IN: Final = 8

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
        self._turn = 0
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
        if known := self._known.get(question):
            return known[0]
        written = write(admit(question, policy, availability))
        self._remember(question, written)
        return written

    def _go_by(self, policy: Policy, availability: Availability) -> None:
        """
        Forget all, unless *availability* is another object that says the same.
        """
        if policy is not self._policy or availability != self._availability:
            self._known.clear()
            self._bytes = 0
        self._policy, self._availability = policy, availability

    def _remember(self, question: Question, written: Written) -> None:
        if self._is_full():
            self._turn = (self._turn + 1) % _ONE_IN
            if self._turn:
                return
        # Its operations are in the bytes now; as objects they take several times as much.
        written = replace(written, admission=replace(written.admission, patch=()))
        weight = _weight(question, written)
        if weight > self._max_bytes // _MAX_SHARE:
            return
        self._known[question] = (written, weight)
        self._bytes += weight
        while len(self._known) > self._max_number or self._bytes > self._max_bytes:
            _, freed = self._known.pop(next(iter(self._known)))
            self._bytes -= freed

    def _is_full(self) -> bool:
        room = self._max_bytes - self._max_bytes // _MAX_SHARE
        return len(self._known) >= self._max_number or self._bytes > room


def _weight(question: Question, written: Written) -> int:
    """
    Return what the two take in memory, in bytes, estimated from above by their JSON.

    A string takes some 60 bytes beside its characters, an object some 40.
    """
    text = _encode(question)
    wide = 1 if text.isascii() else 4  # One character above ASCII makes a whole string wider.
    parts = 30 * text.count(b'"') + 40 * text.count(b"{")
    return 500 + wide * len(text) + parts + 300 * len(written.admission.images) + len(written.rest)
