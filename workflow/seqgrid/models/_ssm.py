"""What Mamba, Mamba-2 and Hydra share: initial values and the gated norm."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu


def step_bias(size: int, dt_min: float, dt_max: float, dt_init_floor: float) -> Tensor:
    """Biases (size,) whose softplus is log-uniform in [dt_min, dt_max], at least dt_init_floor."""
    low, high = math.log(dt_min), math.log(dt_max)
    dt = (low + (high - low) * torch.rand(size)).exp().clamp(min=dt_init_floor)
    return dt + (-torch.expm1(-dt)).log()  # the inverse of softplus


@torch.no_grad()
def start_steps(dt_proj: nn.Linear) -> None:
    """As mamba-ssm by default: weights that keep the variance, steps between 0.001 and 0.1."""
    channels, rank = dt_proj.weight.shape
    nn.init.uniform_(dt_proj.weight, -(rank**-0.5), rank**-0.5)
    dt_proj.bias.copy_(step_bias(channels, 0.001, 0.1, 1e-4))


@torch.no_grad()
def initialise_projections(in_proj: nn.Linear, out_proj: nn.Linear, residual_std: float) -> None:
    """As mamba-ssm: weights in keep torch's uniform values, biases are zero.

    The state reads a product of three projections. Weights with a std of 0.02 would leave it 1e-4
    of the skip path at these widths, and nothing would be learnt through it.
    """
    nn.init.normal_(out_proj.weight, std=residual_std)
    for layer in (in_proj, out_proj):
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def undecayed(value: Tensor) -> nn.Parameter:
    """A parameter without weight decay, as mamba-ssm marks rates, steps and skip weights."""
    parameter = nn.Parameter(value)
    setattr(parameter, "_no_weight_decay", True)  # noqa: B010  (torch declares no such attribute)
    return parameter


class GatedRMSNorm(nn.Module):
    """norm(x silu(z)), or norm(x) silu(z), in groups of channels; (B, L, D) -> (B, L, D).

    Weight and result are those of mamba-ssm's RMSNorm of `layernorm_gated`.
    """

    def __init__(self, dim: int, groups: int = 1, norm_before_gate: bool = False):
        super().__init__()
        self.width, self.norm_before_gate = dim // groups, norm_before_gate
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Normed and gated; x and gate z (B, L, D) -> (B, L, D)."""
        x = x if self.norm_before_gate else x * silu(z)
        x = rms_norm(x.unflatten(-1, (-1, self.width)), (self.width,), eps=1e-5)
        x = x.flatten(-2) * self.weight
        return x * silu(z) if self.norm_before_gate else x
