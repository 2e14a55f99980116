"""
A visitor of an I Hate Money site, working its pages the way a browser would.

Everything goes through the pages' own forms: they are fetched, filled in and sent back with the
hidden fields they came with, so the session cookie and the CSRF token are the site's. Bills are
read back through the page's own "export" link. Nothing here depends on the site's version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from html import unescape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Self

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

__all__ = ["Bill", "IHateMoney", "Project", "SiteError"]

FieldValue = str | list[str]
Attributes = list[tuple[str, str | None]]


class SiteError(AssertionError):
    """The site answered with something other than what a visitor would expect."""


@dataclass(frozen=True)
class Project:
    """A shared budget and the private code that opens it."""

    id: str
    code: str
    email: str = "treasurer@example.com"


@dataclass(frozen=True, order=True)
class Bill:
    """One expense, as its form asks for it and as the export gives it back."""

    when: date
    what: str
    payer: str
    amount: Decimal
    owers: tuple[str, ...]

    def __post_init__(self) -> None:
        """Put the owers into one order: the site does not keep theirs."""
        object.__setattr__(self, "owers", tuple(sorted(self.owers)))


@dataclass
class Form:
    """One HTML form: what it would send if nothing were changed, and what its lists offer."""

    action: str
    values: dict[str, FieldValue] = field(default_factory=dict)
    choices: dict[str, dict[str, str]] = field(default_factory=dict)

    def offer(self, name: str, label: str, value: str) -> None:
        """Note that the list *name* offers *label*, sent as *value*."""
        self.choices.setdefault(name, {})[label] = value

    def choose(self, name: str, label: str) -> str:
        """Return what to send in the list *name* for the choice a person reads as *label*."""
        offered = self.choices.get(name, {})
        if label not in offered:
            msg = f"{name!r} does not offer {label!r}, only {sorted(offered)}"
            raise SiteError(msg)
        return offered[label]


class FormReader(HTMLParser):
    """Collects the forms of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._form: Form | None = None
        self._select = ""
        self._choice: tuple[str, str] | None = None
        self._label: list[str] = []

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        """Open a form, or note a field of the one that is open."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(action=given.get("action", ""))
            self.forms.append(self._form)
        elif self._form is None:
            return
        elif tag == "input" and given.get("type") == "checkbox":
            self._read_checkbox(self._form, given)
        elif tag == "input" and "name" in given and given.get("type") != "submit":
            self._form.values[given["name"]] = given.get("value", "")
        elif tag == "select":
            self._select = given.get("name", "")
        elif tag == "option" and self._select:
            self._read_option(self._form, given)

    def _read_checkbox(self, form: Form, given: Mapping[str, str]) -> None:
        name, value = given.get("name", ""), given.get("value", "y")
        ticked = form.values.setdefault(name, [])
        if "checked" in given and isinstance(ticked, list):
            ticked.append(value)
        self._choice, self._label = (name, value), []

    def _read_option(self, form: Form, given: Mapping[str, str]) -> None:
        value = given.get("value", "")
        if "selected" in given or self._select not in form.values:
            form.values[self._select] = value
        self._choice, self._label = (self._select, value), []

    def handle_data(self, data: str) -> None:
        """Gather the words beside the choice that is open."""
        if self._choice is not None:
            self._label.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Close a form, a list, or the words beside a choice."""
        if tag in {"option", "label"} and self._choice is not None and self._form is not None:
            name, value = self._choice
            self._form.offer(name, "".join(self._label).strip(), value)
            self._choice = None
        elif tag == "select":
            self._select = ""
        elif tag == "form":
            self._form = None


