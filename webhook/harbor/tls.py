"""
Which authorities may sign Harbor's certificate.
"""

import ssl

from pathlib import Path

from webhook.harbor.client import Cause, fail
from webhook.process.metrics import FileMetrics
from webhook.process.mounted_file import MountedFile


__all__ = ["Trust", "trust"]


class Trust:
    """
    A TLS context of a CA bundle, made again when the file changes; none for the system's authorities.

    Loading a bundle takes some ten milliseconds, too long to do it at every probe.
    """

    def __init__(self, ca_file: Path | None, metrics: FileMetrics | None = None) -> None:
        self._file: MountedFile[ssl.SSLContext] | None = None
        if ca_file is not None:
            self._file = MountedFile("ca", ca_file, trust, metrics=metrics)
        elif metrics is not None:
            metrics.refused.labels("ca").set(0)

    async def context(self) -> ssl.SSLContext | None:
        """
        Return the context to connect with; a bundle that can't be used leaves the last good one.

        None stands for the system's authorities, which aiohttp has loaded when it was imported; a
        second time takes 1 MiB and, while reviews are answered, 50 ms.

        Raises:
            HarborError: where there is none yet.
        """
        if self._file is None:
            return None
        await self._file.look()
        if self._file.value is None:
            raise fail(Cause.CREDENTIALS, self._file.refused)
        return self._file.value


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """
    Return a TLS context that trusts the authorities in *ca_file*, or else those of the system.

    Raises:
        HarborError: where the file can't be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise fail(Cause.CREDENTIALS, f"{ca_file}: holds no certificates") from error
    except OSError as error:
        raise fail(Cause.CREDENTIALS, f"{ca_file}: {error.strerror}") from error
