"""
Faults of the config file.
"""

import json

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from tests.faults.scenario import Faults
from tests.faults.stage import Stage


__all__ = ["FAULTS", "changed_config"]

FAULTS: Final = Faults()


@FAULTS.named("The config is corrupted")
async def _corrupted(stage: Stage) -> str:
    return await _bad_config(stage, "harbor: [")


@FAULTS.named("The config is emptied")
async def _emptied(stage: Stage) -> str:
    return await _bad_config(stage, "")


async def _bad_config(stage: Stage, text: str) -> str:
    before = [(each.config_file, each.config_file.read_text()) for each in stage.replicas]
    try:
        async with stage.refusing():
            for replica in stage.replicas:
                replica.config_file.write_text(text)
            await stage.stays(3, hub=True, quay=True)
    finally:
        for file, content in before:
            file.write_text(content)
    return "refused; the last good one stays"


@FAULTS.named("The config is replaced (paused)")
async def _paused(stage: Stage) -> str:
    async with changed_config(stage, lambda c: c.update(paused=True)):
        down = await stage.until_kept()
        await stage.stays(1, hub=False, quay=False)
    up = await stage.until_rewritten()
    return f"left alone after {down:.1f} s, rewritten again after {up:.1f} s"


@asynccontextmanager
async def changed_config(stage: Stage, change: Callable[[dict], object]) -> AsyncIterator[None]:
    before = [(each.config_file, each.config_file.read_text()) for each in stage.replicas]
    for file, content in before:
        config = json.loads(content)
        change(config)
        file.write_text(json.dumps(config))
    try:
        yield
    finally:
        for file, content in before:
            file.write_text(content)
