"""What the course's speed is held to, as ratios measured in one run."""

from collections.abc import Mapping
from dataclasses import dataclass

FLOOR = ("large products, NumPy", "large products, XLA")
SESSION = ("TensorFlow 1 session",)
FIT = ("Keras fit", "Keras fit, 100 steps", "Keras fit, 100 steps, no XLA")
PYTORCH = ("PyTorch, 1 thread", "PyTorch, 2 threads", "PyTorch, compiled")
JAX = ("JAX scan",)
PRODUCTS = {"course": "products of a step"}
"""What a way of the course would take if it did nothing but a step's matrix products."""


@dataclass(frozen=True)
class Goal:
    """A ratio that should not be exceeded.

    Attributes
    ----------
    text : str
        What is divided by what.
    limit : float
        The largest ratio allowed.
    ratio : float
        The ratio measured.
    products : float, optional
        The same ratio for nothing but the products of a step, at their real shapes: where it
        exceeds the limit, no loop around these products can meet the goal.
    """

    text: str
    limit: float
    ratio: float
    products: float | None = None

    @property
    def met(self) -> bool:
        """Whether the ratio is within its limit."""
        return self.ratio <= self.limit


# Work, the course's way, against the best of which ways, and the limit.
_RATIOS = (
    ("classifier", "course", SESSION, 0.35),
    ("classifier", "course", FIT, 0.2),
    ("classifier", "course", PYTORCH, 0.3),
    ("classifier", "course", JAX, 1.05),
    ("deep", "course", FIT, 0.4),
    ("deep", "course", PYTORCH, 0.5),
    ("deep", "course", FLOOR, 1.35),
)


def of_ways(medians: Mapping[str, Mapping[str, float]]) -> list[Goal]:
    """Return the goals for the ways; those against a way that was not measured are left out.

    Parameters
    ----------
    medians : mapping
        ``"classifier"`` and ``"deep"`` to the median milliseconds of each way.
    """
    goals = []
    for work, ours, others, limit in _RATIOS:
        measured = {way: medians[work][way] for way in others if way in medians[work]}
        if measured:
            best = min(measured, key=measured.__getitem__)
            text = f"{work}: {ours} / {best}"
            products = medians[work].get(PRODUCTS.get(ours))
            goals.append(
                Goal(
                    text,
                    limit,
                    medians[work][ours] / measured[best],
                    products and products / measured[best],
                )
            )
    return goals


def of_sources(
    full_size: Mapping[str, float],
    eager_slices: Mapping[str, float],
    medians: Mapping[str, Mapping[str, float]],
    evaluation_share: float,
) -> list[Goal]:
    """Return the goals for all training of the sources at full size.

    Parameters
    ----------
    full_size : mapping
        Seconds of each training.
    eager_slices : mapping
        Milliseconds of an eager step of each autoencoder.
    medians : mapping
        As in `of_ways`.
    evaluation_share : float
        What measuring all validation images every 100 steps adds to training.
    """
    total = sum(full_size.values())
    layers = list(eager_slices.values())
    eager = (
        1000 * layers[0]
        + 3000 * sum(layers)
        + 60_000 * medians["classifier"]["eager tape"]
        + 20 * (55_000 // 512) * medians["deep"]["eager tape"]
    ) / 1000
    return [
        Goal("all training of the sources, seconds / 45 s", 1.0, total / 45),
        Goal(f"the same / eager, scaled from slices to {eager:.0f} s", 1 / 40, total / eager),
        Goal("measuring every 100 steps / training", 0.1, evaluation_share),
    ]