class IHateMoney:
    """One visitor with one cookie jar, at the site served under *url*."""

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        self._http = httpx.Client(
            base_url=url,
            timeout=timeout,
            follow_redirects=True,
            headers={"Accept-Language": "en"},
            trust_env=False,
        )

    def __enter__(self) -> Self:
        """Open the connection pool."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection pool."""
        self._http.close()

    def is_up(self) -> bool:
        """Tell whether the site answers its health check."""
        try:
            return self._http.get("/healthcheck").text == "OK"
        except httpx.TransportError:
            return False

    def create_project(self, project: Project, members: Iterable[str] = ()) -> None:
        """Make *project* on the "create" page, which signs in, then add its *members*."""
        filled = {
            "id": project.id,
            "name": project.id,
            "password": project.code,
            "contact_email": project.email,
        }
        page = self._send("/create", filled)
        if page.url.path != f"/{project.id}/":
            raise _unexpected(page, f"the new project {project.id!r}")
        for member in members:
            self.add_member(project, member)

    def sign_in(self, project: Project) -> None:
        """Enter the private code; a visitor who is already in is let through."""
        page = self._get(f"/authenticate?project_id={project.id}")
        if page.url.path == "/authenticate":
            page = self._send(str(page.url), {"id": project.id, "password": project.code})
        if page.url.path != f"/{project.id}/":
            raise _unexpected(page, f"the bills of {project.id!r}")

    def add_member(self, project: Project, name: str) -> None:
        """Add a participant on the page made for it."""
        page = self._send(f"/{project.id}/members/add", {"name": name})
        if f"{name} has been added" not in page.text:
            raise _unexpected(page, f"{name!r} among the participants")

    def add_bill(self, project: Project, bill: Bill) -> None:
        """Add *bill*; it counts as written only once the site says so."""
        address = f"/{project.id}/add"
        form = self._form(address)
        filled: dict[str, FieldValue] = {
            "date": bill.when.isoformat(),
            "what": bill.what,
            "amount": str(bill.amount),
            "payer": form.choose("payer", bill.payer),
            "payed_for": [form.choose("payed_for", ower) for ower in bill.owers],
        }
        page = self._submit(address, form, filled)
        if "The bill has been added" not in page.text:
            raise _unexpected(page, f"the bill {bill.what!r}")

    def bills(self, project: Project) -> list[Bill]:
        """Return every bill of *project*, in order of date and name."""
        answer = self._get(f"/{project.id}/export/bills.json")
        if not answer.headers["content-type"].startswith("application/json"):
            raise _unexpected(answer, f"the exported bills of {project.id!r}")
        return sorted(
            Bill(
                when=date.fromisoformat(row["date"]),
                what=row["what"],
                payer=row["payer_name"],
                amount=Decimal(str(row["amount"])),
                owers=tuple(row["owers"]),
            )
            for row in answer.json()
        )

    def bill_titles(self, project: Project) -> list[str]:
        """Return what the bills on the project's front page are for, newest first."""
        page = self._get(f"/{project.id}/")
        return [unescape(found) for found in _TITLE.findall(page.text)]

    def _get(self, address: str) -> httpx.Response:
        page = self._http.get(address)
        if page.is_error:
            raise _unexpected(page, "a page")
        return page

    def _form(self, address: str) -> Form:
        page = self._get(address)
        reader = FormReader()
        reader.feed(page.text)
        for form in reader.forms:
            target = page.url.join(form.action)
            if target.path == page.url.path and "csrf_token" in form.values:
                return form
        raise _unexpected(page, "a form that is sent back to its own page")

    def _send(self, address: str, filled: Mapping[str, FieldValue]) -> httpx.Response:
        return self._submit(address, self._form(address), filled)

    def _submit(self, address: str, form: Form, filled: Mapping[str, FieldValue]) -> httpx.Response:
        unknown = filled.keys() - form.values.keys()
        if unknown:
            msg = f"the form at {address} has no field {sorted(unknown)}"
            raise SiteError(msg)
        page = self._http.post(address, data={**form.values, **filled})
        if page.is_error:
            raise _unexpected(page, "a page")
        return page


_TITLE = re.compile(r'<tr owers="[^"]*" payer="\d+">(?:.*?<td>){3}(.*?)</td>', re.DOTALL)
_NOT_WORDS = re.compile(r"<head>.*?</head>|<script.*?</script>|<[^>]*>", re.DOTALL)


def _unexpected(page: httpx.Response, wanted: str) -> SiteError:
    words = " ".join(_NOT_WORDS.sub(" ", page.text).split())
    return SiteError(f"{page.url} ({page.status_code}): expected {wanted}, got: {words[:400]}")
