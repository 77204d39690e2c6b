"""
The promises, and the faults that would break them, as `mutations.toml` lists them.
"""

import tomllib

from dataclasses import dataclass
from pathlib import Path
from typing import Final


__all__ = ["ROOT", "Mutation", "Promise", "read"]

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutation:
    """
    A fault, as a small change to one file of the product, and the tests that notice it.
    """

    fault: str
    file: str
    find: str
    replace: str
    tests: list[str]

    def applied_to(self, text: str) -> str:
        """
        Return *text* with the fault in it.

        Raises:
            ValueError: if what is to be changed does not stand there exactly once.
        """
        if text.count(self.find) != 1:
            raise ValueError(f"{self.file}: {text.count(self.find)} times, not once: {self.find}")
        return text.replace(self.find, self.replace)


@dataclass(frozen=True)
class Promise:
    """
    One sentence, and what would break it.
    """

    sentence: str
    what: str
    mutations: list[Mutation]


def read() -> list[Promise]:
    """
    Return all promises, in their order.
    """
    listed = tomllib.loads((Path(__file__).parent / "mutations.toml").read_text(encoding="utf-8"))
    return [
        Promise(each["sentence"], each["what"], [Mutation(**m) for m in each["mutation"]])
        for each in listed["promise"]
    ]
