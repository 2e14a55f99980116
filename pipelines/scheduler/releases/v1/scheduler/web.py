"""Requests, responses, and the WSGI application that leads from one to the other."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO, cast
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from sqlalchemy.exc import IntegrityError

from scheduler.forms import Form, InvalidFormError
from scheduler.pages import frame

LARGEST_FORM = 64 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Response:
    """What is sent back."""

    status: HTTPStatus
    content_type: str
    body: bytes
    location: str | None = None


def html(page: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Answer with a page."""
    return Response(status, "text/html; charset=utf-8", page.encode())


def as_json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Answer with a JSON document."""
    return Response(status, "application/json", json.dumps(value, indent=2).encode() + b"\n")


def see_other(location: str) -> Response:
    """Send the browser on, so that reloading the page does not submit the form again."""
    return Response(HTTPStatus.SEE_OTHER, "text/plain; charset=utf-8", b"", location)


Handler = Callable[[Form], Response]
Routes = Mapping[str, Mapping[str, Handler]]


def application(routes: Routes) -> WSGIApplication:
    """Make the WSGI application of *routes*: path, then method, then handler."""

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        response = _answer(routes, environ)
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
        ]
        if response.location is not None:
            headers.append(("Location", response.location))
        start_response(f"{response.status.value} {response.status.phrase}", headers)
        return [response.body]

    return serve


def _answer(routes: Routes, environ: WSGIEnvironment) -> Response:
    methods = routes.get(environ["PATH_INFO"])
    if methods is None:
        return _problem(HTTPStatus.NOT_FOUND, "there is no such page")
    handler = methods.get(environ["REQUEST_METHOD"])
    if handler is None:
        return _problem(HTTPStatus.METHOD_NOT_ALLOWED, "this page cannot be asked that way")
    try:
        return handler(_form(environ))
    except InvalidFormError as error:
        return _problem(HTTPStatus.BAD_REQUEST, str(error))
    except IntegrityError:
        return _problem(HTTPStatus.CONFLICT, "that name is taken, or that account is gone")
    except Exception:
        log.exception("%s %s failed", environ["REQUEST_METHOD"], environ["PATH_INFO"])
        return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong on our side")


def _form(environ: WSGIEnvironment) -> Form:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > LARGEST_FORM:
        message = "that is too long"
        raise InvalidFormError(message)
    sent = cast("BinaryIO", environ["wsgi.input"]).read(length)
    try:
        return Form(parse_qs(sent.decode()))
    except UnicodeDecodeError as error:
        message = "the form must be UTF-8"
        raise InvalidFormError(message) from error


def _problem(status: HTTPStatus, message: str) -> Response:
    return html(frame(status.phrase, f"<p>{message}</p>"), status)
