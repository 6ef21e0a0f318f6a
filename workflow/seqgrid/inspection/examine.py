"""A folder of checkpoints, read file by file: never more than two of them at once."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seqgrid.inspection import contents, derived, files, shards
from seqgrid.inspection.files import Place
from seqgrid.inspection.record import ALL, Inspection


def examine(folder: Path, depth: int = 1) -> Inspection:
    """Everything that the files of a folder say.

    depth: parts of a tensor's name that make its component.
    """
    found = Inspection(files.printable(folder.resolve().name))
    places = files.find(folder)
    found.weightless, found.closed = files.weightless(folder), files.closed(folder)
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
    found.absent = shards.absent(folder, found)
    derived.decide(found)
    derived.components(found, depth)
    derived.evolution(found)
    derived.drift(found)
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
        "file_bytes": None,
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
        row["file_bytes"] = place.path.stat().st_size
        row["sha256"] = files.digest(place.path)
        found = contents.of(files.load(place.path), place.path)
    except files.Refused as problem:
        return row | {"status": "refused", "reason": str(problem)}
    except files.Damaged as problem:
        return row | {"status": "damaged", "reason": str(problem)}
    except PermissionError:
        return row | {"status": "refused", "reason": "no permission to read it"}
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
    if any(tensor.is_nested for tensor in found.weights.values()):
        return row | {
            "status": "refused",
            "reason": "it holds tensors of tensors, which have no shape",
        }
    if not found.weights:
        return row | {"status": "no weights", "reason": "no dictionary of tensors in it"}
    dtypes: dict[str, int] = defaultdict(int)
    for tensor in found.weights.values():
        dtypes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    # A complex number is two: a real tensor of the same shape is another.
    shapes = sorted(
        (name, [*tensor.shape, *[2] * tensor.is_complex()])
        for name, tensor in found.weights.items()
    )
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
        unmeasured = tensors.unmeasured(tensor)
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
                "unmeasured": unmeasured,
            }
        )
        if not unmeasured and kind != "tied":
            found.tensors[-1] |= asdict(tensors.statistics(tensor))


def _compare(found: Inspection, first: dict, second: dict, a: Mapping, b: Mapping) -> None:
    """What changed in every tensor between two neighbouring files of the same structure."""
    from seqgrid.inspection import tensors

    if first["structure"] != second["structure"]:
        return
    made = {}
    for name, tensor in b.items():
        if not tensors.unmeasured(tensor) and not tensors.unmeasured(a[name]):
            made[name] = tensors.change(a[name], tensor)
    found.changes.append((first, second, made))
