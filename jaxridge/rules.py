"""How to descend: the options, checked, as what is compiled and what is not.

A `Rule` is fixed when a descent is compiled; a `Start` may differ between two calls of
one compiled program, so that a new λ or step size compiles nothing.
"""

from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxridge import accelerator, checks
from jaxridge.compression import is_worthwhile
from jaxridge.data import Data, as_floats, as_penalty
from jaxridge.params import Params
from jaxridge.products import FAST, FULL, are_fast
from jaxridge.sameness import Same

# J before each step is kept: 80 MB of it for every penalty in float64.
MOST_STEPS = 10**7


class StepOptions(TypedDict, total=False):
    """The options of `descend` that say how to step, and not what to fit."""

    optimizer: optax.GradientTransformation | None
    learning_rate: Any
    max_steps: int
    tol: float | None
    batch_size: int | None
    key: Any
    init: Params | None
    compress: bool | str
    progress: bool


class RuleOptions(StepOptions, total=False):
    """And in which precision."""

    precision: str


class DescentOptions(RuleOptions, total=False):
    """The keyword options of `descend`, which `sweep` shares."""

    weight: Any
    fit_intercept: bool


class Rule(NamedTuple):
    """What is fixed when a descent is compiled."""

    update: Same | str  # an optax rule, "lbfgs", "step" (a number) or "auto"
    fit_intercept: bool
    max_steps: int
    batch_size: int  # 0 for all rows
    compress: bool
    from_zero: bool
    fast: bool  # whether products of rows are those that the device does fastest

    @property
    def profiles_intercept(self) -> bool:
        """Whether the intercept is kept at its best rather than descended."""
        return self.fit_intercept and self.update in ("lbfgs", "auto")

    @property
    def descends_intercept(self) -> bool:
        """Whether the intercept is descended beside coef."""
        return self.fit_intercept and not self.profiles_intercept


class Start(NamedTuple):
    """What may differ between two calls of one compiled descent."""

    lam: Float[Array, "*lams"]
    learning_rate: Float[Array, "*lams"]
    tol: Float[Array, ""]
    init: Params
    key: Array


def rule_for(data: Data, options: RuleOptions, fit_intercept: bool) -> Rule:
    """Return the static part of the options, checked."""
    _options_are_known(options)
    optimizer = options.get("optimizer")
    learning_rate = options.get("learning_rate")
    update: Same | str
    if optimizer is not None:
        if learning_rate is not None:
            raise ValueError(
                "`learning_rate` is for plain descent, and an `optimizer` brings its "
                "own: pass one of the two"
            )
        if not isinstance(optimizer, optax.GradientTransformation):
            raise TypeError(
                "`optimizer` must be an optax rule such as optax.adam(0.1), got "
                f"{type(optimizer).__name__}"
            )
        update = Same(optimizer)
    elif learning_rate is None:
        update = "lbfgs"
    elif isinstance(learning_rate, str):
        if learning_rate != "auto":
            raise ValueError(
                f'`learning_rate` must be a number or "auto", got {learning_rate!r}'
            )
        update = "auto"
    else:
        update = "step"
    checks.flag("progress", options.get("progress", False))
    precision = options.get("precision", FULL)
    checks.one_of("precision", precision, (FULL, FAST))
    batch_size = options.get("batch_size")
    if batch_size is not None:
        _batches_are_possible(batch_size, update, options)
    return Rule(
        update=update,
        fit_intercept=checks.flag("fit_intercept", fit_intercept),
        max_steps=checks.count(
            "max_steps", options.get("max_steps", 1000), 1, MOST_STEPS
        ),
        batch_size=batch_size or 0,
        compress=_compresses(data, options.get("compress", "auto"), batch_size),
        from_zero=options.get("init") is None,
        fast=are_fast(precision, data.X.dtype, accelerator.is_used()),
    )


def _options_are_known(options: RuleOptions) -> None:
    unknown = set(options) - set(DescentOptions.__annotations__)
    if unknown:
        raise TypeError(f"there is no option {sorted(unknown)[0]!r}: see `descend`")


