"""minLSTM: an LSTM whose gates and candidate do not read its state, so that it is a linear scan.

    f_t, i_t = sigmoid(W_f x_t), sigmoid(W_i x_t)         f', i' = f / (f + i), i / (f + i)
    h_t = f'_t h_{t-1} + i'_t g(W_h x_t)

Source: Feng et al., arXiv:2410.01201, section 3.2 and appendix B.2, with the two gates normalised
so that the scale of h does not depend on the length; g as in minGRU. Parameters are those of the
package minGRU-pytorch: `to_hidden_and_f_i_gate` holds candidate, forget gate and input gate.

B batch, L length, D d_model, E hidden width.
"""

from typing import ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import softplus

from seqgrid.models._base import Mixer, linear_flops
from seqgrid.models.mingru import output_layer, positive, widened
from seqgrid.ops.scan import scan
from seqgrid.settings import BackboneSettings, Recipe


class Settings(BackboneSettings):
    """What a minLSTM adds to the backbone."""

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


class MinLSTMMixer(Mixer):
    """The recurrence, and a linear layer behind it where asked."""

    operators = (scan,)
    residual_weights = ("to_out",)

    def __init__(self, settings: Settings):
        super().__init__()
        D = settings.d_model
        self.settings = settings
        self.hidden_dim = int(D * settings.expansion_factor)
        self.to_hidden_and_f_i_gate = nn.Linear(D, 3 * self.hidden_dim, bias=False)
        self.to_out = output_layer(settings.proj_out, self.hidden_dim, D)

    def forward(self, x: Tensor) -> Tensor:
        """Hidden states; x (B, L, D) -> (B, L, D)."""
        hidden, forget, write = widened(self.to_hidden_and_f_i_gate(x)).chunk(3, -1)
        if self.settings.positive:
            hidden = positive(hidden)
        # f / (f + i) as a sigmoid of log f - log i: the quotient is 0 / 0 where both gates close
        ratio = softplus(-write) - softplus(-forget)
        h, _ = scan(ratio.sigmoid(), (-ratio).sigmoid() * hidden)
        return self.to_out(h.to(x.dtype))

    def state_bytes(self, seqlen: int, bytes_per_element: int = 4) -> int:
        """The hidden state."""
        return self.hidden_dim * bytes_per_element

    def flops_per_token(self, seqlen: int) -> float:
        """The linear layers; the recurrence is pointwise."""
        return linear_flops(*(m for m in self.modules() if isinstance(m, nn.Linear)))


def mixer(settings: Settings, layer: int) -> Mixer:
    """The mixer of a layer."""
    return MinLSTMMixer(settings)
