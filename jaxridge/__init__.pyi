from . import columns, plots
from .batches import moments_of_batches
from .certificate import Certificate, certify
from .choice import Choice, Evidence, Scores, choose
from .classifiers import RidgeClassifier, RidgeClassifierCV
from .criteria import evidence, gcv
from .descent import descend, sweep
from .estimators import Ridge, RidgeCV
from .gradient_check import GradientCheck, check_gradient
from .grids import lambda_grid
from .left_out import leave_one_out
from .moments import Moments
from .objective import cost, gradient, gradient_by_hand, predict
from .params import Params, ParamsPath
from .paths import Path, path
from .plans import Plan, plan
from .routes import Route
from .solvers import solve
from .store import load, save
from .sums import moments_of
from .trajectory import Descent
from .validation import cross_validate
from .version import __version__

__all__ = [
    "Certificate",
    "Choice",
    "Descent",
    "Evidence",
    "GradientCheck",
    "Moments",
    "Params",
    "ParamsPath",
    "Path",
    "Plan",
    "Ridge",
    "RidgeCV",
    "RidgeClassifier",
    "RidgeClassifierCV",
    "Route",
    "Scores",
    "__version__",
    "certify",
    "check_gradient",
    "choose",
    "columns",
    "cost",
    "cross_validate",
    "descend",
    "evidence",
    "gcv",
    "gradient",
    "gradient_by_hand",
    "lambda_grid",
    "leave_one_out",
    "load",
    "moments_of",
    "moments_of_batches",
    "path",
    "plan",
    "plots",
    "predict",
    "save",
    "solve",
    "sweep",
]
