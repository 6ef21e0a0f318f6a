"""RWKV-7: a matrix memory whose keys are removed and replaced channel by channel.

    x^i = x_t + mu_i (x_{t-1} - x_t)   for i in r, w, k, v, a, g              token shift
    r, k, v = W_i x^i      w = -exp(-1/2) sigmoid(lora_w(x^w))      a = sigmoid(lora_a(x^a))
    v <- v + sigmoid(lora_v(x^v)) (v_first - v)      v_first: v of the first layer
    u = k * k_k to unit length      k <- k (1 + (a - 1) k_a)      g = lora_g(x^g)
    S_t = (diag(exp w_t) - (u * a) u^T) S_{t-1} + k_t v_t^T
    y_t = W_o ((groupnorm(S_t^T r_t) + (r_t . (r_k * k_t)) v_t) g_t)

Source: Peng et al., arXiv:2503.14456, section 4. Parameter names, shapes, settings and initial
values are those of the RWKV7Attention layer of flash-linear-attention, so weights move both ways.
What follows it is this backbone's MLP, not RWKV's channel mixing, and this backbone's RMSNorm
stands before it. A model of one layer has that layer first and last at once.

B batch, L length, D d_model, H heads, K and V widths of keys and values in a head.
"""

import math
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from seqgrid.models._base import Mixer, linear_flops
from seqgrid.models._delta import undecayed
from seqgrid.ops.dplr import dplr
from seqgrid.settings import BackboneSettings, Recipe

LOWEST_DECAY = -math.exp(-0.5)  # nats a position
STREAMS = "rwkvag"  # what token shift mixes for
# powers of the channel's place in how much of the present each stream keeps at the start
SHIFT_POWERS = {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}


class Settings(BackboneSettings):
    """What RWKV-7 adds to the backbone."""

    common: ClassVar[tuple[str, ...]] = ("value_dim",)
    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.99,
        source="AdamW's betas, weight decay 0.1, clipping at 1, a cosine: the authors' code for "
        "the Pile (BlinkDL/RWKV-LM, RWKV-v7/train_temp/demo-training-run-v7-pile.sh; Peng et al., "
        "arXiv:2503.14456), from 8e-4 after 10 steps; its epsilon of 1e-18 and twice the rate for "
        "the decay's bias are no settings here",
    )

    head_dim: int | None = Field(
        16, ge=2, description="width of a key; None: from num_heads; the library's 64 suit 1024"
    )
    num_heads: int | None = Field(None, ge=1, description="heads, where head_dim is None")
    value_dim: int | None = Field(None, ge=1, description="width of all values; None: d_model")
    decay_low_rank_dim: int | None = Field(
        None, ge=1, description="rank of the decay; None: 2.5 sqrt(d_model) head_dim / 64, >= 32"
    )
    a_low_rank_dim: int | None = Field(
        None, ge=1, description="rank of the rate; None: 2.5 sqrt(d_model) head_dim / 64, >= 32"
    )
    v_low_rank_dim: int | None = Field(
        None,
        ge=1,
        description="rank of the value mix; None: 1.7 sqrt(d_model) head_dim/64, >= 32",
    )
    gate_low_rank_dim: int | None = Field(
        None, ge=1, description="rank of the output gate; None: 5 sqrt(d_model), at least 32"
    )
    elementwise_affine: bool = Field(True, description="weight and bias in the norm of the heads")
    norm_eps: float = Field(1e-5, gt=0, description="of that norm, a channel of a head")

    @model_validator(mode="after")
    def _widths_divide(self) -> Self:
        if (self.head_dim is None) == (self.num_heads is None):
            raise ValueError(
                f"head_dim={self.head_dim} and num_heads={self.num_heads}: set one of them and the "
                "other to null"
            )
        if self.d_model % (self.head_dim or self.num_heads or 1):
            raise ValueError(
                f"head_dim={self.head_dim}, num_heads={self.num_heads}: not a divisor of "
                f"d_model={self.d_model}"
            )
        if self.key_width < 2:
            raise ValueError(f"num_heads={self.num_heads} leaves heads one channel; need 2 or more")
        heads = self.d_model // self.key_width
        if (self.value_dim or 0) % heads:
            raise ValueError(f"value_dim={self.value_dim} is not a multiple of the {heads} heads")
        return self

    @property
    def key_width(self) -> int:
        """Width of a key."""
        return self.head_dim or self.d_model // (self.num_heads or 1)


