"""minGRU: a GRU whose gate and candidate do not read its state, so that it is a linear scan.

    z_t = sigmoid(W_z x_t)        h_t = (1 - z_t) h_{t-1} + z_t g(W_h x_t)
    g(x) = x + 0.5 where x >= 0, else sigmoid(x)

Source: Feng et al., arXiv:2410.01201, section 3.1 and appendix B.2. g keeps every number positive,
which their log-space form needs and a plain scan does not: `positive: false` leaves g out, as
section 3.1 has it. Parameters are those of the package minGRU-pytorch: candidate and gate are the
halves of `to_hidden_and_gate`, and `to_out` is there where `proj_out` or `expansion_factor` asks.

B batch, L length, D d_model, E hidden width.
"""

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqgrid.models._base import Mixer, linear_flops
from seqgrid.ops.scan import scan
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What a minGRU adds to the backbone."""

    recipe: ClassVar[Recipe | None] = Recipe(
        source="What Feng et al., arXiv:2410.01201, train with was not found",
    )

    expansion_factor: float = Field(1.0, gt=0, description="hidden width over d_model")
    proj_out: bool | None = Field(
        None, description="linear layer behind the scan; None: where the widths differ"
    )
    positive: bool = Field(True, description="candidates pass g, which is positive; false: as is")

    @model_validator(mode="after")
    def _widths_fit(self) -> Self:
        inner = int(self.d_model * self.expansion_factor)
        if inner < 1:
            raise ValueError(
                f"expansion_factor={self.expansion_factor} leaves no hidden channel of "
                f"d_model={self.d_model}; at least {1 / self.d_model:.3g}"
            )
        if self.proj_out is False and inner != self.d_model:
            raise ValueError(
                f"expansion_factor={self.expansion_factor} needs proj_out to come back from "
                f"{inner} channels to d_model={self.d_model}"
            )
        return self


class MinGRUMixer(Mixer):
    """The recurrence, and a linear layer behind it where asked."""

    operators = (scan,)
    residual_weights = ("to_out",)

    def __init__(self, settings: Settings):
        super().__init__()
        D = settings.d_model
        self.settings = settings
        self.hidden_dim = int(D * settings.expansion_factor)
        self.to_hidden_and_gate = nn.Linear(D, 2 * self.hidden_dim, bias=False)
        self.to_out = output_layer(settings.proj_out, self.hidden_dim, D)

    def forward(self, x: Tensor) -> Tensor:
        """Hidden states; x (B, L, D) -> (B, L, D)."""
        hidden, gate = widened(self.to_hidden_and_gate(x)).chunk(2, -1)
        if self.settings.positive:
            hidden = positive(hidden)
        h, _ = scan((-gate).sigmoid(), gate.sigmoid() * hidden)
        return self.to_out(h.to(x.dtype))

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The hidden state."""
        return self.hidden_dim * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """The linear layers; the recurrence is pointwise."""
        return linear_flops(*(m for m in self.modules() if isinstance(m, nn.Linear)))


def output_layer(proj_out: bool | None, hidden_dim: int, d_model: int) -> nn.Module:
    """The linear layer behind a scan of E channels, where asked or needed; else nothing."""
    if proj_out or (proj_out is None and hidden_dim != d_model):
        return nn.Linear(hidden_dim, d_model, bias=False)
    return nn.Identity()


def widened(x: Tensor) -> Tensor:
    """In float32 at least: bfloat16 knows no number between 0.996 and 1, which gates live on."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def positive(x: Tensor) -> Tensor:
    """The g of appendix B.2: continuous, positive, and near the identity for large inputs."""
    return torch.where(x >= 0, x + 0.5, x.sigmoid())


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return MinGRUMixer(settings)
