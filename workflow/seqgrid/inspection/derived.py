"""What follows from the tensors of all files: which are trained, and sums over them."""

import math
from collections import defaultdict
from collections.abc import Iterable

from seqgrid.inspection.record import ALL, Inspection


def decide(found: Inspection) -> None:
    """Tell constants from what was trained: the same bits in every file of the series."""
    files_of = defaultdict(int)
    for row in found.inventory:
        files_of[row["series"]] += row["status"] == "read"
    moved, compared = set(), defaultdict(int)
    for first, _, made in found.changes:
        compared[first["series"]] += 1
        moved |= {(first["series"], name) for name, c in made.items() if not c.identical}
    for row in found.tensors:
        count, series = files_of[row["series"]], row["series"]
        unbroken = count > 1 and compared[series] == count - 1
        if row["kind"] == "parameter" and unbroken and (series, row["tensor"]) not in moved:
            row["kind"] = "constant"
            row["because"] = f"the same bits in all {count} files: not trained between them"


def components(found: Inspection, depth: int) -> None:
    """Parameters by the first parts of their names, after what all names have in common."""
    shared = common({row["tensor"] for row in found.tensors})
    for row in found.tensors:
        row["component"] = ".".join(row["tensor"].split(".")[shared : shared + depth])
    for row in found.inventory:
        if row["status"] != "read" or any(
            c["structure"] == row["structure"] for c in found.components
        ):
            continue
        own = [t for t in found.tensors if t["file"] == row["file"] and t["kind"] != "tied"]
        sizes: dict[str, list[int]] = {}
        for tensor in own:
            entry = sizes.setdefault(tensor["component"], [0, 0, 0, 0])
            kind = ("parameter", "constant", "buffer").index(tensor["kind"])
            entry[kind] += tensor["elements"]
            entry[3] += 1
        total = sum(entry[0] for entry in sizes.values())
        for name, (trained, constant, buffers, count) in sizes.items():
            found.components.append(
                {
                    "structure": row["structure"],
                    "component": name,
                    "parameters": trained,
                    "share": trained / total if total else None,
                    "constants": constant,
                    "buffers": buffers,
                    "tensors": count,
                }
            )


def common(names: Iterable[str]) -> int:
    """Parts that all names begin with; each keeps at least one part after them."""
    split = [name.split(".") for name in names]
    if len(split) < 2:
        return 0
    number = 0
    while all(len(parts) > number + 1 for parts in split) and len({p[number] for p in split}) == 1:
        number += 1
    return number


def trained(found: Inspection, file: str) -> list[dict]:
    """Rows of a file's tensors that count: no buffers, no constants, nothing twice."""
    return [t for t in found.by_file[file] if t["kind"] == "parameter" and t.get("finite")]


def evolution(found: Inspection) -> None:
    """Statistics of each file over all its trained numbers, each weighing the same."""
    for row in found.inventory:
        own = trained(found, row["file"])
        if not own:
            continue
        count = sum(t["finite"] for t in own)
        mean = sum(t["finite"] * t["mean"] for t in own) / count
        square = sum(t["l2"] ** 2 for t in own)
        low, high = min(own, key=lambda t: t["minimum"]), max(own, key=lambda t: t["maximum"])
        found.evolution.append(
            {
                "file": row["file"],
                "series": row["series"],
                "step": row["step"],
                "parameters": sum(t["elements"] for t in own),
                "mean": mean,
                "std": math.sqrt(max(0.0, square / count - mean**2)),
                "abs_mean": sum(t["finite"] * t["abs_mean"] for t in own) / count,
                "l2": math.sqrt(square),
                "zeros": sum(t["zeros"] for t in own) / count,
                "minimum": low["minimum"],
                "minimum_tensor": low["tensor"],
                "maximum": high["maximum"],
                "maximum_tensor": high["tensor"],
            }
        )


def drift(found: Inspection) -> None:
    """Relative L2 change between neighbours: all trained numbers together, and by component."""
    for first, second, made in found.changes:
        rows = {t["tensor"]: t for t in found.by_file[second["file"]]}
        groups = defaultdict(list)
        for name, changed in made.items():
            if rows[name]["kind"] == "parameter" and math.isfinite(changed.squared):
                groups[ALL].append(changed)
                groups[rows[name]["component"]].append(changed)
        for component, parts in groups.items():
            squared, before, after, product = (
                sum(getattr(part, key) for part in parts)
                for key in ("squared", "before", "after", "product")
            )
            known = first["step"] is not None and second["step"] is not None
            steps = second["step"] - first["step"] if known else None
            relative = math.sqrt(squared / before) if before else None
            norms = math.sqrt(before) * math.sqrt(after)
            found.drift.append(
                {
                    "series": first["series"],
                    "first": first["file"],
                    "second": second["file"],
                    "first_step": first["step"],
                    "second_step": second["step"],
                    "component": component,
                    "l2_change": math.sqrt(squared),
                    "relative": relative,
                    "per_1000_steps": None
                    if relative is None or not steps
                    else relative * 1000 / steps,
                    "cosine": product / norms if norms else None,
                }
            )
