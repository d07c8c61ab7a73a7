"""What the loss is multiplied by in float16, so that small gradients do not become 0.

float16 holds nothing below 6e-8. The loss, and with it every gradient, is multiplied by a power of
two and the gradients divided by it again, which is exact. The factor is halved where gradients
overflow and doubled after long without (arXiv:1710.03740, section 3.2).
"""

from dataclasses import dataclass

FIRST = 2.0**16
"""Value of the first step; torch's."""

STEPS_TO_DOUBLE = 2000
"""Without an overflow; the paper's and torch's."""


@dataclass
class LossScale:
    """The factor, and how long gradients have been finite with it.

    Attributes:
        value: 1 or more.
        good_steps: since it last changed.

    Example:
        >>> scale = LossScale()
        >>> scale.lower(), scale.value
        (True, 32768.0)
    """

    value: float = FIRST
    good_steps: int = 0

    def keep(self) -> None:
        """After a step with finite gradients."""
        self.good_steps += 1
        if self.good_steps == STEPS_TO_DOUBLE:
            self.value, self.good_steps = 2 * self.value, 0

    def lower(self) -> bool:
        """After a step without; False if it cannot be the factor's fault, which is 1."""
        if self.value <= 1:
            return False
        self.value, self.good_steps = self.value / 2, 0
        return True
