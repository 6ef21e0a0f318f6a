"""What is in a checkpoint besides weights, what is missing, and where its weights are."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqgrid.inspection import files

# What it takes to know where weights come from and to go on from them exactly -> keys it has.
ITEMS = {
    "epoch or step": r"(global_)?steps?|epochs?|iter(ation)?s?|num_updates|total_steps",
    "optimiser": r"optimi[sz]ers?(_state|_state_dict|_states)?|optim(_state(_dict)?)?",
    "scheduler": r"(lr_)?schedulers?(_state|_state_dict|_states)?|lr_sched",
    "RNG": r"(.*_)?(rng|random)(_states?)?(_.*)?",
    "sampler position": r"(.*_)?(sampler|data_?loader|loader)s?(_state(_dict)?|_position)?|loops",
    "history": r"(.*_)?history|rows|(train|val|valid|validation|eval)_(loss|acc)\w*s",
    "best metric": r"best(_so_far)?_(metric|loss|score|acc(uracy)?|val\w*|model_score|.*metric)",
    "config": r"(model_|train(ing)?_)?config|cfg|hparams|hyper_?parameters|args|settings",
    "data hash": r"(data|dataset|train_data)_?(hash|digest|sha256|fingerprint|checksum)",
    "git commit": r"(git_?)?(commit|sha|hash|revision)|git",
    "versions": r"(.*_)?versions?",
    "job id": r"(slurm_?)?job_?id",
}
# Files that hold them elsewhere; nothing shows that they belong to the same training.
BESIDE = {
    "optimiser": ["optimizer.pt", "optimizer.bin"],
    "scheduler": ["scheduler.pt"],
    "RNG": ["rng_state.pth", "rng_state_0.pth"],
    "history": ["history.parquet", "trainer_state.json", "metrics.csv", "history.json"],
    "config": ["../cell.json", "../../cell.json", "all_config.yaml", "config.yaml", "config.json"],
}
BESIDE["config"] += ["hparams.yaml", "args.json", "adapter_config.json"]
OURS = {"format", "cell", "part", "track", "optimiser", "random"}  # keys of our own checkpoints
VALIDATION = re.compile(r"val|eval|dev_|test", re.IGNORECASE)
WEIGHTS = ("model", "model_state_dict", "model_state", "state_dict", "net", "network", "module")
WEIGHTS += ("weights", "params", "generator")
NOT_WEIGHTS = re.compile("|".join(ITEMS[k] for k in ("optimiser", "scheduler", "RNG")), re.I)
STEP, EPOCH = r"(global_)?steps?|iter(ation)?|num_updates", r"epochs?"
DEPTH = 4  # of nested dictionaries that are looked into
WRAPPED = re.compile(r"(_orig_mod\.|module\.)+")  # by compiling and by data parallelism


@dataclass
class Contents:
    """What was found in one file.

    weights: name -> tensor, of all parts of the model. where: key of the file they stand under.
    copies: further dictionaries with the same names, such as an average; they are not examined.
    holds: entry of ITEMS -> where it stands, '' where it is missing.
    optimiser_tensors: tensors that an optimiser in the file trains; None without one.
    """

    weights: dict[str, Any] = field(default_factory=dict)
    where: str = ""
    copies: list[str] = field(default_factory=list)
    holds: dict[str, str] = field(default_factory=dict)
    step: int | None = None
    epoch: int | None = None
    validation: str = ""
    optimiser_tensors: int | None = None
    cell: str = ""


def of(loaded: Any, path: Path) -> Contents:
    """What a loaded file holds; `path` is looked beside for what it does not."""
    found = Contents(holds=dict.fromkeys(ITEMS, ""))
    if not isinstance(loaded, Mapping):
        return found
    if _is_optimiser(loaded):
        found.holds["optimiser"] = "the file itself"
        return found
    if re.fullmatch(ITEMS["RNG"], path.stem.lower()):
        found.holds["RNG"] = "the file itself"
        return found
    _weights(loaded, found)
    for keys, value in _walk(loaded):
        key = re.sub(r"\W+", "_", str(keys[-1])).lower()
        name = ".".join(map(str, keys))
        if _empty(value):
            continue
        for item, words in ITEMS.items():
            if not found.holds[item] and re.fullmatch(words, key):
                found.holds[item] = f"`{name}`"
        if re.fullmatch(ITEMS["history"], key) and not found.validation:
            found.validation = _validation(name, value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < files.MOST:
            if found.step is None and re.fullmatch(STEP, key):
                found.step = value
            if found.epoch is None and re.fullmatch(EPOCH, key):
                found.epoch = value
        if _is_optimiser(value):
            found.holds["optimiser"] = f"`{name}`"
            groups = (group for group in value["param_groups"] if isinstance(group, Mapping))
            trained = (group.get("params") for group in groups)
            found.optimiser_tensors = sum(len(p) for p in trained if isinstance(p, (list, tuple)))
    _beside(found, path)
    if loaded.keys() >= OURS:
        _ours(found, loaded, path)
    return found


def missing(holds: Mapping[str, str]) -> list[str]:
    """Entries of ITEMS that are neither in the file nor beside it."""
    return [item for item, where in holds.items() if not where]


def _walk(value: Any, keys: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """Entries of nested dictionaries, outer ones first, without names of weights."""
    inner = []
    for key, entry in value.items():
        here = (*keys, key)
        if not _tensor(entry) or re.fullmatch(rf"{ITEMS['RNG']}", str(key).lower()):
            yield here, entry
        if isinstance(entry, Mapping) and len(here) < DEPTH and not _is_weights(entry):
            inner.append((entry, here))
    for entry, here in inner:
        if not _is_optimiser(entry):
            yield from _walk(entry, here)


def _weights(loaded: Mapping, found: Contents) -> None:
    """Gather the dictionaries of tensors: the model's, and further ones that are no copies."""
    candidates = dict(_dictionaries(loaded))

    def order(keys: tuple) -> tuple:
        last = keys[-1] if keys else "model"
        rank = WEIGHTS.index(last) if last in WEIGHTS else len(WEIGHTS)
        return rank, -sum(t.numel() for t in candidates[keys].values()), keys

    first: frozenset | None = None
    for keys in sorted(candidates, key=order):
        tensors, name = candidates[keys], ".".join(keys)
        if first is None:
            first, found.where = frozenset(tensors), name
            found.weights.update(tensors)
        elif frozenset(tensors) == first:
            found.copies.append(name)
        else:
            found.weights.update({f"{name}.{key}": tensor for key, tensor in tensors.items()})
            found.where += f", {name}"


