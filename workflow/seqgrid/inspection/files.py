"""Checkpoint files of a folder: which there are, how they are read without running their code."""

import hashlib
import importlib
import json
import pickle
import re
import warnings
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".pt.tar", ".pth.tar")
NUMBERED = re.compile(r"(step|epoch|iter|iteration|checkpoint|ckpt)[-_=.]?\d+$", re.IGNORECASE)
STEP = re.compile(r"(?:step|iter|iteration|checkpoint|ckpt)s?[-_=.]?(\d+)", re.IGNORECASE)
EPOCH = re.compile(r"(?<![a-z])(?:epoch|ep)[-_=.]?(\d+)", re.IGNORECASE)
SHARD = re.compile(r"-(\d{5}-of-\d{5})\.")
# Of a folder's name: what tells the checkpoints of one training apart.
WITHIN = re.compile(r"(?:(?:global_?)?step|epoch|iter|checkpoint|ckpt|part)[-_=.]?\d+", re.I)
GLOBAL = re.compile(r"(?:GLOBAL|global:?|class) ([\w.]+\.[\w.]+)")
ZIP, SHORT = b"PK\x03\x04", 12


class Refused(Exception):
    """The file can only be read by running code that it names."""


class Damaged(Exception):
    """The file is cut short, or is no checkpoint; the message says which."""


@dataclass(frozen=True)
class Place:
    """One file: where it is, and which training its name says it belongs to."""

    path: Path
    name: str  # below the folder that is inspected
    series: str  # what is left of the folder's name without steps, epochs and parts


def find(folder: Path) -> list[Place]:
    """Checkpoint files below a folder, in the order of the numbers in their names."""
    found = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        wanted = path.name.endswith(SUFFIXES) or NUMBERED.search(path.name)
        if not wanted or path.name[0] == "." or not path.is_file() or _published(path):
            continue
        if _weightless(path):
            continue
        kept = [part for part in Path(name).parent.parts if not WITHIN.fullmatch(part)]
        if kept and kept[-1] == "live":
            kept.pop()
        shard = SHARD.search(path.name)
        found.append(Place(path, name, "/".join(kept + ([shard[1]] if shard else []))))
    return sorted(found, key=lambda place: _natural(place.name))


def _published(path: Path) -> bool:
    """Whether it is a second name of a checkpoint.pt of ours, or older than that."""
    folder = path.parent.parent if path.parent.name == "final" else path.parent
    checkpoint = folder.parent / "checkpoint.pt"
    return folder.name == "live" and checkpoint.is_file() and checkpoint.stat().st_size > 0


def _weightless(path: Path) -> str:
    """How a part of ours ended that has no weights, and says so beside its empty file; else ''."""
    if path.name != "checkpoint.pt" or path.stat().st_size:
        return ""
    try:
        said = json.loads(path.with_name("outcome.json").read_bytes())
        return str(said["outcome"]) if said["files"][path.name]["size"] == 0 else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def weightless(folder: Path) -> Counter[str]:
    """Parts of ours that ended without weights, such as those of skipped cells, by outcome."""
    found = {}
    for path in folder.rglob("checkpoint.pt"):
        if ended := _weightless(path):
            kept = path.parent.parent if path.parent.name == "final" else path.parent
            found[kept.parent if kept.name == "live" else kept] = ended
    return Counter(found[part] for part in sorted(found))


def from_name(name: str) -> tuple[int | None, int | None]:
    """Step and epoch that a file's name, or that of its folder, gives."""
    step = epoch = None
    for part in reversed(Path(name).parts):
        if step is None and (match := STEP.search(part)):
            step = int(match[1])
        if epoch is None and (match := EPOCH.search(part)):
            epoch = int(match[1])
    return step, epoch


def digest(path: Path) -> str:
    """The first digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:SHORT]


def load(path: Path) -> Any:
    """What a file holds, mapped into memory where the format allows it; none of its code runs.

    Raises:
        Refused: it names functions or classes that reading it would call.
        Damaged: it is cut short, a checksum does not hold, or it is no checkpoint.
        OSError: it cannot be read.
    """
    if path.suffix == ".safetensors":
        return _safetensors(path)
    import torch

    with path.open("rb") as file:
        start = file.read(4)
    archive = start == ZIP
    if path.stat().st_size == 0:
        raise Damaged("the file is empty")
    if archive:
        _check(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other protocols and old formats
            return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except (OSError, MemoryError):
        raise
    except pickle.UnpicklingError as error:
        if named := GLOBAL.search(str(error)):
            raise Refused(f"reading it would call {named[1]}") from None
        if start[:1] == pickle.PROTO and "Unsupported" in str(error):
            raise Refused("a pickle with instructions that are not read safely") from None
        raise Damaged(f"no checkpoint of PyTorch ({_first(error)})") from None
    except Exception as error:  # bytes that are no checkpoint may raise anything
        if "TorchScript" in str(error):
            raise Refused("a TorchScript archive: it holds code") from None
        why = f" ({_first(error)})" if isinstance(error, RuntimeError) else ""
        raise Damaged(f"cut short or no checkpoint{why}") from None


def _check(path: Path) -> None:
    """Hold the archive against the checksums that it has of its own content."""
    try:
        with zipfile.ZipFile(path) as opened:
            bad = opened.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Damaged(f"cut short ({_first(error)})") from None
    if bad:
        raise Damaged(f"the checksum of {bad} does not hold: bytes have changed since it was saved")


def _safetensors(path: Path) -> Any:
    try:
        package = importlib.import_module("safetensors")
        reader = importlib.import_module("safetensors.torch")
    except ImportError:
        raise Refused("the package safetensors is not installed here") from None
    try:
        return reader.load_file(path)
    except (package.SafetensorError, ValueError, RuntimeError) as error:
        raise Damaged(f"cut short ({_first(error)})") from None


def _first(error: Exception) -> str:
    """The first sentence of an error of a library."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.split(". ")[0][:100].rstrip(" .")


def _natural(name: str) -> list:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in _split(name)]


def _split(name: str) -> list[str]:
    return [part for part in re.split(r"(\d+)", name) if part]
