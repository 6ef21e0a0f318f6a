"""A whole training step of every mixer, by length; on CUDA beside the library's own layer.

On a GPU it needs envs/requirements-cuda.txt, and mamba-ssm for Mamba and Mamba-2; rivals are our
backbone with the library's layer in the place of our mixer, on the same weights. On a CPU the
libraries' layers do not run: there it is a table of the mixers alone.
"""

import importlib
import inspect
import time
from collections.abc import Iterator
from typing import Any

import torch
from table import Table, ratio
from torch import Tensor, nn

from seqgrid import optimiser, registry, worker
from seqgrid.cell import Training
from seqgrid.data import Batch, Shape

LAYERS = {
    "deltanet": "fla.layers.DeltaNet",
    "gated_deltanet": "fla.layers.GatedDeltaNet",
    "gated_deltaproduct": "fla.layers.GatedDeltaProduct",
    "gla": "fla.layers.GatedLinearAttention",
    "hgrn2": "fla.layers.HGRN2Attention",
    "kda": "fla.layers.KimiDeltaAttention",
    "linear_attention": "fla.layers.LinearAttention",
    "mamba": "mamba_ssm.modules.mamba_simple.Mamba",
    "mamba2": "mamba_ssm.modules.mamba2.Mamba2",
    "retnet": "fla.layers.MultiScaleRetention",
    "rwkv7": "fla.layers.RWKV7Attention",
}
WIDTH, LAYERS_OF_MODEL, TOKENS = 128, 2, 16384  # tokens of a batch, whatever the length
ROUNDS = 5


def run(quick: bool) -> Iterator[Table]:
    """One table: milliseconds of a step, and against the library's layer where it runs."""
    torch.set_num_threads(1)
    worker._keep_memory()
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    lengths = (256,) if quick else (256, 512, 1024, 2048, 4096, 8192) if cuda else (256, 1024)
    tokens = 512 if quick else TOKENS if cuda else 4096
    where = torch.cuda.get_device_name(device) if cuda else "CPU, one thread"
    columns = ["model", "parameters", *(f"L {length}" for length in lengths)]
    if cuda:
        columns += [f"library / ours, L {length}" for length in lengths]
    title = f"Milliseconds of a training step of {tokens:,} tokens, d_model {WIDTH}, 2 layers"
    table = Table(f"{title}, {where}", columns)
    for name in registry.on_backbone():
        cells, ratios, parameters = [], [], ""
        for length in lengths:
            model = _model(name, length).to(device)
            parameters = f"{model.num_parameters:,}"
            ours = _seconds(model, length, tokens, device)
            cells.append(f"{1e3 * ours:.1f}")
            if cuda:
                rival = _rival(name, model) if name in LAYERS else None
                ratios.append(
                    ratio(_seconds(rival, length, tokens, device), ours) if rival else "-"
                )
        table.add(name, parameters, *cells, *ratios)
    table.notes.append("Forward, backward and AdamW, float32, quickest of several.")
    yield table


def _model(name: str, length: int) -> Any:
    torch.manual_seed(0)
    shape = Shape(num_outputs=64, pooled=False, seqlen=length, vocab_size=64)
    return registry.make_model(name, {"d_model": WIDTH, "num_layers": LAYERS_OF_MODEL}, shape)


class _Layer(nn.Module):
    """A library's layer where a mixer of ours stood: it answers with more than the output."""

    causal, carries = True, False

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Mixed positions; x (B, L, D) -> (B, L, D)."""
        found = self.layer(x)
        return found[0] if isinstance(found, tuple) else found


class _Carrying(_Layer):
    """RWKV-7, whose layers hand on the values of the first."""

    carries = True

    def forward(self, x: Tensor, carried: dict[str, Tensor]) -> Tensor:
        """Mixed positions; x (B, L, D) -> (B, L, D)."""
        o, _, _, carried["v_first"] = self.layer(x, v_first=carried.get("v_first"))
        return o


def _rival(name: str, ours: Any) -> nn.Module:
    """Our backbone around the library's layers, with the weights of ours."""
    device = next(ours.parameters()).device
    model = _model(name, ours.shape.seqlen)
    module, _, kind = LAYERS[name].rpartition(".")
    make = getattr(importlib.import_module(module), kind)
    known = inspect.signature(make).parameters
    for index, block in enumerate(model.blocks):
        chosen = {"d_model": WIDTH, "hidden_size": WIDTH, "layer_idx": index}
        chosen |= {"num_hidden_layers": LAYERS_OF_MODEL} | model.settings.model_dump()
        head_dim = getattr(block.mixer, "head_dim", getattr(block.mixer, "head_k_dim", None))
        given = {key: _whole(value) for key, value in chosen.items() if value is not None}
        given |= {} if head_dim is None else {"head_dim": head_dim}
        layer = make(**{key: value for key, value in given.items() if key in known})
        weights = block.mixer.state_dict()
        layer.load_state_dict({key: weights[key] for key in layer.state_dict()})
        block.mixer = (_Carrying if name == "rwkv7" else _Layer)(layer)
    return model.to(device)


def _whole(value: Any) -> Any:
    """Our factors of widths are fractions; where one is whole, mamba-ssm wants an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _seconds(model: Any, length: int, tokens: int, device: torch.device) -> float:
    """Seconds of the quickest step; processor time on a CPU."""
    batch_size = max(1, tokens // length)
    inputs = torch.randint(64, (batch_size, length), device=device)
    batch = Batch(inputs, inputs)
    adamw = optimiser.make(model, Training())
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    found = []
    for _ in range(ROUNDS + 2):  # the first two compile and tune
        if device.type == "cuda":
            torch.cuda.synchronize()
        begin = clock()
        adamw.zero_grad(set_to_none=True)
        optimiser.backward(model, batch, "cross_entropy", 1)
        adamw.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(clock() - begin)
    return min(found[2:])
