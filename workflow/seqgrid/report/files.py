"""The section of a report on files: what lies beside it, and what each cell has left."""

from collections import defaultdict

from seqgrid import tables
from seqgrid.analysis import ledger
from seqgrid.report.content import Content
from seqgrid.report.markdown import blocks, count, listing, table, text
from seqgrid.report.sections import MOST_ROWS, more

UNKNOWN = "-"


def files(content: Content) -> str:
    """What lies beside the report, and the files of the cells as the tables know them."""
    rows = [[f"`{name}`", count(number)] for name, number in content.files.items()]
    note = text(
        f"Beside this report, `report.md`, and `report.html`, the same as one page. Schema version "
        f"{tables.SCHEMA_VERSION}: every number above stands in these tables, and each column "
        "carries its meaning in the field's metadata."
    )
    drawn = [f"`figures/{name}.svg`" for name in content.figures]
    figures = f"Figures, each also as PNG: {listing(drawn, len(drawn))}." if drawn else ""
    return blocks(
        note, table(["table", "rows"], rows), text(figures), _cells(content), _named(content)
    )


def _cells(content: Content) -> str:
    """Checkpoints and results of the cells, by model and task."""
    if not content.parts:
        return ""
    parts: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for part in content.parts:
        parts[part["model"], part["task"]].append(part)
    places: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for cell in content.cells:
        if ledger.standing(cell) != "skipped":
            places[cell["model"], cell["task"]].append(cell)
    body = []
    for (model, task), cells in places.items():
        saved = [p for p in parts[model, task] if p["last_step_steps"]]
        trained = {ledger.identity(p) for p in saved}
        bare = [c for c in cells if ledger.identity(c) not in trained]
        unscored = [c for c in cells if not c["evaluated"]]
        folders = {"/".join(c["path"].split("/")[:-2]) for c in cells}
        body.append(
            [
                *(model, task, f"`{folders.pop()}/`" if len(folders) == 1 else UNKNOWN),
                *(str(len(cells)), str(len(saved)), str(len(bare))),
                *(str(len(cells) - len(unscored)), str(len(unscored))),
            ]
        )
    header = ["model", "task", "folder", "cells", "checkpoints", "cells without", "results"]
    return blocks(
        text(
            "Files of the cells, below `results/cells/`, as the tables know them: of each part of "
            "a training `checkpoint.pt`, `history.parquet` and `outcome.json`, and of each scored "
            "cell an `evaluation-*.parquet`. Whether they are still what they were, "
            "`snakemake status` checks."
        ),
        table([*header, "cells without result"], body[:MOST_ROWS], left=3),
        more(body, "parts.parquet"),
    )


def _named(content: Content) -> str:
    """The files that an imported study names, those of open runs first."""
    rows = sorted(content.inventory, key=lambda r: r["outcome"] == "finished")
    if not rows:
        return ""
    body = []
    for row in rows[:MOST_ROWS]:
        when = row["modified_at"]
        body.append(
            [
                *(row["model"], row["task"], str(row["seqlen_tokens"]), str(row["seed"])),
                row["status"] or UNKNOWN,
                {True: "yes", False: "NO", None: "not said"}[row["result_valid"]],
                f"{when:%Y-%m-%d %H:%M}" if when else UNKNOWN,
                f"`{row['file']}`" if row["file"] else UNKNOWN,
                row["note"] or "",
            ]
        )
    header = ["model", "task", "length", "seed", "status", "result can be read"]
    header += ["last written", "file", "note"]
    kept = [i for i in range(len(header)) if i < 8 or any(row[i] for row in body)]
    header, *body = ([row[i] for i in kept] for row in (header, *body))
    return blocks(
        text(
            "Files that its study names, with the state it gives them; those that it does not "
            "call finished come first:"
        ),
        table(header, body, left=2, words=len(header) - 4),
        more(rows, "inventory.parquet"),
    )
