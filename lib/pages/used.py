"""The parameters that an executed notebook used, as a table."""

from __future__ import annotations

import ast
import html
import io
import tokenize
from collections.abc import Sequence
from typing import Any

PARAMETERS, INJECTED = "parameters", "injected-parameters"


def tags_of(cell: Any) -> set[str]:
    """A cell's tags, with `-` for `_`."""
    return {tag.replace("_", "-") for tag in cell.metadata.get("tags", [])}


def parameters_table(cells: Sequence[Any]) -> str | None:
    """The table of all parameters as used, or None when a cell holds more than assignments."""
    defaults: dict[str, tuple[str, str]] = {}
    injected: dict[str, tuple[str, str]] = {}
    for cell in cells:
        tags = tags_of(cell)
        if cell.cell_type != "code" or not tags & {PARAMETERS, INJECTED}:
            continue
        found = assignments(cell.source)
        if found is None or cell.outputs:
            return None
        (injected if INJECTED in tags else defaults).update(found)
    rows, changed = [], []
    for name in {**defaults, **injected}:
        value = (injected.get(name) or defaults[name])[0]
        default, meaning = defaults.get(name, ("", ""))
        is_set = name in injected and value != default
        note = f'<span class="default">default {html.escape(default)}</span>' if default else ""
        mark = ' class="set"' if is_set else ""
        rows.append(
            f"<tr{mark}><td><code>{html.escape(name)}</code></td>"
            f"<td>{html.escape(value)}{note if is_set else ''}</td><td>{html.escape(meaning)}</td>"
            "</tr>"
        )
        changed += [f"{name} {value}"] if is_set else []
    summary = f"Parameters · {len(rows)}"
    summary += f", set for this run: {', '.join(changed)}" if changed else ", all at their defaults"
    return (
        f'<details class="parameters"><summary>{html.escape(summary)}</summary>'
        '<div class="scroll" tabindex="0" role="group" aria-label="Table of parameters">'
        "<table><thead><tr><th>parameter</th><th>value</th><th>meaning</th>"
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def assignments(source: str) -> dict[str, tuple[str, str]] | None:
    """Name → (value as text, trailing comment) of a cell of assignments; None if it holds more."""
    try:
        statements = ast.parse(source).body
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (SyntaxError, tokenize.TokenError):
        return None
    comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    found: dict[str, tuple[str, str]] = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target: ast.expr = statement.targets[0]
        elif isinstance(statement, ast.AnnAssign):
            target = statement.target
        else:
            return None
        if not isinstance(target, ast.Name) or statement.value is None:
            return None
        value = statement.value
        plain = isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value
        text = str(plain) if plain else ast.unparse(value)
        found[target.id] = (text, comments.get(statement.end_lineno or 0, ""))
    return found
