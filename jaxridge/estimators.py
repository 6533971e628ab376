"""Ridge regression behind scikit-learn's names: NumPy in, NumPy out.

Thin: what comes in is checked, and the floors below compute. λ is called alpha, as
there, and is that of ``J = (Σ w (X @ coef + intercept − y)² + λ ‖coef‖²) / (2m)``.
"""

from typing import Any, Self

from jaxridge import checks
from jaxridge.alphas import given_alpha, refuse_positive
from jaxridge.choosing import Choosing
from jaxridge.linear import SOLVERS, fitted, made_ready, of_each, solver_of
from jaxridge.regressor import Regressor
from jaxridge.selection import Asked, asked_cv, scoring_asked


class Ridge(Regressor):
    """Ridge regression at a given alpha, or one for each target.

    Minimises ``J = (Σ w (X @ coef + intercept − y)² + alpha · ‖coef‖²) / (2m)``, m =
    Σ w; the intercept is not penalised. Parameters and attributes are those of
    scikit-learn's class of the name, and mean the same, but for solvers, which are all
    exact here, and `positive`, which is not to be had.

    Parameters
    ----------
    alpha : float, or array of shape (n_targets,)
        The penalty, at least 0, in squared units of `X`. At 0 the answer is the least
        squares fit, of minimum norm where columns depend on each other.
    fit_intercept : bool
        Whether to fit an intercept.
    copy_X, max_iter, tol, random_state
        Taken for scikit-learn's sake: inputs are never changed, iterations go on to
        the last digits, and no solver draws at random.
    solver : "auto", "cholesky", "eigh", "svd", or another name of scikit-learn's
        "auto" takes a Cholesky factor of XᵀX or XXᵀ for one alpha and their
        eigenvectors for several, and goes on to float64 or singular values where that
        would lose digits. "cholesky" and "eigh" begin there; "svd" takes singular
        values from the start, except of sparse rows that are more than their columns.
        Of sparse rows with more columns "auto" takes steps, where those cost less than
        a factor, and of those too large to factorise every name does. "sparse_cg",
        "lsqr", "sag", "saga" and "lbfgs" mean "auto". `solver_` says what ran.
    positive : bool
        Coefficients of one sign are not supported.
    intervals : bool
        Whether to keep what standard errors and intervals need: about 8 ((m + n) r + m
        t) bytes in float64, r = min(m, n).

    Attributes
    ----------
    coef_ : array of shape (n_features,) or (n_targets, n_features)
    intercept_ : float or array of shape (n_targets,)
    solver_ : str
        What answered: "cholesky", "eigh" or "svd", or for many sparse columns
        "sparse_cg".
    n_iter_ : int or None
        1, as nothing iterates (scikit-learn has None); None of "sparse_cg", which takes
        steps of its own for each target.
    certificate_ : Certificate
        ∇J at the answer, the condition number, the route and its precision.
    route_ : str
        That route, in words.
    coef_std_ : array of the shape of coef_
        With ``intervals=True``, the posterior standard deviation of coefficients.
    n_features_in_, feature_names_in_
        Of the columns fitted.

    Notes
    -----
    With k = min(m, n): O(m n k + k³) time, O(m (n + t)) memory, up to three copies of
    X, or four with `intervals`.

    References
    ----------
    Hoerl and Kennard (1970), equation 2.1.

    Examples
    --------
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([1.0, 5.0])
    >>> Ridge(alpha=2.0).fit(X, y).predict([[3.0]])
    array([6.])
    """

    def __init__(
        self,
        alpha: Any = 1.0,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        max_iter: int | None = None,
        tol: float = 1e-4,
        solver: str = "auto",
        positive: bool = False,
        random_state: Any = None,
        intervals: bool = False,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.solver = solver
        self.positive = positive
        self.random_state = random_state
        self.intervals = intervals

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows: arrays, data frames, sparse matrices.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            The targets.
        sample_weight : float or array of shape (n_samples,), optional
            How often each row counts: c times all weights is as c times the rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For what cannot be used, by its name.
        """
        checks.one_of("solver", self.solver, SOLVERS)
        refuse_positive(self.positive)
        rows = self._rows(X, y, sample_weight, 1)
        alpha = given_alpha(self.alpha, rows.y)
        self._kept = self._columns = None
        if self.intervals:
            ready = made_ready(rows)
            fit = self._keep_rows(ready, alpha)
            if self.solver == "svd" or ready.dtype != float:
                fit = of_each(ready.rows, alpha, self.solver)
            self._keep(ready, fit)
        else:
            self._keep(*fitted(rows, alpha, self.solver))
        self.solver_, self.n_iter_ = solver_of(self.certificate_.route)
        return self


class RidgeCV(Regressor, Choosing):
    """Ridge regression that chooses alpha by cross-validation.

    Minimises ``J = (Σ w (X @ coef + intercept − y)² + alpha · ‖coef‖²) / (2m)``, m =
    Σ w, at the alpha of the best score. Every alpha, and every fold, comes from one
    factorisation or one for each fold. Parameters and attributes that scikit-learn's
    class has too mean the same.

    Parameters
    ----------
    alphas : "auto", float or array of shape (n_alphas,)
        Penalties to try, each at least 0; "auto" goes from almost no shrinkage to
        almost all, and on while the best lies at an edge.
    fit_intercept : bool
        Whether to fit an intercept.
    cv : None, "loo", "gcv", "evidence", int, splitter or iterable of pairs
        Each row predicted from all others (None, too); generalised cross-validation;
        the marginal likelihood; or folds: a number of contiguous ones, a scikit-learn
        splitter, or (train, test) pairs.
    scoring : str or function, optional
        A name of scikit-learn's, "correlation", a scorer of (estimator, X, y), or a
        function of (y, prediction) of which a greater value is better. Not given, it is
        the negative mean squared error for "loo", and R² with folds; "gcv" and
        "evidence" are criteria of their own, and take none. Scores are weighted by
        `sample_weight`, within a fold too: those of a scorer if it takes weights, and,
        where metadata is routed, asks for them (`set_score_request`); those of a
        function of (y, prediction) are not.
    rule : "min" or "1se"
        The best mean score, or the largest alpha within one standard error of it; of
        equal scores that of the largest alpha.
    alpha_per_target : bool
        Whether each of several targets has its own alpha, with any `cv`.
    store_cv_results : bool
        Whether to keep `cv_results_`.
    standardize : bool
        Whether to scale columns to unit variance (without an intercept, to a mean
        square of 1), to which alpha then refers;
        coefficients are in the columns' own units. Scales are learnt from the training
        rows of each fold; for "loo", "gcv" and "evidence" once from all rows, the
        targets not being looked at.
    intervals : bool
        Whether to keep what standard errors and intervals need: about 8 ((m + n) r + m
        t) bytes in float64, r = min(m, n).
    gcv_mode : None, "auto", "svd" or "eigen"
        Taken for scikit-learn's sake: what keeps the digits is decided by the data.

    Attributes
    ----------
    coef_ : array of shape (n_features,) or (n_targets, n_features)
    intercept_ : float or array of shape (n_targets,)
    alpha_ : float, or array of shape (n_targets,)
        The chosen alpha.
    best_score_ : float, or array of shape (n_targets,)
        Its score: greater is better, so errors are negative. With weights, a mean by
        weight, Σ w e² / Σ w, where scikit-learn has Σ w e² / m.
    at_edge_ : bool, or array of shape (n_targets,)
        Whether it is the smallest or largest that was tried.
    alphas_ : array of shape (n_alphas,)
        Those tried.
    cv_results_ : array
        With `store_cv_results`: of folds the scores, (n_folds[, n_targets], n_alphas);
        of "loo" each row's squared error times its weight, or its prediction if
        `scoring` is given, (n_samples[, n_targets], n_alphas).
    df_ : float, or array of shape (n_targets,)
        Effective degrees of freedom at `alpha_`, the intercept's included.
    certificate_ : Certificate
        ∇J at the answer, the condition number, the route and its precision.
    route_, scores_route_ : str
        How the fit and the scores were computed.
    plan_ : Plan
        What `jaxridge.plan` says of a problem of this size.
    coef_std_ : array of the shape of coef_
        With ``intervals=True``, the posterior standard deviation of coefficients.
    n_features_in_, feature_names_in_
        Of the columns fitted.

    Warns
    -----
    UserWarning
        If a chosen alpha lies at an edge of those given.

    Notes
    -----
    Time and memory are those of `leave_one_out` or `cross_validate`, and of one fit.

    References
    ----------
    Allen (1974); Golub, Heath and Wahba (1979); MacKay (1992); Barber, Candès, Ramdas
    and Tibshirani (2021), Predictive inference with the jackknife+.

    Examples
    --------
    >>> X, y = np.arange(6.0)[:, None], np.array([1.0, 0.0, 2.0, 4.0, 3.0, 5.0])
    >>> model = RidgeCV(alphas=[0.1, 1.0, 10.0]).fit(X, y)
    >>> model.alpha_, round(model.best_score_, 4)
    (np.float64(1.0), np.float64(-1.34))
    """

    def __init__(
        self,
        alphas: Any = "auto",
        *,
        fit_intercept: bool = True,
        cv: Any = None,
        scoring: Any = None,
        rule: str = "min",
        alpha_per_target: bool = False,
        store_cv_results: bool = False,
        standardize: bool = False,
        intervals: bool = False,
        gcv_mode: str | None = None,
    ) -> None:
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.cv = cv
        self.scoring = scoring
        self.rule = rule
        self.alpha_per_target = alpha_per_target
        self.store_cv_results = store_cv_results
        self.standardize = standardize
        self.intervals = intervals
        self.gcv_mode = gcv_mode

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Choose alpha, and fit all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows: arrays, data frames, sparse matrices.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            The targets.
        sample_weight : float or array of shape (n_samples,), optional
            How often each row counts: c times all weights is as c times the rows.
        groups : array of shape (n_samples,), optional
            For splitters that keep groups together.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For what cannot be used, by its name.
        """
        checks.one_of("gcv_mode", self.gcv_mode or "auto", ("auto", "svd", "eigen"))
        rows = self._rows(X, y, sample_weight, 2)
        cv = asked_cv(self.cv, groups, self.scoring)
        default = "mse" if isinstance(cv, str) else "r2"
        scoring = scoring_asked(self.scoring, default)
        per_target = checks.flag("alpha_per_target", self.alpha_per_target)
        asked = Asked(cv, groups, scoring, per_target and rows.y.shape[1:] > (1,))
        self._kept = self._columns = None
        ready, once = self._choose(rows, asked)
        if self.intervals:
            self._keep_rows(ready, self.alpha_, once)
        return self
