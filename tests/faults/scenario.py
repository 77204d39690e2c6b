"""
What a fault is: a name, and a function that breaks something, looks on, and puts it right again.

A function that returns has seen what it expects, and says what; whether a Pod was refused is judged
for all.  One that can't break anything on this machine raises `NotRun`.
"""

from collections.abc import Awaitable, Callable

from tests.faults.stage import Stage


__all__ = ["Faults", "NotRun", "Scenario"]

Scenario = Callable[[Stage], Awaitable[str]]


class NotRun(Exception):  # noqa: N818 - it is no error.
    """
    The fault can't be made here; the message says why.
    """


class Faults(dict[str, Scenario]):
    """
    Faults by their name.
    """

    def named(self, name: str) -> Callable[[Scenario], Scenario]:
        """
        Return a decorator that takes a function up under *name*.
        """

        def keep(function: Scenario) -> Scenario:
            self[name] = function
            return function

        return keep
