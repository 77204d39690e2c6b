"""
Answers of an API server as they come in, for tests without one.
"""

import json


class Response:
    """
    An answer that comes in pieces.
    """

    def __init__(self, body, status=200, piece=65536):
        self.body = body
        self.status = status
        self.headers = Headers()
        self.piece = piece

    @property
    def content(self):
        return self

    async def iter_any(self):
        for start in range(0, len(self.body), self.piece):
            yield self.body[start : start + self.piece]


class Headers:
    """
    None.
    """

    def getall(self, name, default):
        return default


def as_kubernetes_writes(body):
    """
    Return JSON in which `<` takes six bytes.
    """
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").encode()
