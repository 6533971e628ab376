"""Contenders: what each computes, at its own best settings, on the same arrays.

Each function takes the arrays of a problem, imports what it needs, and returns a call.
"""

import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax.linalg import symmetric_product
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold
from threadpoolctl import threadpool_limits

import jaxridge
from jaxridge.data import Data
from jaxridge.factors import known
from jaxridge.fits import fit_of_each

ROOM = 20 * 2**30  # bytes that a rival may take in a process of its own


class Answer(NamedTuple):
    """What was told: mean scores (L, t), the penalty chosen for each target, or coefs.

    Coefficients are (L, n, t).
    """

    scores: np.ndarray | None = None
    chosen: np.ndarray | None = None
    coef: np.ndarray | None = None
    route: str = ""


Call = Callable[[], Answer | None]


def limit(X: np.ndarray, Y: Any, lams: Any, folds: int) -> Call:
    """Return the price of one fit: a product by BLAS, eigenvectors by LAPACK."""

    def call() -> None:
        np.linalg.eigh(X.T @ X if X.shape[0] >= X.shape[1] else X @ X.T)

    return call


def limit_on_device(
    X: Any, Y: Any, lams: Any, folds: int, by_half: bool = False
) -> Call:
    """Return the same on whatever device JAX finds, in the dtype of the rows.

    By a product of matrices, or `by_half` of it, as BLAS has for A times its transpose.
    """
    double = X.dtype == np.float64
    with jax.enable_x64(double):
        X = jnp.asarray(X)

    @jax.jit
    def one_fit(X: Any) -> Any:
        highest = jax.lax.Precision.HIGHEST
        A = X if X.shape[0] >= X.shape[1] else X.T
        if by_half:
            nothing = jnp.zeros((A.shape[1],) * 2, A.dtype)
            lower = symmetric_product(A.T, nothing)
            return jnp.linalg.eigh(lower, symmetrize_input=False)
        return jnp.linalg.eigh(jnp.matmul(A.T, A, precision=highest))

    def call() -> None:
        with jax.enable_x64(double):
            jax.block_until_ready(one_fit(X))

    return call


def ours(X: Any, Y: Any, lams: Any, folds: int) -> Call:
    def call() -> Answer:
        if folds:
            scores = jaxridge.cross_validate(X, Y, lams, folds)
        else:
            scores = jaxridge.leave_one_out(X, Y, lams)
        mean, chosen = scores.mean, jaxridge.choose(scores, per_target=True).lam
        return Answer(np.asarray(mean), np.asarray(chosen), route=str(scores.route))

    return call


def refitted(X: Any, Y: Any, lams: Any, folds: int) -> Call:
    """Return the same, and all rows fitted at the penalty of each target."""
    judge = ours(X, Y, lams, folds)
    weight = jnp.ones(len(X), X.dtype)

    def call() -> Answer:
        answer: Any = judge()
        lam = jnp.asarray(answer.chosen, X.dtype)
        fit = fit_of_each(known(Data(X, Y, weight), True), lam)
        np.asarray(fit.params.coef)  # where himalaya leaves them too
        return answer

    return call


def estimator(X: Any, Y: Any, lams: Any, folds: int) -> Call:
    """Return the face: it fits all rows too, at the penalty of each target."""
    how = {"cv": folds or None, "scoring": "mse" if folds else None}

    def call() -> Answer:
        model = jaxridge.RidgeCV(lams, alpha_per_target=True, **how)
        return Answer(chosen=model.fit(X, Y).alpha_)

    return call


def grid_search(X: Any, Y: Any, lams: Any, folds: int, jobs: int | None = None) -> Call:
    def call() -> Answer:
        search = GridSearchCV(
            Ridge(),
            {"alpha": lams},
            cv=KFold(folds),
            scoring="neg_mean_squared_error",
            n_jobs=jobs,
        )
        search.fit(X, Y[:, 0])
        scores = -search.cv_results_["mean_test_score"]
        return Answer(scores[:, None], np.array([search.best_params_["alpha"]]))

    return call


def ridge_cv(
    X: Any, Y: Any, lams: Any, folds: int, gcv_mode: str | None = None
) -> Call:
    def call() -> Answer:
        model = RidgeCV(lams, store_cv_results=True, gcv_mode=gcv_mode)
        model.fit(X, Y[:, 0])
        scores = model.cv_results_.mean(axis=0).reshape(-1, 1)
        return Answer(scores, np.array([model.alpha_]))

    return call


def himalaya(
    X: Any,
    Y: Any,
    lams: Any,
    folds: int,
    backend: str = "numpy",
    kernel: bool = False,
    **at_once: int,
) -> Call:
    """Return himalaya, by rows or a `kernel`, so many targets or penalties at once."""
    from himalaya import backend as backends
    from himalaya.kernel_ridge import KernelRidgeCV
    from himalaya.ridge import RidgeCV as HimalayaCV
    from himalaya.scoring import l2_neg_loss

    if backend != "numpy":  # or himalaya would skip the test, and leave no record
        import torch

        if not torch.cuda.is_available():
            raise RuntimeError("PyTorch sees no GPU")
    backends.set_backend(backend, on_error="raise")
    if backend != "numpy":  # on the device before the clock starts, as ours are
        X, Y = (torch.from_dlpack(a) for a in (X, Y))
    alphas, cv = lams.astype(str(X.dtype).removeprefix("torch.")), KFold(folds)
    how = {"score_func": l2_neg_loss, **at_once} | ({} if kernel else {"warn": False})
    given = {"fit_intercept": True, "cv": cv, "solver_params": how}

    def call() -> Answer:
        if kernel:
            model = KernelRidgeCV(alphas, **given)
        else:
            model = HimalayaCV(alphas, **given)
        best = model.fit(X, Y).best_alphas_
        best = best.cpu().numpy() if hasattr(best, "cpu") else best
        return Answer(chosen=np.asarray(best))

    return call


