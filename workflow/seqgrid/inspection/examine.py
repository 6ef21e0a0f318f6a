"""A folder of checkpoints, read file by file: never more than two of them at once."""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seqgrid.inspection import contents, files
from seqgrid.inspection.files import Place
from seqgrid.inspection.record import Inspection

ALL = ""  # component that stands for all of them


def examine(folder: Path, depth: int = 1) -> Inspection:
    """Everything that the files of a folder say.

    depth: parts of a tensor's name that make its component.
    """
    found = Inspection(folder.resolve().name)
    places = files.find(folder)
    found.weightless = files.weightless(folder)
    for place in places:
        found.inventory.append(_row(place))
    order = sorted(range(len(places)), key=lambda i: _order(found.inventory[i], i))
    found.inventory = [found.inventory[i] for i in order]
    before: tuple[dict, Mapping[str, Any]] | None = None
    for row, place in zip(found.inventory, [places[i] for i in order], strict=True):
        if row["status"] != "read":
            continue
        try:
            weights = contents.of(files.load(place.path), place.path).weights
        except (files.Refused, files.Damaged, OSError) as problem:  # it has changed since
            row |= {"status": "damaged", "reason": f"changed while it was read: {problem}"}
            continue
        _measure(found, row, weights)
        if before and before[0]["series"] == row["series"]:
            _compare(found, before[0], row, before[1], weights)
        before = row, weights
    before = None
    _decide(found)
    _components(found, depth)
    _evolution(found)
    _drift(found)
    return found


def _order(row: dict, number: int) -> tuple:
    at = row["step"] if row["step"] is not None else row["epoch"]
    return row["series"], at is None, at or 0, number


def _row(place: Place) -> dict:
    """The line of the inventory about a file; its tensors are looked at later."""
    from seqgrid.inspection import tensors

    step, epoch = files.from_name(place.name)
    row = {
        "file": place.name,
        "series": place.series,
        "status": "read",
        "reason": "",
        "file_bytes": place.path.stat().st_size,
        "sha256": "",
        "step": step,
        "step_from": "file name" if step is not None else "",
        "epoch": epoch,
        "weights": "",
        "copies": [],
        "tensors": None,
        "elements": None,
        "tensor_bytes": None,
        "dtypes": {},
        "structure": "",
        "optimiser_tensors": None,
        "holds": {},
        "validation": "",
        "cell": "",
        "note": "",
    }
    try:
        row["sha256"] = files.digest(place.path)
        found = contents.of(files.load(place.path), place.path)
    except files.Refused as problem:
        return row | {"status": "refused", "reason": str(problem)}
    except files.Damaged as problem:
        return row | {"status": "damaged", "reason": str(problem)}
    except OSError as problem:
        return row | {"status": "damaged", "reason": problem.strerror or str(problem)}
    if found.step is not None:
        if step not in (None, found.step):
            row["note"] = f"the name says step {step}"
        row |= {"step": found.step, "step_from": "content"}
    row |= {
        "epoch": found.epoch if found.epoch is not None else epoch,
        "holds": found.holds,
        "validation": found.validation,
        "cell": found.cell,
        "copies": found.copies,
        "optimiser_tensors": found.optimiser_tensors,
    }
    if not found.weights:
        return row | {"status": "no weights", "reason": "no dictionary of tensors in it"}
    dtypes: dict[str, int] = defaultdict(int)
    for tensor in found.weights.values():
        dtypes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    shapes = sorted((name, list(tensor.shape)) for name, tensor in found.weights.items())
    return row | {
        "weights": found.where or "the file itself",
        "tensors": len(found.weights),
        "elements": sum(t.numel() for t in found.weights.values()),
        "tensor_bytes": tensors.stored_bytes(found.weights),
        "dtypes": dict(dtypes),
        "structure": hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:8],
    }


def _measure(found: Inspection, row: dict, weights: Mapping[str, Any]) -> None:
    """Statistics of every tensor of a file."""
    from seqgrid.inspection import tensors

    again = tensors.tied(weights)
    for name, tensor in weights.items():
        because = tensors.by_name(name, tensor)
        kind = "buffer" if because else "parameter"
        if name in again:
            kind, because = "tied", f"shares its memory with {again[name]}"
        measured = tensors.measurable(tensor) and kind != "tied"
        found.tensors.append(
            {
                "file": row["file"],
                "series": row["series"],
                "step": row["step"],
                "tensor": name,
                "component": ALL,
                "kind": kind,
                "because": because,
                "dtype": str(tensor.dtype).removeprefix("torch."),
                "shape": list(tensor.shape),
                "elements": tensor.numel(),
                **(asdict(tensors.statistics(tensor)) if measured else {}),
            }
        )


def _compare(found: Inspection, first: dict, second: dict, a: Mapping, b: Mapping) -> None:
    """What changed in every tensor between two neighbouring files of the same structure."""
    from seqgrid.inspection import tensors

    if first["structure"] != second["structure"]:
        return
    made = {}
    for name, tensor in b.items():
        if tensors.measurable(tensor) and tensors.measurable(a[name]):
            made[name] = tensors.change(a[name], tensor)
    found.changes.append((first, second, made))


def _decide(found: Inspection) -> None:
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


def _components(found: Inspection, depth: int) -> None:
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


def _evolution(found: Inspection) -> None:
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


def _drift(found: Inspection) -> None:
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
