"""`deploykit`, and `python -m deploykit`: the one place where errors become exit codes."""

import io
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave with its exit code."""
    _write_anything()
    from deploykit.cli.app import app
    from deploykit.errors import DeploykitError

    try:
        app(prog_name="deploykit")
    except DeploykitError as error:
        _report(error)
        sys.exit(error.exit_code)


def _write_anything() -> None:
    """Let no character that a terminal's encoding lacks stop a deploy."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _report(error: BaseException) -> None:
    from deploykit.report.ci import annotation
    from deploykit.report.emit import emit
    from deploykit.report.failure import explain
    from deploykit.report.style import Paint

    text = explain(error)
    emit(sys.stderr, f"{Paint(sys.stderr)(text, 'bad')}\n{annotation(text)}")


if __name__ == "__main__":
    main()
