"""`python benchmarks/quantum_epoch.py --original PATH`: an epoch of a model of quantum_hydra.

The rival is the code the model comes from, JHPark9090/Quantum-Hydra-Mamba, with PennyLane. Both
have the same weights and outputs, and take the same training steps on the same batches: AdamW,
gradients clipped at 1, with the dropout of the study. Needs PennyLane.
"""

import argparse
import importlib
import importlib.metadata
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from measure import machine
from table import Table, ratio
from torch import Tensor, nn

from seqgrid import registry, worker
from seqgrid.data import Shape

GET = (
    "git clone https://github.com/JHPark9090/Quantum-Hydra-Mamba, then give its folder as "
    "--original"
)
EXAMPLES, BATCH, CHANNELS = 4000, 32, 2  # of the study's problems with 5,000 examples; of a batch
CLOSE = 1e-4  # of outputs in float32, the largest being about 1


@dataclass(frozen=True)
class Original:
    """Where a model is in the original, and what its weights are called there.

    Attributes:
        names: what begins our name -> what begins its, or the names of its parts in our order.
        cores: what the superposition's coefficients belong to.
        parts: of each coefficient.
    """

    file: str
    model: str
    names: dict[str, tuple[str, ...]]
    cores: tuple[str, ...]
    parts: tuple[str, ...] = ("real", "imag")


BRANCHES = ("forward", "backward", "diagonal")
QUBITS = "quantum_processor"
ORIGINALS = {
    "1b": Original(
        "QuantumSSM", "QuantumMambaSSM",
        {
            "embed_norm": ("feature_proj.1",), "embed": ("feature_proj.0",),
            "chunk_features.pool": (f"{QUBITS}.chunk_attention",),
            "chunk_features.input_proj": (f"{QUBITS}.quantum_branches.input_proj",),
            "chunk_features.angle_proj": tuple(
                f"{QUBITS}.quantum_branches.proj{branch}" for branch in (1, 2, 3)
            ),
            "chunk_features.out_proj": (f"{QUBITS}.output_proj.0",),
            "chunk_features.norm": (f"{QUBITS}.output_proj.1",),
            "blocks": ("mamba_layers",), "norm": ("output_norm",),
            "hidden": ("output_layer.0",), "head": ("output_layer.3",),
        },
        (f"{QUBITS}.quantum_branches",), ("real",),
    ),
    "2d": Original(
        "QuantumHydraSSM", "QuantumMambaHydraSSM",
        {"param_proj": tuple(f"{branch}_param_proj" for branch in BRANCHES)},
        ("quantum_core",),
    ),
    "2e": Original(
        "QuantumHydraSSM", "QuantumHydraHydraSSM",
        {"param_proj": tuple(f"{w}_{branch}_param_proj" for w in ("fwd", "bwd")
                             for branch in BRANCHES)},
        ("quantum_core_fwd", "quantum_core_bwd"),
    ),
}  # fmt: skip


def main() -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--original", type=Path, metavar="PATH", help="a checkout of the original")
    parser.add_argument("--model", choices=list(ORIGINALS), default="2d")
    parser.add_argument("--seqlen", type=int, default=1000)
    parser.add_argument("--batches", type=int, default=1, help="that the original is timed over")
    parser.add_argument("--own-batches", type=int, default=10, help="that seqgrid is timed over")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    where = ORIGINALS[options.model]
    if options.original is None or not (options.original / f"models/{where.file}.py").exists():
        print(f"no original here: {GET}")
        return 2
    torch.set_num_threads(1)
    worker._keep_memory()
    sys.path.insert(0, str(options.original.resolve()))
    table = run(where, options)
    print(table)
    hardware = [f"- GPU: {torch.cuda.get_device_name()}"] if options.device != "cpu" else []
    print("\n".join(["", "## Measured on", "", *machine(), *hardware]))
    return 0


