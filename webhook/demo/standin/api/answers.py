"""
How Harbor's API puts its answers.
"""

import json

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from webhook.demo.standin.routing import Call, Refusal


__all__ = [
    "bad_request",
    "check_cron",
    "conditions_of",
    "created",
    "ok",
    "page_of",
    "shown",
    "wrong_type",
]

_PAGE_SIZE: Final = 10
_CRON_FIELDS: Final = 6
_MAX_PAGE_SIZE: Final = 100
_GO_TYPES: Final = {bool: "bool", int: "number", float: "number", str: "string"}


def shown(value: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    """
    Answer 200 with JSON; without a charset, as Harbor does where all went well.
    """
    content = json.dumps(value).encode()
    return web.Response(
        body=content, headers={"Content-Type": "application/json", **(headers or {})}
    )


def ok() -> web.Response:
    """
    Answer 200 with nothing, as Harbor does after a change.
    """
    return web.Response()


def created(location: str, body: Any = None) -> web.Response:
    """
    Answer 201 and say where.
    """
    answer = web.Response(status=201) if body is None else shown(body)
    answer.set_status(201)
    answer.headers["Location"] = location
    return answer


def bad_request(message: str) -> Refusal:
    """
    Return the 400 that Harbor gives to a value that it checked.
    """
    return Refusal(400, "BAD_REQUEST", message)


def wrong_type(what: str, field: str, value: Any, wanted: str) -> Refusal:
    """
    Return the 422 that Harbor gives to a value of the wrong JSON type.
    """
    got = _GO_TYPES.get(type(value), "object")
    return Refusal(
        422,
        "UNPROCESSABLE_ENTITY",
        f'validation failure list:\nparsing {what} body from "" failed, because json: '
        f"cannot unmarshal {got} into Go struct field {field} of type {wanted}",
    )


def conditions_of(call: Call) -> dict[str, str]:
    """
    Return what ``q`` asks for, such as ``name=a,Level=project``.
    """
    pairs = (condition.partition("=") for condition in call.request.query.get("q", "").split(","))
    return {key: value for key, _, value in pairs if key}


def check_cron(cron: str, of: str) -> None:
    """
    Refuse a schedule that has not six fields; *of* says what it is for.
    """
    fields = cron.split()
    if len(fields) != _CRON_FIELDS:
        found = f"found {len(fields)}: [{' '.join(fields)}]"
        raise bad_request(
            f"invalid cron string for scheduled {of}: {cron}, error: expected exactly 6 fields,"
            f" {found}"
        )


def page_of(
    call: Call, items: Sequence[Mapping[str, Any]], *, by_name: bool = True
) -> web.Response:
    """
    Answer with one page of *items*, after ``q=name=…``; other keys in ``q`` are passed over.
    """
    query = call.request.query
    for key, value in conditions_of(call).items():
        if not by_name:
            break
        if key == "name" and value.startswith("~"):
            items = [item for item in items if value[1:] in item["name"]]
        elif key == "name" and value:
            items = [item for item in items if item["name"] == value]
    if name := query.get("name"):
        items = [item for item in items if name in item["name"]]
    page, size = int(query.get("page", "1")), int(query.get("page_size", str(_PAGE_SIZE)))
    if size > _MAX_PAGE_SIZE:
        raise Refusal(
            422,
            "UNPROCESSABLE_ENTITY",
            "validation failure list:\npage_size in query should be less than or equal to 100",
        )
    headers = {"X-Total-Count": str(len(items))}
    links: list[str] = []
    path = call.request.path
    if page > 1 and (page - 1) * size < len(items):
        links.append(f'<{path}?page={page - 1}&page_size={size}>; rel="prev"')
    if page * size < len(items):
        links.append(f'<{path}?page={page + 1}&page_size={size}>; rel="next"')
    if links:
        headers["Link"] = " , ".join(links)
    return shown(items[(page - 1) * size : page * size], headers)
