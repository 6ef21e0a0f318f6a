"""Hydra: a quasiseparable mixer, which reads every position from both sides.

    z, x, B, C, B', C', dt, dt' = W_in u      x, B, C, B', C' = silu(conv(x, B, C, B', C'))
    y = shift(SSD(x, dt, B, C)) + flip(shift(SSD(flip(x, dt', B', C')))) + (W_D x + D) x
    output = W_out norm(y) silu(z)            dt = softplus(dt + dt_bias)

Source: Hwang et al., arXiv:2407.09941, section 3 and their public code, goombalab/hydra. The shift
by one position leaves the diagonal to D alone. The convolution is centred. Parameter names, shapes,
settings and their initial values are those of `Hydra` there, so weights move both ways; only W_out
starts as every other mixer's here. Not causal: the reversed pass flips each sequence about its own
length, so padding is read by no position of its own.

B batch, L length, D d_model, H heads, P headdim, G ngroups, N d_state.
"""

from typing import Any, ClassVar, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from seqgrid.models._base import Mixer, linear_flops
from seqgrid.models._layers import ShortConvolution
from seqgrid.models._ssm import GatedRMSNorm, initialise_projections, step_bias, undecayed
from seqgrid.ops.short_conv import short_conv
from seqgrid.ops.ssd import ssd
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What Hydra adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        beta2=0.98,
        schedule="linear",
        source="AdamW's betas, clipping at 1, a linear decay: the authors' code for masked words "
        "(goombalab/hydra, hydra/bert/yamls/pretrain/hydra.yaml; Hwang et al., arXiv:2407.09941), "
        "with 6 % of warm-up. Its weight decay of 1e-5 belongs to Composer's DecoupledAdamW, which "
        "does not multiply it by the learning rate, and is no value for AdamW",
    )

    d_state: int = Field(64, ge=1, description="keys of a head, in each direction")
    d_conv: int = Field(7, ge=1, description="positions the centred convolution reads, odd")
    conv_init: float | None = Field(
        None, gt=0, description="bound of its uniform initial weights; None: that of torch"
    )
    expand: float = Field(2.0, gt=0, le=64, description="channels of all heads over d_model")
    headdim: int = Field(
        32, ge=1, description="channels of a head; the authors' 64 are for wide models"
    )
    ngroups: int = Field(
        1, ge=1, description="groups of heads; each has keys and queries of its own"
    )
    dt_min: float = Field(0.001, gt=0, description="smallest step size at the start")
    dt_max: float = Field(0.1, gt=0, description="largest step size at the start")
    dt_init_floor: float = Field(1e-4, gt=0, description="no step size starts below it")
    dt_limit: tuple[float, float] | None = Field(
        None, description="bounds of step sizes; None: none (0 and infinity in the authors' code)"
    )
    learnable_init_states: bool = Field(False, description="trained first states, else zeros")
    bias: bool = Field(False, description="biases of the projections in and out")
    conv_bias: bool = Field(True, description="bias of the convolution")

    @field_validator("dt_limit", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value  # files have lists only

    @model_validator(mode="after")
    def _possible(self) -> Self:
        d_inner = int(self.d_model * self.expand)
        if d_inner == 0 or d_inner % self.headdim:
            raise ValueError(f"headdim={self.headdim} does not divide d_model * expand = {d_inner}")
        if d_inner // self.headdim % self.ngroups:
            raise ValueError(
                f"ngroups={self.ngroups} does not divide the {d_inner // self.headdim} heads; "
                "choose another headdim"
            )
        if self.d_conv % 2 == 0:
            raise ValueError(f"d_conv={self.d_conv} has no centre; choose an odd number")
        if self.dt_limit is not None and not 0 <= self.dt_limit[0] < self.dt_limit[1]:
            raise ValueError(f"dt_limit={self.dt_limit} is not 0 <= lower < upper")
        if self.dt_min > self.dt_max:
            raise ValueError(f"dt_min={self.dt_min} is above dt_max={self.dt_max}; exchange them")
        return self

    @property
    def reads_ahead(self) -> bool:
        """Always."""
        return True


class HydraMixer(Mixer):
    """The layer of the authors on state space duality, both directions in one call."""

    causal = False
    operators = (short_conv, ssd)
    residual_weights = ("out_proj",)

    def __init__(self, settings: Settings):
        super().__init__()
        self.settings = settings
        d_model, self.ngroups, self.headdim = settings.d_model, settings.ngroups, settings.headdim
        self.d_inner = int(d_model * settings.expand)
        self.nheads = self.d_inner // self.headdim
        self.keys = self.ngroups * settings.d_state
        self.conv_dim = self.d_inner + 4 * self.keys
        self.in_proj = nn.Linear(
            d_model, self.d_inner + self.conv_dim + 2 * self.nheads, bias=settings.bias
        )
        self.conv1d = ShortConvolution(
            self.conv_dim, settings.d_conv, bias=settings.conv_bias, activation="silu"
        )
        if settings.conv_init is not None:
            nn.init.uniform_(self.conv1d.weight, -settings.conv_init, settings.conv_init)
        if settings.learnable_init_states:
            self.init_states = undecayed(torch.zeros(self.nheads, self.headdim, settings.d_state))
        self.dt_bias = undecayed(
            step_bias(self.nheads, settings.dt_min, settings.dt_max, settings.dt_init_floor)
        )
        self.A_log = undecayed(torch.zeros(self.nheads))
        self.D = undecayed(torch.ones(self.nheads))
        self.fc_D = nn.Linear(self.d_inner, self.nheads, bias=False)
        self.norm = GatedRMSNorm(self.d_inner, norm_before_gate=True)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=settings.bias)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What both directions answer; x (B, L, D) -> (B, L, D); padding from `lengths` (B,) on."""
        B, L, _ = x.shape
        position = torch.arange(L, device=x.device)
        # where each position of the reversed pass comes from; padding stays where it is
        if lengths is None:
            own, mirror = None, position.flip(0).expand(B, L)
        else:
            own = position < lengths[:, None]
            mirror = torch.where(own, lengths[:, None] - 1 - position, position)
        z, mixed, dt = self.in_proj(x).split([self.d_inner, self.conv_dim, 2 * self.nheads], -1)
        values, keys, back_keys = self._convolved(mixed, own).split(
            [self.d_inner, 2 * self.keys, 2 * self.keys], -1
        )
        heads = (self.nheads, self.headdim)
        dt = softplus(_both(*dt.chunk(2, -1), mirror) + self.dt_bias)
        if self.settings.dt_limit is not None:
            dt = dt.clamp(*self.settings.dt_limit)
        key, query = _both(keys, back_keys, mirror).unflatten(-1, (2, self.ngroups, -1)).unbind(2)
        state = None
        if self.settings.learnable_init_states:
            state = self.init_states.expand(2 * B, -1, -1, -1)
        x = _both(values, values, mirror).unflatten(-1, heads)
        y, _ = ssd(x, dt, -self.A_log.exp(), key, query, initial_state=state)
        y = pad(y[:, :-1].flatten(-2), (0, 0, 1, 0))  # what reached a position from before it
        forward, backward = y.chunk(2)
        weight = self.fc_D(values) + self.D  # (B, L, H)
        skip = (values.unflatten(-1, heads) * weight.unsqueeze(-1)).flatten(-2)
        return self.out_proj(self.norm(forward + _taken(backward, mirror) + skip, z))

    def _convolved(self, x: Tensor, own: Tensor | None) -> Tensor:
        """Centred: a causal convolution that is read so many positions later; (B, L, W)."""
        x = x if own is None else x * own.unsqueeze(-1)
        ahead = self.settings.d_conv // 2
        return self.conv1d(pad(x, (0, 0, 0, ahead)))[:, ahead:]

    def initialise(self, std: float, residual_std: float) -> None:
        """As in mamba-ssm; what depends on no std was drawn when it was made."""
        initialise_projections(self.in_proj, self.out_proj, residual_std)

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The matrices of both directions, and the input, which the reversed one reads last."""
        elements = 2 * self.d_inner * self.settings.d_state + seqlen * self.settings.d_model
        return elements * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """Projections, convolution, and a write and a read of each matrix in both directions."""
        flops = linear_flops(self.in_proj, self.fc_D, self.out_proj)
        flops += 2 * self.settings.d_conv * self.conv_dim
        return flops + 2 * 2 * 2 * self.d_inner * self.settings.d_state


def _both(forward: Tensor, backward: Tensor, mirror: Tensor) -> Tensor:
    """Sequences as they are, then reversed ones; (B, L, W) twice -> (2 B, L, W)."""
    return torch.cat([forward, _taken(backward, mirror)])


def _taken(x: Tensor, source: Tensor) -> Tensor:
    """Position t of the result is position source[t] of x; (B, L, W), (B, L) -> (B, L, W)."""
    return x.gather(1, source.unsqueeze(-1).expand_as(x))


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return HydraMixer(settings)
