"""Named experiments: functions that return an `Experiment`, and what is known about each.

A new recipe is a function in one of these files and a line in its table; `train`, `recipe list` and
the contract tests follow from `RECIPES`.
"""

from panoptic_deeplab.config import Experiment
from panoptic_deeplab.labels import near_names
from panoptic_deeplab.recipes import detectron2, own, paper
from panoptic_deeplab.recipes.record import Recipe

RECIPES: dict[str, Recipe] = {**own.RECIPES, **paper.RECIPES, **detectron2.RECIPES}
"""Name to recipe."""


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ValueError: if there is none; the message lists near names.
    """
    if name not in RECIPES:
        raise ValueError(f"Unknown recipe {name!r}. {near_names(name, list(RECIPES))}")
    return RECIPES[name]


def recipe(name: str) -> Experiment:
    """The experiment of that name; errors as for `find_recipe`."""
    return find_recipe(name).experiment()


__all__ = ["RECIPES", "Recipe", "find_recipe", "recipe"]
