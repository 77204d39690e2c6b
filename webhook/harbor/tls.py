"""
Which authorities may sign Harbor's certificate.
"""

import ssl

from pathlib import Path

from webhook.harbor.client import Cause, fail


__all__ = ["Trust"]


class Trust:
    """
    A TLS context from a CA bundle, made again when the file changes.

    Loading a bundle takes some ten milliseconds, too long to do it at every probe.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._seen: tuple[int, int, int] | None = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """
        Return the context to connect with.

        Raises:
            HarborError: where the bundle can't be read.
        """
        try:
            seen = _stamp(self._ca_file)
            if self._context is None or seen != self._seen:
                self._context = ssl.create_default_context(cafile=self._ca_file)
                self._seen = seen
        except ssl.SSLError as error:
            raise fail(Cause.CREDENTIALS, f"{self._ca_file}: holds no certificates") from error
        except OSError as error:
            raise fail(Cause.CREDENTIALS, f"{self._ca_file}: {error.strerror}") from error
        return self._context


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino
