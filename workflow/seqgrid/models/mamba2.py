"""Mamba-2: a matrix memory a head that decays by one number which the input chooses.

    z, x, B, C, dt = W_in u      x, B, C = silu(conv(x, B, C))      dt = softplus(dt + dt_bias)
    S_t = exp(dt_t A) S_{t-1} + dt_t x_t B_t^T        y_t = W_out norm((S_t C_t + D x_t) silu(z_t))

Source: Dao & Gu, arXiv:2405.21060, section 7. Parameter names, shapes, settings and their initial
values are those of mamba-ssm's `Mamba2`, so weights move both ways; only W_out starts
as every other mixer's here. With `d_ssm` the other channels are a gated MLP.

B batch, L length, D d_model, H heads, P headdim, G ngroups, N d_state.
"""

from typing import Any, ClassVar, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from seqgrid.models._base import Mixer, linear_flops
from seqgrid.models._layers import ShortConvolution
from seqgrid.models._ssm import GatedRMSNorm, initialise_projections, step_bias, undecayed
from seqgrid.ops.short_conv import short_conv
from seqgrid.ops.ssd import ssd
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What Mamba-2 adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.95,
        source="AdamW's betas, weight decay 0.1, clipping at 1, warm-up and a cosine: Dao and Gu, "
        "arXiv:2405.21060, appendix D.2; on recall, appendix D.1, rates of 3.2e-4, 3.2e-3 and 1e-2 "
        "with a linear decay",
    )

    d_state: int = Field(
        64, ge=1, description="keys of a head; mamba-ssm's 128 are for wide models"
    )
    d_conv: int = Field(4, ge=1, description="positions the short convolution reads")
    conv_init: float | None = Field(
        None, gt=0, description="bound of its uniform initial weights; None: that of torch"
    )
    expand: float = Field(2.0, gt=0, le=64, description="channels of all heads over d_model")
    headdim: int = Field(
        32, ge=1, description="channels of a head; mamba-ssm's 64 are for wide models"
    )
    d_ssm: int | None = Field(
        None, ge=1, description="channels of the memory, the rest a gated MLP; None: all"
    )
    ngroups: int = Field(
        1, ge=1, description="groups of heads; each has keys and queries of its own"
    )
    A_init_range: tuple[float, float] = Field(
        (1.0, 16.0), description="rates at the start, uniform"
    )
    D_has_hdim: bool = Field(False, description="a skip weight a channel, else one a head")
    rmsnorm: bool = Field(True, description="norm the output; else only gate it")
    norm_before_gate: bool = Field(False, description="gate after the norm, else before it")
    dt_min: float = Field(0.001, gt=0, description="smallest step size at the start")
    dt_max: float = Field(0.1, gt=0, description="largest step size at the start")
    dt_init_floor: float = Field(1e-4, gt=0, description="no step size starts below it")
    dt_limit: tuple[float, float] | None = Field(
        None, description="bounds of step sizes; None: none (0 and infinity in mamba-ssm)"
    )
    bias: bool = Field(False, description="biases of the projections in and out")
    conv_bias: bool = Field(True, description="bias of the short convolution")

    @field_validator("A_init_range", "dt_limit", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value  # files have lists only

    @model_validator(mode="after")
    def _possible(self) -> Self:
        d_inner = int(self.d_model * self.expand)
        d_ssm = d_inner if self.d_ssm is None else self.d_ssm
        if d_ssm > d_inner:
            raise ValueError(f"d_ssm={d_ssm} is above d_model * expand = {d_inner}; raise expand")
        if d_ssm == 0 or d_ssm % self.headdim:
            raise ValueError(
                f"headdim={self.headdim} does not divide the {d_ssm} channels of the memory "
                "(d_model * expand, or d_ssm)"
            )
        if d_ssm // self.headdim % self.ngroups:
            raise ValueError(
                f"ngroups={self.ngroups} does not divide the {d_ssm // self.headdim} heads; "
                "choose another headdim"
            )
        low, high = self.A_init_range
        if not 0 < low <= high:
            raise ValueError(f"A_init_range={self.A_init_range} is not 0 < lower <= upper")
        if self.dt_limit is not None and not 0 <= self.dt_limit[0] < self.dt_limit[1]:
            raise ValueError(f"dt_limit={self.dt_limit} is not 0 <= lower < upper")
        if self.dt_min > self.dt_max:
            raise ValueError(f"dt_min={self.dt_min} is above dt_max={self.dt_max}; exchange them")
        if self.norm_before_gate and not self.rmsnorm:
            raise ValueError("norm_before_gate=true orders a norm that rmsnorm=false leaves out")
        return self


class Mamba2Mixer(Mixer):
    """The layer of mamba-ssm on state space duality."""

    operators = (short_conv, ssd)
    residual_weights = ("out_proj",)

    def __init__(self, settings: Settings):
        super().__init__()
        self.settings = settings
        d_model, self.ngroups, self.headdim = settings.d_model, settings.ngroups, settings.headdim
        d_inner = int(d_model * settings.expand)
        self.d_ssm = d_inner if settings.d_ssm is None else settings.d_ssm
        self.d_mlp = d_inner - self.d_ssm
        self.nheads = self.d_ssm // settings.headdim
        self.keys = self.ngroups * settings.d_state
        self.conv_dim = self.d_ssm + 2 * self.keys
        self.in_proj = nn.Linear(
            d_model, 2 * d_inner + 2 * self.keys + self.nheads, bias=settings.bias
        )
        self.conv1d = ShortConvolution(
            self.conv_dim, settings.d_conv, bias=settings.conv_bias, activation="silu"
        )
        if settings.conv_init is not None:
            nn.init.uniform_(self.conv1d.weight, -settings.conv_init, settings.conv_init)
        self.dt_bias = undecayed(
            step_bias(self.nheads, settings.dt_min, settings.dt_max, settings.dt_init_floor)
        )
        self.A_log = undecayed(torch.empty(self.nheads).uniform_(*settings.A_init_range).log())
        self.D = undecayed(torch.ones(self.d_ssm if settings.D_has_hdim else self.nheads))
        if settings.rmsnorm:
            self.norm = GatedRMSNorm(self.d_ssm, self.ngroups, settings.norm_before_gate)
        self.out_proj = nn.Linear(d_inner, d_model, bias=settings.bias)

    def forward(self, x: Tensor) -> Tensor:
        """What the memories answer; x (B, L, D) -> (B, L, D)."""
        widths = [self.d_mlp, self.d_mlp, self.d_ssm, self.conv_dim, self.nheads]
        mlp_gate, mlp, z, xBC, dt = self.in_proj(x).split(widths, -1)
        x, B, C = self.conv1d(xBC).split([self.d_ssm, self.keys, self.keys], -1)
        dt = softplus(dt + self.dt_bias)
        if self.settings.dt_limit is not None:
            dt = dt.clamp(*self.settings.dt_limit)
        y, _ = ssd(
            x.unflatten(-1, (self.nheads, self.headdim)),
            dt,
            -self.A_log.exp(),
            B.unflatten(-1, (self.ngroups, -1)),
            C.unflatten(-1, (self.ngroups, -1)),
            D=self.D.view(self.nheads, -1) if self.settings.D_has_hdim else self.D,
        )
        y = y.flatten(-2)
        y = self.norm(y, z) if self.settings.rmsnorm else y * silu(z)
        if self.d_mlp:
            y = torch.cat([silu(mlp_gate) * mlp, y], -1)
        return self.out_proj(y)

    def initialise(self, std: float, residual_std: float) -> None:
        """As in mamba-ssm; what depends on no std was drawn when it was made."""
        initialise_projections(self.in_proj, self.out_proj, residual_std)

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The matrix of each head, and the positions the convolution looks back on."""
        elements = self.d_ssm * self.settings.d_state
        elements += (self.settings.d_conv - 1) * self.conv_dim
        return elements * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Projections, the convolution, and a write and a read of each head's matrix."""
        flops = linear_flops(self.in_proj, self.out_proj)
        flops += 2 * self.settings.d_conv * self.conv_dim
        return flops + 2 * 2 * self.d_ssm * self.settings.d_state


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return Mamba2Mixer(settings)