class LoRA(nn.Module):
    """A linear map of low rank, with an activation in between; (..., D) -> (..., W)."""

    def __init__(
        self, d_model: int, width: int, rank: int, activation: type[nn.Module], bias: bool = True
    ):
        super().__init__()
        self.lora = nn.Sequential(
            nn.Linear(d_model, rank, bias=False), activation(), nn.Linear(rank, width, bias=bias)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Mapped; x (..., D) -> (..., W)."""
        return self.lora(x)

    @torch.no_grad()
    def initialise(self, bias: Tensor | None = None) -> None:
        """Nothing but the bias (W,) at the start."""
        down, up = self.lora[0], self.lora[2]
        assert isinstance(down, nn.Linear)
        assert isinstance(up, nn.Linear)
        nn.init.zeros_(down.weight)
        widening = max(1.0, down.out_features / up.out_features)
        nn.init.orthogonal_(up.weight, 0.1 * math.sqrt(widening))
        if bias is not None:
            up.bias.copy_(bias)


class RWKV7Mixer(Mixer):
    """The layer of flash-linear-attention."""

    carries = True
    operators = (dplr,)

    def __init__(self, settings: Settings, layer: int):
        super().__init__()
        d_model, self.head_dim = settings.d_model, settings.key_width
        self.layer, self.num_layers = layer, settings.num_layers
        self.num_heads = d_model // self.head_dim
        self.value_dim = settings.value_dim or d_model
        # no matrices, whatever their shape: the authors' optimiser does not decay them
        for name in STREAMS:
            self.register_parameter(f"x_{name}", undecayed(torch.empty(1, 1, d_model)))
        self.k_k = nn.Parameter(torch.empty(d_model))
        self.k_a = nn.Parameter(torch.empty(d_model))
        self.r_k = undecayed(torch.empty(self.num_heads, self.head_dim))
        self.r_proj = nn.Linear(d_model, d_model, bias=False)
        self.k_proj = nn.Linear(d_model, d_model, bias=False)
        self.v_proj = nn.Linear(d_model, self.value_dim, bias=False)
        self.o_proj = nn.Linear(self.value_dim, d_model, bias=False)

        def rank(given: int | None, scale: float) -> int:
            return given or max(32, round(scale * math.sqrt(d_model) / 32) * 32)

        share = self.head_dim / 64
        decay_rank = rank(settings.decay_low_rank_dim, 2.5 * share)
        self.w_lora = LoRA(d_model, d_model, decay_rank, nn.Tanh)
        if layer:
            v_rank = rank(settings.v_low_rank_dim, 1.7 * share)
            self.v_lora = LoRA(d_model, self.value_dim, v_rank, nn.Identity)
        a_rank = rank(settings.a_low_rank_dim, 2.5 * share)
        self.a_lora = LoRA(d_model, d_model, a_rank, nn.Identity)
        g_rank = rank(settings.gate_low_rank_dim, 5)
        self.g_lora = LoRA(d_model, self.value_dim, g_rank, nn.Sigmoid, bias=False)
        self.g_norm = nn.GroupNorm(
            self.num_heads,
            self.value_dim,
            eps=self.head_dim * settings.norm_eps,
            affine=settings.elementwise_affine,
        )

    @torch.no_grad()
    def initialise(self, std: float, residual_std: float) -> None:
        """As the library starts it, whatever std: what a layer writes is 0, what it keeps graded.

        Values of flash-linear-attention 0.6.0, which are those of the authors' own code.
        """
        depth = self.layer / max(1, self.num_layers - 1)  # 0 to 1
        height = 1 - self.layer / self.num_layers  # 1 to almost 0
        channel = torch.arange(len(self.k_k))
        linear = channel / (len(channel) - 1) - 0.5
        half = (self.head_dim - 1) / 2
        zigzag = (channel % self.head_dim - half) / half
        zigzag = zigzag * zigzag.abs()
        for name, power in SHIFT_POWERS.items():
            place = channel / len(channel)
            self.get_parameter(f"x_{name}").copy_(1 - place ** (power * height))
        self.k_k.copy_(0.71 - 0.1 * linear)
        self.k_a.fill_(1.02)
        self.r_k.fill_(-0.04)
        decay = -6 + 6 * (channel / (len(channel) - 1)) ** (1 + depth**0.3)
        self.w_lora.initialise(decay + 0.5 + 2.5 * zigzag)
        self.a_lora.initialise(-0.19 + 0.3 * zigzag + 0.4 * linear)
        self.g_lora.initialise()
        if self.layer:
            place = torch.arange(self.value_dim) / max(1, self.value_dim - 1) - 0.5
            self.v_lora.initialise(0.73 - 0.4 * place)
        if self.g_norm.affine:
            self.g_norm.weight.fill_(((self.layer + 1) / self.num_layers) ** 0.7)
        nn.init.orthogonal_(self.r_proj.weight)
        nn.init.orthogonal_(self.k_proj.weight, gain=0.1)
        nn.init.orthogonal_(self.v_proj.weight)
        nn.init.zeros_(self.o_proj.weight)

    def forward(self, x: Tensor, carried: dict[str, Tensor] | None = None) -> Tensor:
        """What the memory answers; x (B, L, D) -> (B, L, D).

        Args:
            x: (B, L, D).
            carried: holds `v_first` (B, L, value_dim), which the first layer puts there.
        """
        B, L, _ = x.shape
        heads = (B, L, self.num_heads, -1)
        change = F.pad(x, (0, 0, 1, -1)) - x
        xr, xw, xk, xv, xa, xg = (
            torch.addcmul(x, change, self.get_parameter(f"x_{name}")) for name in STREAMS
        )
        r, k, v = self.r_proj(xr), self.k_proj(xk), self.v_proj(xv)
        w = LOWEST_DECAY * self.w_lora(xw).sigmoid()
        carried = {} if carried is None else carried
        if self.layer:
            v = torch.lerp(v, carried["v_first"], self.v_lora(xv).sigmoid())
        else:
            carried["v_first"] = v
        a = self.a_lora(xa).sigmoid()
        removed = F.normalize((k * self.k_k).view(heads), dim=-1)
        k = torch.addcmul(k, k * (a - 1), self.k_a)
        r, w, k, v, a = (stream.view(heads) for stream in (r, w, k, v, a))
        o, _ = dplr(r, k, v, -removed, removed * a, w, 1.0, lower_bound=LOWEST_DECAY)
        o = self.g_norm(o.reshape(B * L, self.value_dim)).view(heads)
        o = torch.addcmul(o, (r * k * self.r_k).sum(-1, keepdim=True), v)
        return self.o_proj(o.reshape(B, L, self.value_dim) * self.g_lora(xg))

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The matrix of each head, and the position before."""
        return (self.head_dim * self.value_dim + self.r_proj.in_features) * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Linear layers, and a read, two writes and an answer of each head's matrix."""
        layers = [module for module in self.modules() if isinstance(module, nn.Linear)]
        return linear_flops(*layers) + 2 * 4 * self.head_dim * self.value_dim


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return RWKV7Mixer(settings, layer)