def _batches_are_possible(
    batch_size: Any, update: Same | str, options: StepOptions
) -> None:
    checks.count("batch_size", batch_size, 1)
    if update in ("lbfgs", "auto"):
        raise ValueError(
            "`batch_size` needs a rule that bears noisy gradients: pass an `optimizer` "
            "or a number as `learning_rate`"
        )
    if options.get("key") is None:
        raise ValueError("`batch_size` needs a `key`: jax.random.key(0), or just 0")
    if options.get("compress") is True:
        raise ValueError(
            "`compress` works on all rows at once: leave it out, or `batch_size`"
        )


def _compresses(data: Data, compress: Any, batch_size: int | None) -> bool:
    if isinstance(compress, bool | np.bool_):
        return bool(compress)
    if not isinstance(compress, str) or compress != "auto":
        raise ValueError(f'`compress` must be True, False or "auto", got {compress!r}')
    return batch_size is None and is_worthwhile(data)


def start_for(data: Data, y: Any, lam: Any, rule: Rule, options: StepOptions) -> Start:
    """Return the dynamic part of the options, checked, in the dtype of the data."""
    dtype = data.X.dtype
    name = "lams" if checks.axes("lam", lam) else "lam"
    lam = as_penalty(name, lam, dtype)
    rate = options.get("learning_rate")
    rate = _learning_rate(rate, lam, dtype) if rule.update == "step" else 0.0
    tol = options.get("tol")
    if tol is None:
        # Of products in TF32 the gradient has three digits.
        tol = 1e-10 if dtype == np.float64 else 1e-3 if rule.fast else 1e-5
    elif not checks.is_traced(tol):
        checks.numeric("tol", checks.as_array("tol", tol))
        if np.ndim(tol) or not tol >= 0:
            raise ValueError(f"`tol` must be a number of at least 0, got {tol!r}")
    return Start(
        lam,
        jnp.broadcast_to(jnp.asarray(rate, dtype), lam.shape),
        jnp.asarray(tol, dtype),
        _init(options.get("init"), data, y, rule),
        _key(options.get("key")),
    )


def _key(key: Any) -> Array:
    """Return a key of jax.random, made of a whole number if need be."""
    if key is None or not isinstance(key, jax.Array):
        number = 0 if key is None else key
        return jax.random.key(checks.count("key", number, 0, 2**32 - 1))
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0
    if not (typed or (key.dtype == jnp.uint32 and key.shape == (2,))):
        raise TypeError(
            "`key` must be a whole number or one key, as jax.random.key(0) makes it, "
            f"got an array of {key.dtype}, shape {key.shape}"
        )
    return key


def _learning_rate(rate: Any, lam: Array, dtype: Any) -> Array:
    # As penalties do, it follows the data.
    checks.numeric("learning_rate", checks.as_array("learning_rate", rate))
    rate = jnp.asarray(rate, dtype)
    checks.finite("learning_rate", rate)
    if rate.shape not in ((), lam.shape):
        raise ValueError(
            f"`learning_rate` must be one number or one for each penalty, {lam.shape}, "
            f"got shape {rate.shape}"
        )
    if not checks.is_traced(rate) and not bool((rate > 0).all()):
        raise ValueError(f"`learning_rate` must be above 0, got {float(rate.min())}")
    return rate


def _init(init: Params | None, data: Data, y: Any, rule: Rule) -> Params:
    zero = at_zero(data)
    if init is None:
        return zero
    if not isinstance(init, Params):
        raise TypeError(f"`init` must be Params, got {type(init).__name__}")
    given: dict[str, Any] = {"init.coef": init.coef, "init.intercept": init.intercept}
    coef, intercept = as_floats(**given)
    if coef.shape != (*data.X.shape[1:], *np.shape(y)[1:]) or (
        intercept.shape != np.shape(y)[1:]
    ):
        raise ValueError(
            f"`init` must have coef {(*data.X.shape[1:], *np.shape(y)[1:])} and "
            f"intercept {np.shape(y)[1:]}, got {coef.shape} and {intercept.shape}"
        )
    coef = coef.reshape(zero.coef.shape).astype(data.X.dtype)
    if not rule.descends_intercept:
        return zero._replace(coef=coef)
    return Params(coef, intercept.reshape(-1).astype(data.X.dtype))


def at_zero(data: Data) -> Params:
    """Return the params that are 0."""
    n, t = data.X.shape[1], data.Y.shape[1]
    coef, intercept = (jnp.zeros_like(data.Y, shape=shape) for shape in ((n, t), (t,)))
    return Params(coef, intercept)
