"""`python benchmarks/zoology_mqar.py --zoology PATH`: a cell of MQAR through two trainers.

The rival is HazyResearch/zoology, where MQAR comes from. Both train the same model from the same
values on the same batches with the same AdamW, and validate after the same steps. Needs einops,
tqdm and PyYAML for zoology; wandb and torchvision are stubbed where they are absent.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from measure import Cost, machine, python
from table import Table, ratio
from workspace import workspace

from seqgrid import worker
from seqgrid.cell import Cell, Stopping, Training, Validation
from seqgrid.loop import Loop

GET = "git clone https://github.com/HazyResearch/zoology, then give its folder as --zoology"
SEQLEN = 64
SIDE = Path(__file__).parent / "zoology_side.py"


@dataclass(frozen=True)
class Size:
    """A cell in small numbers: those of the publication would take hours on a CPU."""

    vocab_size: int
    d_model: int
    epochs: int
    epoch_steps: int
    batch_size: int = 64
    mlp_ratio: int = 4  # zoology's default
    validation: int = 1024
    learning_rate: float = 2e-3

    def cell(self) -> Cell:
        """The cell as seqgrid has it."""
        return Cell(
            model="attention",
            model_settings={
                "d_model": self.d_model, "num_heads": 1, "positions": "learned",
                "mlp_ratio": float(self.mlp_ratio), "initializer_std": 0.1,
            },
            task="mqar",
            task_settings={"vocab_size": self.vocab_size, "num_pairs": 4},
            seqlen=SEQLEN,
            seed=0,
            training=Training(
                steps=self.epochs * self.epoch_steps, batch_size=self.batch_size,
                learning_rate=self.learning_rate, weight_decay=0.0, gradient_clip=None,
            ),
            validation=Validation(every_steps=self.epoch_steps, examples=self.validation),
            stopping=Stopping(solved_validations=None),
        )  # fmt: skip


SIZES = {
    "published vocabulary": Size(8192, 64, epochs=1, epoch_steps=48),
    "published vocabulary, wider": Size(8192, 128, epochs=1, epoch_steps=48),
    "small vocabulary": Size(256, 64, epochs=4, epoch_steps=160),
}
QUICK = Size(128, 16, epochs=1, epoch_steps=2, batch_size=4, validation=8)


def main() -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoology", type=Path, metavar="PATH", help="a checkout of zoology")
    parser.add_argument("--size", choices=list(SIZES), help="one size; all where left out")
    parser.add_argument("--quick", action="store_true", help="smallest size; proves nothing")
    options = parser.parse_args()
    if options.zoology is None or not (options.zoology / "zoology/train.py").exists():
        print(f"no zoology here: {GET}")
        return 2
    torch.set_num_threads(1)
    worker._keep_memory()
    sizes = {"smallest": QUICK} if options.quick else SIZES
    if options.size:
        sizes = {options.size: SIZES[options.size]}
    for table in run(options.zoology.resolve(), sizes):
        print(f"{table}\n", flush=True)
    print("\n".join(["## Measured on", "", *machine()]))
    return 0


def run(zoology: Path, sizes: dict[str, Size]) -> list[Table]:
    """Both trainers on each size: the training itself, then the whole command."""
    inside = Table(
        "MQAR, trainer against trainer",
        ["size", "trainer", "parameters", "step ms", "validation s", "epochs", "processor s",
         "accuracy after each", "faster"],
    )  # fmt: skip
    whole = Table(
        "MQAR, the whole command",
        ["size", "command", "start s", "data s", "processor s", "wall s", "faster"],
    )
    changes: list[str] = []
    differences: list[float] = []
    for name, size in sizes.items():
        with tempfile.TemporaryDirectory(prefix="seqgrid-bench-") as folder:
            _hand_over(size, Path(folder), zoology)
            theirs, cost = _rival(Path(folder))
            own, _ = _rival(Path(folder), own_model=True, epochs=1)
        changes = theirs["changes"]
        short = replace(size, epochs=1)
        rivals = {
            "zoology, the same model": theirs,
            "zoology, its own model": own,
            "seqgrid, outputs at all positions": _ours(short, everywhere=True),
            "seqgrid": _ours(size),
        }
        for label, found in rivals.items():
            epochs, validations = len(found["validations"]), found["validations"]
            spent = sum(v["seconds"] for v in validations)
            step = (found["fit"] - spent) / (epochs * size.epoch_steps)
            inside.add(
                name, label, f"{found['parameters']:,}", f"{1e3 * step:.1f}",
                f"{spent / epochs:.2f}", epochs, f"{found['fit']:.1f}",
                ", ".join(f"{v['valid/accuracy']:.3f}" for v in validations),
                ratio(theirs["fit"] / size.epochs, found["fit"] / epochs),
            )  # fmt: skip
        taken = _command(size)
        whole.add(name, "zoology.train", f"{theirs['start']:.1f}", f"{theirs['data']:.1f}",
                  f"{cost.cpu_seconds:.1f}", f"{cost.wall_seconds:.1f}", "1.00x")  # fmt: skip
        whole.add(name, "`python -m seqgrid.train`", "", "", f"{taken.cpu_seconds:.1f}",
                  f"{taken.wall_seconds:.1f}",
                  ratio(cost.cpu_seconds, taken.cpu_seconds))  # fmt: skip
        differences.append(theirs["difference"])
    inside.notes = _notes(zoology, sizes, changes, max(differences))
    whole.notes = [
        "Rival: zoology.train, with its same-model row above: imports (start), its generator for",
        "the examples of one epoch and of the validation set (data), training. seqgrid: supervisor",
        "and training process, with checkpoints, history and outcome. Ratio of processor time.",
    ]
    return [inside, whole]


def _hand_over(size: Size, folder: Path, zoology: Path) -> None:
    """Weights at the start, every batch, and what the model says to one of them."""
    loop = Loop(size.cell(), folder / "live", 1, None)
    task, seed = loop.task, loop.examples.data_seed
    count = size.epochs * size.epoch_steps * size.batch_size
    train = task.batch(seed, "train", torch.arange(count))
    validation = task.batch(seed, "validation", torch.arange(size.validation))
    probe = validation.inputs[:8]
    with torch.no_grad():
        logits = loop.model(probe)
    torch.save(
        {"train": (train.inputs, train.targets), "probe": probe, "logits": logits,
         "validation": (validation.inputs, validation.targets),
         "weights": loop.model.state_dict()},
        folder / "given.pt",
    )  # fmt: skip
    given = vars(size) | {"zoology": str(zoology), "seqlen": SEQLEN}
    (folder / "given.json").write_text(json.dumps(given))


def _rival(folder: Path, own_model: bool = False, **other: int) -> tuple[dict[str, Any], Cost]:
    path = folder / "given.json"
    given = json.loads(path.read_text()) | {"own_model": own_model} | other
    path.write_text(json.dumps(given))
    cost = python(str(SIDE), str(folder), OMP_NUM_THREADS="1")
    return json.loads(cost.output.splitlines()[-1]), cost


def _ours(size: Size, everywhere: bool = False) -> dict[str, Any]:
    """The training loop alone, as zoology's `fit`."""
    validations = []
    with tempfile.TemporaryDirectory(prefix="seqgrid-bench-") as folder:
        loop = Loop(size.cell(), Path(folder), 1, None)
        if everywhere:
            examples = loop.examples
            examples._made = lambda split, indices: examples.task.batch(
                examples.data_seed, split, indices
            )
        validate = loop._validate

        def validated() -> None:
            begin = time.process_time()
            validate()
            seconds = time.process_time() - begin
            accuracy = loop.track.rows[-1]["validation_metric"]
            validations.append({"valid/accuracy": accuracy, "seconds": seconds})

        loop._validate = validated  # type: ignore[method-assign]
        begin = time.process_time()
        loop.run(lambda loop: False)
        fit = time.process_time() - begin
    return {"fit": fit, "validations": validations, "parameters": loop.model.num_parameters}


def _command(size: Size) -> Cost:
    """`python -m seqgrid.train`: supervisor and training process, checkpoints, history, outcome."""
    with workspace() as place:
        folder = Path("results/cells") / size.cell().path
        size.cell().write(place.folder / folder)
        return place.python("-m", "seqgrid.train", str(folder))


def _notes(
    zoology: Path, sizes: dict[str, Size], changes: list[str], difference: float
) -> list[str]:
    git = shutil.which("git") or "git"
    done = subprocess.run(
        [git, "-C", str(zoology), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return [
        f"Rival: HazyResearch/zoology at {done.stdout.strip() or 'an unknown commit'}, its trainer",
        "and model. Processor time of the training with its validations, one thread; batches made",
        "beforehand for zoology, made during the training by seqgrid.",
        "",
        *(f"- {name}: {size}" for name, size in sizes.items()),
        "",
        "The same model: zoology's code with RMSNorm, an untied head and no other biases, started",
        f"from seqgrid's weights: the first logits differ by at most {difference:.0e}. Its own:",
        "LayerNorm, tied, biases, its own initial values and data; timed over one epoch.",
        f"Changed in zoology: {'; '.join(changes)}; a constant learning rate.",
    ]


if __name__ == "__main__":
    sys.exit(main())
