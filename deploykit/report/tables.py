"""Tables of plain text: columns where they fit, blocks where the terminal is too narrow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from deploykit.report.style import Paint
from deploykit.report.words import Tone
from deploykit.stage import Measure

__all__ = ["Row", "columns", "end_table"]

GAP = 2
Row = tuple[Sequence[str], Tone]
HEAD = ("host", "what", "name", "wanted", "is", "")


def columns(head: Sequence[str], rows: Iterable[Row], paint: Paint, width: int) -> list[str]:
    """
    Return the lines of a table.

    Args:
        head: the names of the columns.
        rows: cells, and the tone of the whole row.
        paint: colours, or not.
        width: columns of the terminal.
    """
    kept = list(rows)
    table = [head, *(cells for cells, _ in kept)]
    widths = [max(len(cells[i]) for cells in table) for i in range(len(head))]
    if sum(widths) + GAP * (len(head) - 1) > width:
        return _blocks(head, kept, paint)
    lines = [paint(_joined(head, widths), "faint")]
    lines += [paint(_joined(cells, widths), tone) for cells, tone in kept]
    return lines


def end_table(table: Mapping[str, Sequence[Measure]], paint: Paint, width: int) -> list[str]:
    """Return what was measured on each host, *wanted* beside *is*; no lines if nothing was."""
    rows = [_row(host, measure) for host, measures in table.items() for measure in measures]
    return columns(HEAD, rows, paint, width) if rows else []


def _row(host: str, measure: Measure) -> Row:
    wanted, found = measure.wanted or "-", measure.is_ or "-"
    cells = (host, measure.kind, measure.name, wanted, found, _says(measure))
    return cells, _tone(measure)


def _says(measure: Measure) -> str:
    if not measure.ok:
        return "NOT as wanted"
    return "ok" if measure.proven else "ok, unproven"


def _tone(measure: Measure) -> Tone:
    if not measure.ok:
        return "bad"
    return "good" if measure.proven else "warning"


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return (" " * GAP).join(padded).rstrip()


def _blocks(head: Sequence[str], rows: Iterable[Row], paint: Paint) -> list[str]:
    """Return one short line a cell, an empty one between rows."""
    name_width = max(len(name) for name in head)
    lines: list[str] = []
    for cells, tone in rows:
        if lines:
            lines.append("")
        lines += [
            paint(f"{name.ljust(name_width)}  {cell}".rstrip(), tone)
            for name, cell in zip(head, cells, strict=True)
            if cell
        ]
    return lines
