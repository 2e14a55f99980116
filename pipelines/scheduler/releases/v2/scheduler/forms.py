"""What people type into the forms, checked."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from scheduler.models import NETWORKS, Draft


class InvalidFormError(ValueError):
    """A form that cannot be taken as it is; the message is for the person who sent it."""


class Form:
    """The fields of a submitted form."""

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        """Wrap *fields* as `urllib.parse.parse_qs` returns them."""
        self._fields = fields

    def optional_text(self, name: str) -> str | None:
        """Return a field that may be left empty, with the line ends of Unix."""
        return "".join(self._fields.get(name, ())).replace("\r\n", "\n").strip() or None

    def text(self, name: str) -> str:
        """Return a field that must be filled in."""
        value = self.optional_text(name)
        if value is None:
            message = f"please fill in “{name}”"
            raise InvalidFormError(message)
        return value

    def line(self, name: str) -> str:
        """Return a field that must be filled in, and with one line only."""
        value = self.text(name)
        if "\n" in value:
            message = f"“{name}” must be one line"
            raise InvalidFormError(message)
        return value

    def number(self, name: str) -> int:
        """Return a field that must be a whole number."""
        try:
            return int(self.text(name))
        except ValueError as error:
            message = f"“{name}” must be a number"
            raise InvalidFormError(message) from error

    def time(self, name: str) -> datetime:
        """Return a field that must be a date and a time; without an offset it means UTC."""
        try:
            given = datetime.fromisoformat(self.text(name))
        except ValueError as error:
            message = f"“{name}” must be a date and a time, such as 2027-01-31T09:00"
            raise InvalidFormError(message) from error
        return given.astimezone(UTC).replace(tzinfo=None) if given.tzinfo else given

    def networks(self) -> tuple[str, ...]:
        """Return the ticked networks, of which there must be one at least."""
        ticked = tuple(dict.fromkeys(self._fields.get("networks", ())))
        if not ticked or not set(ticked) <= set(NETWORKS):
            message = "please tick at least one of the networks"
            raise InvalidFormError(message)
        return ticked


def read_account(form: Form) -> str:
    """Read the name of a new account."""
    return form.text("name")


def read_draft(form: Form) -> Draft:
    """Read a new post."""
    return Draft(
        account_id=form.number("account"),
        title=form.line("title"),
        text=form.optional_text("text"),
        networks=form.networks(),
        due_at=form.time("due_at"),
    )