def himalaya_in_its_own_process(X: Any, Y: Any, lams: Any, folds: int) -> Call:
    """Return the same where it may take so much memory that a process ends of it."""
    import himalaya  # noqa: F401

    def call() -> Answer:
        given = X, Y, lams, folds
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            return alone.submit(_within_room, *given).result()

    return call


def _within_room(*given: Any) -> Answer | None:
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
    return himalaya(*given)()


def our_path(X: Any, Y: Any, lams: Any, folds: int) -> Call:
    def call() -> Answer:
        found = jaxridge.path(X, Y, lams)
        route = str(found.certificate.route)
        return Answer(coef=np.asarray(found.params.coef), route=route)

    return call


def loop_of_ridge(X: Any, Y: Any, lams: Any, folds: int) -> Call:
    """Return a loop over scikit-learn's Ridge, by its fastest solver of dense rows."""

    def call() -> Answer:
        fits = [Ridge(lam, solver="cholesky").fit(X, Y).coef_ for lam in lams]
        coef = np.reshape(fits, (len(lams), Y.shape[1], X.shape[1]))
        return Answer(coef=coef.swapaxes(1, 2))

    return call


def loop_of_solves(X: Any, Y: Any, lams: Any, folds: int) -> Call:
    """Return what a JAX user writes: one jitted solution, called for each penalty."""
    double = X.dtype == np.float64
    with jax.enable_x64(double):
        X, Y, lams = map(jnp.asarray, (X, Y, lams))

    @jax.jit
    def one(X: Any, Y: Any, lam: Any) -> Any:
        A, B = X - X.mean(axis=0), Y - Y.mean(axis=0)
        return jnp.linalg.solve(A.T @ A + lam * jnp.eye(X.shape[1]), A.T @ B)

    with jax.enable_x64(double):  # compiles, before the clock starts
        jax.block_until_ready(one(X, Y, lams[0]))

    def call() -> Answer:
        with jax.enable_x64(double):
            return Answer(coef=np.array([one(X, Y, lam) for lam in lams]))

    return call


def fractions(X: Any, Y: Any, lams: Any, folds: int) -> Call:
    """Return fracridge, which takes as many fractions of the length of coefs."""
    from fracridge import fracridge

    fracs = np.linspace(1 / len(lams), 1, len(lams))
    A, B = X - X.mean(axis=0), Y - Y.mean(axis=0)

    def call() -> None:
        fracridge(A, B, fracs)

    return call


def on_one_thread(of: Callable[..., Call]) -> Callable[..., Call]:
    """Return a rival whose small products are done sooner by one thread than by all."""

    def make(X: Any, Y: Any, lams: Any, folds: int) -> Call:
        call = of(X, Y, lams, folds)

        def alone() -> Answer | None:
            with threadpool_limits(1):
                return call()

        return alone

    return make


def a_tenth(of: Callable[..., Call]) -> Callable[..., Call]:
    """Return a rival at every tenth penalty, each of which takes it as long."""

    def make(X: Any, Y: Any, lams: Any, folds: int) -> Call:
        call = of(X, Y, lams[::TENTH], folds)

        def some() -> None:
            call()

        return some

    return make


TENTH = 10
ELSEWHERE = ("GridSearchCV, 2 jobs", "himalaya, all at once in 20 GiB")  # processes
RIVALS: dict[str, Callable[..., Call]] = {
    "jaxridge": ours,
    "jaxridge, refitted": refitted,
    "jaxridge.RidgeCV": estimator,
    "GridSearchCV": grid_search,
    "GridSearchCV, 2 jobs": partial(grid_search, jobs=2),
    "GridSearchCV, a tenth × 10": a_tenth(grid_search),
    "GridSearchCV, one thread, a tenth × 10": a_tenth(on_one_thread(grid_search)),
    "RidgeCV": ridge_cv,
    "RidgeCV, svd": partial(ridge_cv, gcv_mode="svd"),
    "himalaya": himalaya,
    "himalaya, 500 targets at a time": partial(himalaya, n_targets_batch=500),
    "himalaya, kernel": partial(himalaya, kernel=True),
    "himalaya, all at once in 20 GiB": himalaya_in_its_own_process,
    "himalaya, one penalty at a time, a tenth × 10": a_tenth(
        partial(himalaya, n_alphas_batch=1)
    ),
    "himalaya, torch_cuda": partial(himalaya, backend="torch_cuda"),
    "himalaya, torch_cuda, kernel": partial(
        himalaya, backend="torch_cuda", kernel=True
    ),
    "jaxridge.path": our_path,
    "loop of Ridge": loop_of_ridge,
    "loop of jnp.linalg.solve": loop_of_solves,
    "loop of Ridge, a tenth × 10": a_tenth(loop_of_ridge),
    "loop of Ridge, one thread, a tenth × 10": a_tenth(on_one_thread(loop_of_ridge)),
    "loop of jnp.linalg.solve, a tenth × 10": a_tenth(loop_of_solves),
    "fracridge": fractions,
    "limit": limit,
    "limit on the device": limit_on_device,
    "limit on the device, half of XᵀX": partial(limit_on_device, by_half=True),
}


def failure_of(error: BaseException) -> str:
    """Say in a line how a rival failed."""
    if isinstance(error, ImportError):
        return "not installed"
    text = str(error).strip().splitlines()
    said = text[0] if text else ""
    full = "RESOURCE_EXHAUSTED" in said or "out of memory" in said
    if isinstance(error, MemoryError) or full:
        return "out of memory"
    return f"{type(error).__name__}: {said}"[:60].rstrip(": ")
