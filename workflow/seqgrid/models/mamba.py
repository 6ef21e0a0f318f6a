"""Mamba: a diagonal state in each channel, whose steps, writes and reads depend on the input.

    x, z = W_in u        x = silu(conv(x))        delta, B, C = W_x x
    delta = softplus(W_dt delta + b)              h_t = exp(delta_t A) h_{t-1} + delta_t B_t x_t
    y_t = W_out (C_t . h_t + D x_t) silu(z_t)

Source: Gu & Dao, arXiv:2312.00752, section 3.4. Parameter names, shapes, settings and their initial
values are those of mamba-ssm's `Mamba`, so weights move both ways; only W_out starts as every other
mixer's here.

B batch, L length, D d_model, N d_state.
"""

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import linear

from seqgrid.models._base import Mixer, linear_flops
from seqgrid.models._layers import ShortConvolution
from seqgrid.models._ssm import initialise_projections, step_bias, undecayed
from seqgrid.ops.selective_scan import selective_scan
from seqgrid.ops.short_conv import short_conv
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What Mamba adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.95,
        source="AdamW's betas, weight decay 0.1, clipping at 1, warm-up and a cosine: Gu and Dao, "
        "arXiv:2312.00752, appendix E.2, who take five times the learning rate of GPT-3, "
        "3e-3 at 125M parameters; warm-up in a tenth of the steps: their audio, appendix E.4",
    )

    d_state: int = Field(16, ge=1, description="states of each channel")
    d_conv: int = Field(4, ge=1, description="positions the short convolution reads")
    expand: float = Field(2.0, gt=0, le=64, description="channels of the state space over d_model")
    dt_rank: int | Literal["auto"] = Field(
        "auto", description="width that step sizes are computed from; auto: d_model / 16, upwards"
    )
    dt_min: float = Field(0.001, gt=0, description="smallest step size at the start")
    dt_max: float = Field(0.1, gt=0, description="largest step size at the start")
    dt_init: Literal["random", "constant"] = Field(
        "random", description="initial weights of step sizes: uniform, or all the same"
    )
    dt_scale: float = Field(1.0, gt=0, description="scale of the initial weights of step sizes")
    dt_init_floor: float = Field(1e-4, gt=0, description="no step size starts below it")
    conv_bias: bool = Field(True, description="bias of the short convolution")
    bias: bool = Field(False, description="biases of the projections in and out")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if int(self.d_model * self.expand) == 0:
            raise ValueError(
                f"expand={self.expand} leaves no channel of d_model={self.d_model}; "
                f"at least {1 / self.d_model:g}"
            )
        if self.dt_rank != "auto" and self.dt_rank < 1:
            raise ValueError(f"dt_rank={self.dt_rank} is below 1; leave it at auto")
        if self.dt_min > self.dt_max:
            raise ValueError(f"dt_min={self.dt_min} is above dt_max={self.dt_max}; exchange them")
        return self


class MambaMixer(Mixer):
    """The layer of mamba-ssm on the selective scan."""

    operators = (short_conv, selective_scan)
    residual_weights = ("out_proj",)

    def __init__(self, settings: Settings):
        super().__init__()
        self.settings = settings
        d_model, self.d_state = settings.d_model, settings.d_state
        self.d_inner = int(d_model * settings.expand)
        self.dt_rank = -(-d_model // 16) if settings.dt_rank == "auto" else settings.dt_rank
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=settings.bias)
        self.conv1d = ShortConvolution(
            self.d_inner, settings.d_conv, bias=settings.conv_bias, activation="silu"
        )
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * self.d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        rates = torch.arange(1.0, self.d_state + 1).log()  # S4D-real: A = -1, -2, ..
        self.A_log = undecayed(rates.repeat(self.d_inner, 1))
        self.D = undecayed(torch.ones(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=settings.bias)

    def forward(self, x: Tensor) -> Tensor:
        """What the states answer; x (B, L, D) -> (B, L, D)."""
        x, z = self.in_proj(x).chunk(2, -1)
        x = self.conv1d(x)
        delta, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], -1)
        # the bias joins the softplus, which a fused kernel takes in at no cost
        delta = linear(delta, self.dt_proj.weight)
        y, _ = selective_scan(
            x,
            delta,
            -self.A_log.exp(),
            B,
            C,
            self.D,
            z=z,
            delta_bias=self.dt_proj.bias,
            delta_softplus=True,
        )
        return self.out_proj(y)

    @torch.no_grad()
    def initialise(self, std: float, residual_std: float) -> None:
        """As in mamba-ssm, step sizes too: their weights keep the variance, the bias the range."""
        initialise_projections(self.in_proj, self.out_proj, residual_std)
        settings = self.settings
        bound = self.dt_rank**-0.5 * settings.dt_scale
        if settings.dt_init == "constant":
            nn.init.constant_(self.dt_proj.weight, bound)
        else:
            nn.init.uniform_(self.dt_proj.weight, -bound, bound)
        self.dt_proj.bias.copy_(
            step_bias(self.d_inner, settings.dt_min, settings.dt_max, settings.dt_init_floor)
        )

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The states of all channels, and the positions the convolution looks back on."""
        elements = self.d_inner * (self.d_state + self.settings.d_conv - 1)
        return elements * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Projections, the convolution, and a write and a read of each channel's states."""
        flops = linear_flops(self.in_proj, self.x_proj, self.dt_proj, self.out_proj)
        return flops + 2 * self.d_inner * (self.settings.d_conv + 2 * self.d_state)


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return MambaMixer(settings)
