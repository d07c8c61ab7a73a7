"""The exponential moving average of a network's weights while it trains.

Averaged weights are less noisy than the last ones and mostly better. Each step a share of 1 - decay
of the new weights enters; at the start more, (1 + n) / (10 + n) being the most that decay can be
after n steps (TensorFlow's rule), so that random first weights are soon forgotten.
"""

from copy import deepcopy

import torch
from torch import nn

from panoptic_deeplab.sharding import own_part


class MovingAverage:
    """Keeps the average of a network.

    Args:
        model: whose weights it starts from.
        decay: such as 0.999.
        steps: taken so far.

    Attributes:
        model: a network with the averaged weights and batch norms' statistics.
    """

    def __init__(self, model: nn.Module, decay: float, steps: int = 0) -> None:
        self.model = deepcopy(model).requires_grad_(False)
        self._decay, self._steps = decay, steps

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Let the weights after a step enter; counters are copied."""
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        both = zip(self.model.state_dict().values(), model.state_dict().values(), strict=True)
        pairs = [(own_part(mean), own_part(new)) for mean, new in both]
        # One call for all: a GPU would spend longer on hundreds of starts than on the numbers.
        means, news = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        torch._foreach_lerp_(means, news, 1 - decay)
        for mean, new in pairs:
            if not mean.is_floating_point():
                mean.copy_(new)

    def resume(self, steps: int) -> None:
        """Go on after so many steps; the weights are restored by whoever stored them."""
        self._steps = steps
