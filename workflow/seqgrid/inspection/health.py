"""Rules that turn an inspection into a verdict about health, each with its evidence.

Weights can be ill in ways that a reader of numbers sees: not a number, out of range, cut short.
Whether a training has converged, overfits or has forgotten cannot be told from them; no rule here
tries.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from seqgrid.inspection.derived import trained
from seqgrid.inspection.record import ALL, Inspection
from seqgrid.inspection.steps import saved
from seqgrid.report.markdown import count, listing

GROWTH = 10.0  # times the norm before, between two files
LARGE = 1e4  # 65504 is the largest number of float16
UNRELATED = 0.5  # cosine between neighbours of one training lies far above
ONLY_FROM_VALIDATION = (
    "Convergence, overfitting and forgetting cannot be told from weights: weights that stop moving "
    "may have a learning rate of zero, and weights that move may not change what the model "
    "predicts. They are questions to a history of validation scores"
)


@dataclass(frozen=True)
class Rule:
    """A named rule; `fires` gives a line of evidence for each case."""

    name: str
    words: str
    fires: Callable[[Inspection], Iterator[str]]


def not_a_number(found: Inspection) -> Iterator[str]:
    """NaN in a tensor that is trained."""
    for row in found.tensors:
        if row["kind"] in ("parameter", "constant") and row.get("nans"):
            yield f"{row['tensor']} in {row['file']}: {count(row['nans'])} NaN"


def infinite(found: Inspection) -> Iterator[str]:
    """Infinity in a tensor that is trained."""
    for row in found.tensors:
        if row["kind"] in ("parameter", "constant") and row.get("infinities"):
            yield f"{row['tensor']} in {row['file']}: {count(row['infinities'])} Inf"


def exploding(found: Inspection) -> Iterator[str]:
    """Values near the end of half precision, or a norm that grew tenfold between two files."""
    for row in found.tensors:
        if row["kind"] == "parameter" and row.get("finite"):
            value = max(row["minimum"], row["maximum"], key=abs)
            if abs(value) > LARGE:
                yield f"{row['tensor']} in {row['file']}: {value:.4g}"
    for rows in _by_series(found.evolution).values():
        for a, b in itertools.pairwise(rows):
            if a["l2"] and b["l2"] > GROWTH * a["l2"]:
                yield f"norm {a['l2']:.4g} in {a['file']}, {b['l2']:.4g} in {b['file']}"


def all_zero(found: Inspection) -> Iterator[str]:
    """A matrix of nothing but zeros in the last file of a series."""
    for rows in found.series.values():
        for row in found.by_file[rows[-1]["file"]]:
            zeros = row.get("finite") and row["zeros"] == row["elements"]
            if zeros and len(row["shape"]) > 1 and row["kind"] in ("parameter", "constant"):
                yield f"{row['tensor']} {row['shape']} in {row['file']}"


def mismatch(found: Inspection) -> Iterator[str]:
    """Files of one series with different tensors or shapes."""
    for rows in found.series.values():
        kinds = defaultdict(list)
        for row in rows:
            kinds[row["structure"]].append(row["file"])
        if len(kinds) > 1:
            parts = (f"{len(names)} like {names[0]}" for names in kinds.values())
            yield f"{len(kinds)} different sets of names and shapes: {'; '.join(parts)}"


def incomplete(found: Inspection) -> Iterator[str]:
    """Weights in several files of which one, or a tensor of one, is missing."""
    yield from found.absent


def unreadable(found: Inspection) -> Iterator[str]:
    """A file that is cut short or damaged."""
    for row in found.inventory:
        if row["status"] == "damaged":
            yield f"{row['file']}: {row['reason']}"


RULES = (
    Rule("NOT A NUMBER", "a trained tensor holds NaN", not_a_number),
    Rule("INFINITE", "a trained tensor holds infinity", infinite),
    Rule(
        "EXPLODING NORM",
        f"a trained value beyond {LARGE:g}, or a norm of all trained values more than "
        f"{GROWTH:g} times that of the file before",
        exploding,
    ),
    Rule("ALL ZERO", "a matrix has only zeros in the last file", all_zero),
    Rule("SHAPE MISMATCH", "names or shapes differ between files of one series", mismatch),
    Rule("INCOMPLETE", "of weights in several files, a file or tensor is missing", incomplete),
    Rule("UNREADABLE", "a file is cut short, damaged or no checkpoint", unreadable),
)


def verdicts(found: Inspection) -> list[dict]:
    """Each rule with the evidence it found."""
    return [
        {"rule": rule.name, "words": rule.words, "evidence": list(rule.fires(found))}
        for rule in RULES
    ]


def verdict(found: Inspection, fired: list[dict]) -> tuple[str, str]:
    """HEALTHY, UNHEALTHY or CANNOT BE TOLD, and why."""
    ill = [entry["rule"] for entry in fired if entry["evidence"]]
    examined, files = len(found.read), len(found.inventory)
    if ill:
        return "UNHEALTHY", f"{', '.join(ill)}; {examined} of {files} files examined."
    judged = ("parameter", "constant")
    if not any(row["kind"] in judged and row.get("finite") for row in found.tensors):
        return "CANNOT BE TOLD", "No file has weights that could be examined."
    unseen = sum(bool(row["unmeasured"]) for row in found.tensors if row["kind"] in judged)
    without = f", without {unseen} tensors that cannot be measured" if unseen else ""
    return "HEALTHY", (
        f"No rule fired; {examined} of {files} files were examined{without}. Healthy weights are "
        "numbers in range, no more: they say nothing about what the model can do."
    )


def notes(found: Inspection) -> Iterator[str]:
    """What a reader must know and no rule forbids: gaps, twins, strangers, what does not add up."""
    if parts := found.weightless:
        ends = listing([f"{number} {outcome}" for outcome, number in parts.items()])
        yield (
            f"{sum(parts.values())} parts ended without weights, as the outcome.json beside each "
            f"empty checkpoint.pt says: {ends}. They are not among the files."
        )
    if found.closed:
        yield f"No permission to look into {listing(found.closed)}: what is there is not listed."
    for row in found.tensors:
        if row["unmeasured"]:
            yield f"{row['tensor']} in {row['file']} is not measured: it is {row['unmeasured']}."
    for series, rows in found.series.items():
        yield from _gaps(series, rows)
        yield from _together(found, series, rows)
    hashes = defaultdict(list)
    for row in found.inventory:
        if row["sha256"]:
            hashes[row["sha256"]].append(row["file"])
    for names in hashes.values():
        if len(names) > 1:
            yield f"The same bytes under {len(names)} names: {listing(names)}."
    for row in found.read:
        own = [t for t in found.by_file[row["file"]] if t["kind"] == "parameter"]
        known = row["optimiser_tensors"]
        if known is not None and known != len(own):
            yield (
                f"The optimiser in {row['file']} trains {known} tensors, {len(own)} are counted "
                "as parameters here: some tensor is not of the kind that is stated."
            )
        if row["note"]:
            yield f"{row['file']} holds step {row['step']}; {row['note']}."


def _gaps(series: str, rows: list[dict]) -> Iterator[str]:
    steps = [row["step"] for row in rows if row["step"] is not None]
    of = f" of {series}" if series else ""
    if len(steps) < len(rows):
        yield f"{len(rows) - len(steps)} files{of} have no step: no rate a step is given for them."
    if found := saved(steps):
        last = found.multiples[-1]
        words = f"Steps{of} are multiples of {found.interval:.4g}: {last} intervals, "
        words += f"{len(found.multiples)} files"
        yield words + (
            f"; {found.gaps} checkpoints in between are not here."
            if found.gaps
            else ", none missing."
        )
    elif len(set(steps)) > 2:
        yield f"Steps{of} are not multiples of one interval; what is missing cannot be told."


def _together(found: Inspection, series: str, rows: list[dict]) -> Iterator[str]:
    """Whether the files of a series can be of one training."""
    of = f" of {series}" if series else ""
    if len(rows) < 2:
        return
    cells = {row["cell"] for row in rows}
    if len(cells) == 1 and "" not in cells:
        yield f"All {len(rows)} files{of} say that they belong to the cell {cells.pop()}."
    elif len({row["structure"] for row in rows}) == 1:
        yield (
            f"All {len(rows)} files{of} have the same names and shapes. That they are of one "
            "training does not follow: every run of a sweep has them."
        )
    for row in found.drift:
        known = row["series"] == series and row["component"] == ALL
        if known and row["cosine"] is not None and row["cosine"] < UNRELATED:
            yield (
                f"{row['second']} points elsewhere than {row['first']} (cosine "
                f"{row['cosine']:.3f}): perhaps another training."
            )
    if not any(trained(found, row["file"]) for row in rows):
        yield f"No tensor changes between the files{of}: nothing was trained between them."


def _by_series(rows: list[dict]) -> dict[str, list[dict]]:
    found = defaultdict(list)
    for row in rows:
        found[row["series"]].append(row)
    return found


def course(values: list[float]) -> str:
    """How the last rate stands among those before it, in words."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return ""
    place = sum(value > values[-1] for value in values)
    if place == 0:
        return f"the last of {len(values)} rates is the largest: nothing slows down"
    if place == len(values) - 1:
        return f"the last of {len(values)} rates is the smallest"
    return f"{place} of the {len(values) - 1} rates before the last are larger than it"