def _dictionaries(value: Mapping, keys: tuple = ()) -> Iterator[tuple[tuple, dict]]:
    if (keys and NOT_WEIGHTS.fullmatch(str(keys[-1]))) or _is_optimiser(value):
        return
    if _is_weights(value):
        yield (
            keys,
            {WRAPPED.sub("", str(k)): tensor for k, tensor in value.items() if _tensor(tensor)},
        )
        return
    for key, entry in value.items():
        if isinstance(entry, Mapping) and len(keys) < DEPTH:
            yield from _dictionaries(entry, (*keys, str(key)))


def _is_weights(value: Mapping) -> bool:
    """Whether most entries are tensors."""
    return bool(value) and sum(map(_tensor, value.values())) * 2 > len(value)


def _is_optimiser(value: Any) -> bool:
    groups = value.get("param_groups") if isinstance(value, Mapping) else None
    return isinstance(groups, (list, tuple)) and "state" in value


def _tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, (Mapping, list, tuple, str)) and not len(value))


def _validation(name: str, value: Any) -> str:
    """Where a validation history stands, in words; empty where it is none."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        keys, rows = list(value[0]), len(value)
    elif isinstance(value, Mapping):
        keys = list(value)
        rows = max((len(v) for v in value.values() if isinstance(v, (list, tuple))), default=0)
    elif isinstance(value, (list, tuple)):
        keys, rows = [name.rpartition(".")[2]], len(value)
    else:
        return ""
    named = [str(key) for key in keys if VALIDATION.search(str(key))]
    return f"`{name}`: {rows} rows, with {', '.join(named)}" if named and rows else ""


def _beside(found: Contents, path: Path) -> None:
    for item, names in BESIDE.items():
        there = (name for name in names if (path.parent / name).is_file())
        if not found.holds[item] and (name := next(there, None)):
            found.holds[item] = f"{Path(name).name} beside it"


def _ours(found: Contents, loaded: Mapping, path: Path) -> None:
    """Our own checkpoints: batches and rates are functions of the step, the rest stands beside."""
    found.cell = str(loaded["cell"])
    found.holds["scheduler"] = found.holds["sampler position"] = "a function of `step`"
    if "cell.json" in found.holds["config"]:
        found.holds["data hash"] = "generated from the settings in cell.json"
    try:
        made = json.loads((path.parent / "outcome.json").read_bytes())["provenance"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for item, key in (("git commit", "git_commit"), ("versions", "versions"), ("job id", "job_id")):
        if made.get(key):
            found.holds[item] = "outcome.json beside it"
