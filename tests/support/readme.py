"""
The commands that README tells people to run.
"""

import re
import shlex

from pathlib import Path
from typing import Final


__all__ = ["README", "commands"]

README: Final = (Path(__file__).parents[2] / "README.md").read_text()


def commands(*beginning: str) -> list[list[str]]:
    """
    Return the words of each command that begins so, in README's order, without comments.
    """
    blocks = "\n".join(re.findall(r"```console\n(.*?)```", README, re.DOTALL))
    lines = blocks.replace("\\\n", "").splitlines()
    split = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [words for words in split if words[: len(beginning)] == list(beginning)]
