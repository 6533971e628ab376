from .choice import Choice, Scores, choose
from .descent import descend, sweep
from .objective import (
    GradientCheck,
    Params,
    ParamsPath,
    check_gradient,
    cost,
    gradient,
    gradient_by_hand,
    predict,
)
from .solvers import solve
from .trajectory import Descent
from .validation import cross_validate
from .version import __version__

__all__ = [
    "Choice",
    "Descent",
    "GradientCheck",
    "Params",
    "ParamsPath",
    "Scores",
    "__version__",
    "check_gradient",
    "choose",
    "cost",
    "cross_validate",
    "descend",
    "gradient",
    "gradient_by_hand",
    "predict",
    "solve",
    "sweep",
]
