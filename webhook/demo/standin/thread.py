"""
The stand-in in a thread of its own, for code that is not asynchronous.
"""

import asyncio
import threading

from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from webhook.demo.standin.faults import Fault
from webhook.demo.standin.server import HarborStandIn


__all__ = ["ThreadedStandIn"]

T = TypeVar("T")


class ThreadedStandIn:
    """
    Run a stand-in beside the caller's thread.

        with ThreadedStandIn(HarborStandIn()) as harbor:
            harbor.set_fault(Fault.REFUSED)

    The stand-in itself is `harbor`; its attributes may be read and set from the caller's thread.
    """

    def __init__(self, harbor: HarborStandIn | None = None) -> None:
        self.harbor = harbor or HarborStandIn()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="harbor-stand-in", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.call(self.harbor.start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.call(self.harbor.__aexit__(kind, error, traceback))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    @property
    def url(self) -> str:
        """
        Return the URL to talk to.
        """
        return self.harbor.url

    def start(self) -> None:
        """
        Listen on the same port again.
        """
        self.call(self.harbor.start())

    def stop(self) -> None:
        """
        Drop all connections and give the port back.
        """
        self.call(self.harbor.stop())

    def set_fault(self, fault: Fault, project: str | None = None) -> None:
        """
        Let something go wrong.
        """
        self.call(self.harbor.set_fault(fault, project))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """
        Run *work* in the stand-in's thread and return its result.
        """
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
