"""The selective state space of the quantum_hydra study, and its blocks.

    delta, B, C = W_x u        delta = softplus(W_dt delta + b)
    h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t        y_t = W_out (C_t . h_t + D u_t)

Source: JHPark9090/Quantum-Hydra-Mamba, models/QuantumSSM.py, classes MambaSelectiveSSM, MambaBlock,
HydraBidirectionalSSM and HydraBlock. It differs from Mamba (Gu & Dao, arXiv:2312.00752): all
channels share A, there is a projection behind the state space and another behind its gate, and
the blocks have no norm. The original steps through positions one by one; here it is one scan.
Left out are its LayerNorms that nothing runs through: one in either block, one in the two-way
state space.

B batch, L positions, D d_model, E = 2 D channels inside, N d_state.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from seqgrid.models._layers import ShortConvolution
from seqgrid.models._pooled import linear_layers
from seqgrid.models._ssm import step_bias, undecayed
from seqgrid.ops.selective_scan import selective_scan, selective_scan_from_state

EXPAND = 2
TAPS = 4  # positions the convolution reads
EPSILON = 1e-8  # keeps the sum of weights from 0


class SelectiveSSM(nn.Module):
    """A diagonal state in each channel; steps, writes and reads depend on the input."""

    def __init__(self, channels: int, d_state: int):
        super().__init__()
        self.split = (channels // 16, d_state, d_state)
        self.x_proj = nn.Linear(channels, sum(self.split), bias=False)
        self.dt_proj = nn.Linear(self.split[0], channels)
        bound = self.split[0] ** -0.5
        nn.init.uniform_(self.dt_proj.weight, -bound, bound)
        self.dt_proj.bias = nn.Parameter(step_bias(channels, 1e-3, 0.1, dt_init_floor=0.0))
        self.A_log = undecayed(torch.arange(1.0, d_state + 1).log())
        self.D = undecayed(torch.ones(channels))
        self.out_proj = nn.Linear(channels, channels, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        """Outputs, from a state of zero; (B, L, E) -> (B, L, E)."""
        return self.out_proj(selective_scan(*self._scanned(u), **self._steps)[0])

    def from_state(self, u: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Outputs (B, L, E) and the last state (B, E, N), of inputs and a first state (None: 0)."""
        y, state = selective_scan_from_state(*self._scanned(u), **self._steps, initial_state=state)
        return self.out_proj(y), state

    def _scanned(self, u: Tensor) -> tuple[Tensor, ...]:
        """u, delta, A, B, C and D of the scan."""
        delta, B, C = self.x_proj(u).split(self.split, -1)
        A = (-self.A_log.exp()).repeat(u.shape[-1], 1)
        return u, linear(delta, self.dt_proj.weight), A, B, C, self.D

    @property
    def _steps(self) -> dict:
        return {"delta_bias": self.dt_proj.bias, "delta_softplus": True}


class MambaBlock(nn.Module):
    """W_out (ssm(silu(conv(x))) silu(z)), with x, z = W_in of the input."""

    def __init__(self, d_model: int, d_state: int):
        super().__init__()
        channels = EXPAND * d_model
        self.in_proj = nn.Linear(d_model, 2 * channels, bias=False)
        self.conv1d = ShortConvolution(channels, TAPS, bias=True, activation="silu")
        self.ssm = SelectiveSSM(channels, d_state)
        self.out_proj = nn.Linear(channels, d_model, bias=False)

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mixed positions (B, L, D) and the last state (B, E, N), of a first one (None: 0)."""
        x, z = self.in_proj(x).chunk(2, -1)
        y, state = self.ssm.from_state(self.conv1d(x), state)
        return self.out_proj(y * silu(z)), state


class TwoWaySSM(nn.Module):
    """W_out of a weighted sum: a scan, a scan of the reversed sequence, and a linear layer.

    The weights are trained numbers over the sum of their absolute values.
    """

    def __init__(self, channels: int, d_state: int):
        super().__init__()
        self.forward_ssm = SelectiveSSM(channels, d_state)
        self.backward_ssm = SelectiveSSM(channels, d_state)
        self.diagonal = nn.Linear(channels, channels, bias=False)
        self.weights = nn.Parameter(torch.tensor([1.0, 1.0, 0.5]))
        self.out_proj = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mixed positions, (B, L, E) -> (B, L, E)."""
        alpha, beta, gamma = self.weights / (self.weights.abs().sum() + EPSILON)
        backward = self.backward_ssm(x.flip(1)).flip(1)
        y = alpha * self.forward_ssm(x) + beta * backward + gamma * self.diagonal(x)
        return self.out_proj(y)


class HydraBlock(nn.Module):
    """W_out (ssm(x) silu(z)), with x, z = W_in of the input and a two-way state space."""

    def __init__(self, d_model: int, d_state: int):
        super().__init__()
        channels = EXPAND * d_model
        self.in_proj = nn.Linear(d_model, 2 * channels, bias=False)
        self.ssm = TwoWaySSM(channels, d_state)
        self.out_proj = nn.Linear(channels, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mixed positions, (B, L, D) -> (B, L, D)."""
        x, z = self.in_proj(x).chunk(2, -1)
        return self.out_proj(self.ssm(x) * silu(z))


def mixer_flops(*blocks: nn.Module) -> float:
    """FLOPs of blocks for one position: matrices, convolutions, states written and read."""
    flops = 2.0 * sum(layer.weight.numel() for layer in linear_layers(*blocks))
    for module in (module for block in blocks for module in block.modules()):
        if isinstance(module, ShortConvolution):
            flops += 2 * module.weight.numel()
        elif isinstance(module, SelectiveSSM):
            flops += 2 * 2 * module.D.numel() * module.A_log.numel()
    return flops
