"""Checkpoint files of a folder: which there are, how they are read without running their code."""

import hashlib
import json
import os
import pickle
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
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
MOST = 2**63  # a larger number is no step


class Refused(Exception):
    """The file can only be read by running code that it names, or is of a kind not read here."""


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
    for path in below(folder):
        name = printable(path.relative_to(folder).as_posix())
        wanted = path.name.endswith(SUFFIXES) or NUMBERED.search(path.name)
        # Not `is_file` of the path, which raises in a folder that may be listed and not entered.
        if not wanted or path.name[0] == "." or not os.path.isfile(path) or _published(path):  # noqa: PTH113
            continue
        if _weightless(path):
            continue
        kept = [part for part in Path(name).parent.parts if not WITHIN.fullmatch(part)]
        if kept and kept[-1] == "live":
            kept.pop()
        shard = SHARD.search(path.name)
        found.append(Place(path, name, "/".join(kept + ([shard[1]] if shard else []))))
    return sorted(found, key=lambda place: _natural(place.name))


def below(folder: Path) -> Iterator[Path]:
    """All files below a folder; links to folders are not followed."""
    for at, _, names in os.walk(folder):
        yield from (Path(at, name) for name in names)


def closed(folder: Path) -> list[str]:
    """Folders below this one, or itself, that cannot be listed or entered."""
    found = []
    for at, _, _ in os.walk(folder, onerror=lambda error: found.append(str(error.filename))):
        if not os.access(at, os.X_OK):
            found.append(at)
    return sorted(printable(Path(at).relative_to(folder).as_posix()) for at in found)


def printable(name: str) -> str:
    r"""A file's name as text that can be written: bytes that are not UTF-8 as \x.."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


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
    for path in below(folder):
        if ended := _weightless(path):
            kept = path.parent.parent if path.parent.name == "final" else path.parent
            found[kept.parent if kept.name == "live" else kept] = ended
    return Counter(found[part] for part in sorted(found))


def from_name(name: str) -> tuple[int | None, int | None]:
    """Step and epoch that a file's name, or that of its folder, gives."""
    step = epoch = None
    for part in reversed(Path(name).parts):
        if step is None and (match := STEP.search(part)) and int(match[1]) < MOST:
            step = int(match[1])
        if epoch is None and (match := EPOCH.search(part)) and int(match[1]) < MOST:
            epoch = int(match[1])
    return step, epoch


def digest(path: Path) -> str:
    """The first digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:SHORT]


def load(path: Path) -> Any:
    """What a file holds, mapped into memory where the format allows it; none of its code runs.

    Raises:
        Refused: it names functions or classes that reading it would call, or is compressed.
        Damaged: it is cut short, a checksum does not hold, or it is no checkpoint.
        OSError: it cannot be read.
    """
    import torch

    with path.open("rb") as file:
        start = file.read(4)
    archive = start == ZIP
    if not start:
        raise Damaged("the file is empty")
    if printable(str(path)) != str(path):
        raise Refused("its name is not UTF-8 text, and cannot be given to torch")
    if path.suffix == ".safetensors":
        return _safetensors(path)
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
        raise Damaged("no checkpoint of PyTorch") from None
    except Exception as error:  # bytes that are no checkpoint may raise anything
        if "TorchScript" in str(error):
            raise Refused("a TorchScript archive: it holds code") from None
        why = f" ({_first(error)})" if isinstance(error, RuntimeError) else ""
        raise Damaged(f"cut short or no checkpoint{why}") from None


def _check(path: Path) -> None:
    """Hold the archive against the checksums that it has of its own content."""
    try:
        with zipfile.ZipFile(path) as opened:
            entries = opened.infolist()
            if not any(Path(entry.filename).name == "data.pkl" for entry in entries):
                raise Damaged("a zip archive without data.pkl: no checkpoint of PyTorch")
            if any(Path(entry.filename).name == "constants.pkl" for entry in entries):
                raise Refused("a TorchScript archive: it holds code")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                # It could not be mapped into memory, and may unpack to any size.
                raise Refused("a compressed archive, which PyTorch does not write")
            bad = opened.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Damaged(f"cut short ({_first(error)})") from None
    if bad:
        raise Damaged(f"the checksum of {bad} does not hold: bytes have changed since it was saved")


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        if "Dtype not understood" in str(error):
            raise Refused(f"numbers that torch does not have ({_first(error)})") from None
        why = _first(error).removeprefix("Error while deserializing header: ")
        raise Damaged(f"cut short or no safetensors ({why})") from None


def _first(error: Exception) -> str:
    """The first sentence of an error of a library."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.split(". ")[0][:100].rstrip(" .")


def _natural(name: str) -> list:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in _split(name)]


def _split(name: str) -> list[str]:
    return [part for part in re.split(r"(\d+)", name) if part]