def run(where: Original, options: argparse.Namespace) -> Table:
    """Both models, checked against each other and timed."""
    torch.manual_seed(0)
    theirs, ours = _theirs(where, options), _ours(options)
    _copy(where, theirs.state_dict(), ours.state_dict())
    inputs = torch.rand(BATCH, options.seqlen, CHANNELS, device=options.device)
    targets = torch.rand(BATCH, 1, device=options.device)
    difference = _difference(ours, theirs, inputs[:2])
    table = Table(
        f"An epoch of {EXAMPLES:,} examples on one {'core' if options.device == 'cpu' else 'GPU'}",
        ["model", "positions", "code", "parameters", "batches", "batch s", "epoch s", "faster"],
    )
    rival = 0.0
    for label, model, count in (
        ("original", theirs, options.batches),
        ("seqgrid", ours, options.own_batches),
    ):
        spent = _seconds(model, inputs, targets, count)
        rival = rival or spent
        numbers = sum(p.numel() for p in model.parameters())
        table.add(
            options.model, f"{options.seqlen:,}", label, f"{numbers:,}", count, f"{spent:.3g}",
            f"{spent * EXAMPLES / BATCH:,.0f}", ratio(rival, spent),
        )  # fmt: skip
    clock = "Processor time, one thread" if options.device == "cpu" else "Wall time"
    table.notes = [
        f"Rival: {where.model} of JHPark9090/Quantum-Hydra-Mamba with PennyLane",
        f"{importlib.metadata.version('pennylane')}, as it is, with the settings of its study.",
        f"{clock}; an epoch is extrapolated: {EXAMPLES // BATCH} times the mean training step of",
        f"so many batches of {BATCH}, which are random numbers in {CHANNELS} channels with one",
        "number to predict. The same weights on both sides: outputs in evaluation differ by at",
        f"most {difference:.0e}.",
    ]
    return table


def _theirs(where: Original, options: argparse.Namespace) -> nn.Module:
    model: Callable = getattr(importlib.import_module(f"models.{where.file}"), where.model)
    return model(
        n_qubits=6, n_timesteps=options.seqlen, qlcu_layers=2, feature_dim=CHANNELS, d_model=128,
        d_state=16, n_layers=2, output_dim=1, dropout=0.1, device=options.device,
    ).to(options.device)  # fmt: skip


def _ours(options: argparse.Namespace) -> nn.Module:
    shape = Shape(num_outputs=1, pooled=True, seqlen=options.seqlen, num_channels=CHANNELS)
    return registry.make_model(f"qh_{options.model}", {}, shape).to(options.device)


@torch.no_grad()
def _copy(where: Original, theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> None:
    """Their weights into our model."""
    for name, weight in ours.items():
        if name.endswith("coefficients"):
            found = [
                theirs[f"{core}.{which}_{part}"]
                for core in where.cores
                for which in ("alpha", "beta", "gamma")
                for part in where.parts
            ]
        else:
            starts = [start for start in where.names if name.startswith(f"{start}.")]
            parts = where.names[starts[0]] if starts else (None,)
            found = [
                theirs[name if part is None else part + name.removeprefix(starts[0])]
                for part in parts
            ]
        weight.copy_(torch.cat([x.flatten() for x in found]).view_as(weight))


@torch.no_grad()
def _difference(ours: nn.Module, theirs: nn.Module, inputs: Tensor) -> float:
    """By how much their outputs differ in evaluation.

    Raises:
        RuntimeError: by more than rounding.
    """
    outputs = [model.eval()(inputs).flatten() for model in (ours, theirs)]
    difference = (outputs[0] - outputs[1]).abs().max().item()
    if not difference < CLOSE:
        raise RuntimeError(f"the same weights give outputs that differ by {difference}")
    return difference


def _seconds(model: nn.Module, inputs: Tensor, targets: Tensor, count: int) -> float:
    """Seconds of a training step, behind a first one on two examples."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    model.train()

    def step(inputs: Tensor, targets: Tensor) -> None:
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(model(inputs).view_as(targets), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        loss.item()  # waits for a GPU

    step(inputs[:2], targets[:2])
    clock = time.perf_counter if inputs.is_cuda else time.process_time
    begin = clock()
    for _ in range(count):
        step(inputs, targets)
    return (clock() - begin) / count


if __name__ == "__main__":
    sys.exit(main())
