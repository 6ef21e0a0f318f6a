"""Model 3c of the quantum_hydra study: layers of two selective scans, a classical control.

    x = W_e u                                                     each position
    z, v, B, C, d = W_in x        v = silu(conv(v))               each layer
    delta = softplus(W_dt d + b)
    h_t = exp(delta_t A) h_{t-1} + B_t v_t        scan_t = C_t . h_t + D v_t
    x = x + norm(W_out (norm(scan(v) + reversed scan of v) silu(z)))
    y = W_2 gelu(W_1 mean_t norm(x_t))

Source: TrueClassicalHydra in JHPark9090/Quantum-Hydra-Mamba, models/TrueClassicalHydra.py. "Hydra"
there is a sum of two scans with shared weights, each of which reads the present position; in Hydra
(Hwang et al., arXiv:2407.09941, here `hydra`) neither does, and directions have keys of their own.
The step size weighs the decay and not the write, unlike in Mamba. The norm of a layer's output
comes behind it, so the residual stream itself is never normed before a layer. The convolution is
causal, and B, C and d do not pass through it. Initial values are torch's but for steps, rates and
skip weights, which are mamba-ssm's.

The head is told the order through what the states keep, from both ends; it reads their mean.

Differs from the original: both directions are one scan over a batch of twice the size, and it reads
v / delta, as its write weighs with delta; rates and skip weights have no weight decay.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from seqgrid.data import Shape
from seqgrid.models._base import linear_flops
from seqgrid.models._layers import RMSNorm, ShortConvolution
from seqgrid.models._pooled import PooledModel, linear_layers
from seqgrid.models._ssm import start_steps, undecayed
from seqgrid.ops.dropout import Dropout
from seqgrid.ops.selective_scan import selective_scan
from seqgrid.ops.short_conv import short_conv
from seqgrid.settings import QuantumHydraSettings

NORM_EPS = 1e-5
EXPAND = 2  # channels of the state space over d_model
TAPS = 4  # positions the convolution reads
SMALLEST_STEP = 1e-30  # at which nothing decays and v / step is finite


class Settings(QuantumHydraSettings):
    """What a study may set."""

    # below two the hidden layer of the head would be empty
    d_model: int = Field(128, ge=2, le=65536, description="width of a position, channels")
    num_layers: int = Field(2, ge=1, le=1024, description="layers of two scans")
    d_state: int = Field(16, ge=1, description="states of each channel")


class TwoScans(nn.Module):
    """The scan of a sequence plus that of the reversed one, gated; (B, L, D) -> (B, L, D)."""

    def __init__(self, d_model: int, d_state: int):
        super().__init__()
        channels, dt_rank = EXPAND * d_model, -(-d_model // 16)
        self.d_state, self.channels = d_state, channels
        self.split = (channels, channels, d_state, d_state, dt_rank)
        self.in_proj = nn.Linear(d_model, sum(self.split), bias=False)
        self.conv1d = ShortConvolution(channels, TAPS, bias=True, activation="silu")
        self.dt_proj = nn.Linear(dt_rank, channels)
        start_steps(self.dt_proj)
        self.A_log = undecayed(torch.arange(1.0, d_state + 1).log().repeat(channels, 1))
        self.D = undecayed(torch.ones(channels))
        self.out_proj = nn.Linear(channels, d_model, bias=False)
        self.norm = RMSNorm(channels, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Mixed positions; x (B, L, D) -> (B, L, D)."""
        z, v, B, C, steps = self.in_proj(x).split(self.split, -1)
        v, delta = self.conv1d(v), softplus(self.dt_proj(steps))
        # half precision would not give v back from v / delta
        delta = delta.to(torch.promote_types(delta.dtype, torch.float32))
        delta = delta.clamp(min=SMALLEST_STEP)
        both = (torch.cat((part, part.flip(1))) for part in (v / delta, delta, B, C))
        u, delta, B, C = both
        forward, backward = selective_scan(u, delta, -self.A_log.exp(), B, C)[0].chunk(2)
        y = torch.addcmul(forward + backward.flip(1), v, self.D, value=2)
        return self.out_proj(self.norm(y) * silu(z))

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The states of both directions, and the input, which the reversed one reads last."""
        elements = 2 * self.channels * self.d_state + seqlen * self.out_proj.out_features
        return elements * bytes_per_element

    def flops_per_token(self) -> float:
        """Projections, the convolution, and a write and a read of each state in both scans."""
        scans = 2 * 2 * 2 * self.channels * self.d_state
        return linear_flops(*linear_layers(self)) + 2 * TAPS * self.channels + scans


class Block(nn.Module):
    """Two scans and a norm behind them, added to the input."""

    def __init__(self, settings: Settings):
        super().__init__()
        self.mixer = TwoScans(settings.d_model, settings.d_state)
        self.norm = RMSNorm(settings.d_model, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """One layer further; x (B, L, D) -> (B, L, D)."""
        return x + self.norm(self.mixer(x))


class Model(PooledModel):
    """Embedding, layers of two scans, the mean over positions, a head with a hidden layer."""

    operators = (short_conv, selective_scan)

    def __init__(self, settings: Settings, shape: Shape):
        super().__init__(settings, shape)
        d_model = settings.d_model
        self.embedding = self.input_layer(d_model)
        self.dropout = Dropout(settings.dropout)
        self.layers = nn.ModuleList(Block(settings) for _ in range(settings.num_layers))
        self.final_norm = RMSNorm(d_model, eps=NORM_EPS)
        self.classifier = nn.Sequential(
            nn.Linear(d_model, d_model // 2),
            nn.GELU(),
            Dropout(settings.dropout),
            nn.Linear(d_model // 2, self.num_targets),
        )

    def project(self, inputs: Tensor) -> Tensor:
        """Embedded positions, (B, L, C) -> (B, L, D)."""
        return self.dropout(self.embedding(inputs))

    def answer(self, x: Tensor) -> Tensor:
        """The answer, (B, T); x (B, L, D)."""
        for layer in self.layers:
            x = layer(x)
        return self.classifier(self.final_norm(x).mean(1))

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """States and inputs of each layer."""
        return sum(mixer.state_bytes(seqlen, bytes_per_element) for mixer in self._mixers)

    def flops_per_token(self, seqlen: int) -> float:
        """Embedding, layers, and the head once."""
        flops = linear_flops(*linear_layers(self.embedding))
        flops += sum(mixer.flops_per_token() for mixer in self._mixers)
        return flops + linear_flops(*linear_layers(self.classifier)) / seqlen

    @property
    def _mixers(self) -> list[TwoScans]:
        return [layer for layer in self.modules() if isinstance(layer, TwoScans)]


def build(settings: Settings, shape: Shape) -> PooledModel:
    """The whole model."""
    return Model(settings, shape)
