"""Tables as text and as HTML, for what prints itself in a terminal and in a notebook."""

from collections.abc import Sequence
from html import escape


def text(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell; those in `right` are flush right."""
    every = [head, *rows]
    widths = [max(len(row[column]) for row in every) for column in range(len(head))]
    lines = [
        "  ".join(
            f"{cell:>{width}}" if column in right else f"{cell:<{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in every
    ]
    return "\n".join(line.rstrip() for line in lines)


def html(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[int] = (),
    strong: int | None = None,
) -> str:
    """The same as an HTML table, its title above; the row `strong` is in bold face."""

    def line(tag: str, cells: Sequence[str], style: str = "") -> str:
        aligned = (
            f'<{tag} style="padding:2px 8px;white-space:nowrap;'
            f'text-align:{"right" if column in right else "left"}{style}">'
            f"{escape(cell)}</{tag}>"
            for column, cell in enumerate(cells)
        )
        return f"<tr>{''.join(aligned)}</tr>"

    body = "".join(
        line("td", row, ";font-weight:bold" if number == strong else "")
        for number, row in enumerate(rows)
    )
    return (
        f'<div style="padding:2px 8px">{escape(caption)}</div><table>'
        f"<thead>{line('th', head)}</thead><tbody>{body}</tbody></table>"
    )
