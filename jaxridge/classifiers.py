"""Ridge regression on classes coded −1 and 1, behind scikit-learn's names.

A class is the target that is 1 where a row belongs to it and −1 elsewhere; of two
classes one target will do. Values of the fit are not probabilities: wrap a classifier
in scikit-learn's CalibratedClassifierCV for those.
"""

from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import check_cv
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from jaxridge import checks
from jaxridge.alphas import given_alpha, in_these_names, refuse_positive
from jaxridge.choosing import Choosing
from jaxridge.folds import split
from jaxridge.incoming import in_dtype_of, sample_weights, validated
from jaxridge.linear import SOLVERS, Linear, fitted, solver_of
from jaxridge.selection import Asked, Judge, Rows, asked_cv, scoring_asked


def labels_of(decision: np.ndarray, classes: np.ndarray, multilabel: bool) -> Any:
    """Return the labels that values (m,) or (m, n_classes) of a fit stand for."""
    if multilabel:
        return (decision > 0).astype(int)
    if decision.ndim == 1 or decision.shape[1] == 1:
        return classes[(decision.reshape(-1) > 0).astype(int)]
    return classes[decision.argmax(axis=1)]


class _Classifier(ClassifierMixin, Linear):
    """What both classifiers do about labels."""

    class_weight: Any
    fit_intercept: bool
    _flat = False

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the value of each class's fit, above 0 where it is the likelier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        array of shape (n_samples,) for two classes, else (n_samples, n_classes)
        """
        check_is_fitted(self)
        X = validated(self, X, reset=False)
        found = X @ self.coef_.T + self.intercept_
        return found[:, 0] if found.shape[1] == 1 and not self._multilabel else found

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of the greatest value; of several labels all above 0.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        array of shape (n_samples,), or (n_samples, n_labels) of 0 and 1
        """
        return labels_of(self.decision_function(X), self.classes_, self._multilabel)

    def _coded(self, X: Any, y: Any, sample_weight: Any, least: int) -> Rows:
        """Return rows whose targets are −1 and 1, and set the classes."""
        X, y = validated(self, X, y, multi_output=True, ensure_min_samples=least)
        check_classification_targets(y)
        binarizer = LabelBinarizer()
        # It answers in the dtype of y, and that may know no −1.
        Y = 2 * binarizer.fit_transform(y).astype(X.dtype) - 1
        self.classes_ = binarizer.classes_
        self._multilabel = binarizer.y_type_.startswith("multilabel")
        if not self._multilabel:
            y = column_or_1d(y, warn=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"`y` holds one class only, {self.classes_.tolist()}: at least two are "
                "needed"
            )
        weight = sample_weights(sample_weight, X)
        if self.class_weight is not None:
            by_class = compute_sample_weight(self.class_weight, y)
            checks.weights(by_class, len(by_class), name="class_weight")
            by_class = in_dtype_of(X, "class_weight", by_class)
            weight = by_class if weight is None else weight * by_class
        if weight is not None and not self._multilabel:
            left = np.unique(y[weight > 0])
            if len(left) < 2:
                raise ValueError(
                    f"weights leave one class only, {left.tolist()}: at least two are "
                    "needed"
                )
        return Rows(X, Y, weight, self.fit_intercept)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class RidgeClassifier(_Classifier):
    """Ridge regression on classes coded −1 and 1.

    Minimises ``J = (Σ w (X @ coef + intercept − y)² + alpha · ‖coef‖²) / (2m)``, m =
    Σ w, summed over classes. Parameters and attributes are those of scikit-learn's
    class of the name, and mean the same, but for solvers, which are all exact here, and
    `positive`, which is not to be had.

    Parameters
    ----------
    alpha : float
        The penalty, at least 0, in squared units of `X`.
    fit_intercept, copy_X, max_iter, tol, solver, positive, random_state
        As for `Ridge`.
    class_weight : dict or "balanced", optional
        Weights of the classes; "balanced" makes all weigh the same together.

    Attributes
    ----------
    coef_ : array of shape (1, n_features) or (n_classes, n_features)
    intercept_ : array of shape (1,) or (n_classes,); 0.0 without one
    classes_ : array of shape (n_classes,)
    solver_, n_iter_, certificate_, route_, n_features_in_, feature_names_in_
        As for `Ridge`.

    Notes
    -----
    Time and memory of `Ridge` with a target for each class. There is no
    `predict_proba`: values of a least-squares fit are not calibrated.

    References
    ----------
    Hastie, Tibshirani and Friedman (2009), section 4.2.

    Examples
    --------
    >>> X, y = np.array([[-1.0], [0.5], [1.0]]), np.array(["no", "yes", "yes"])
    >>> RidgeClassifier().fit(X, y).predict([[-2.0], [2.0]])
    array(['no', 'yes'], dtype='<U3')
    """

    def __init__(
        self,
        alpha: Any = 1.0,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        max_iter: int | None = None,
        tol: float = 1e-4,
        class_weight: Any = None,
        solver: str = "auto",
        positive: bool = False,
        random_state: Any = None,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.class_weight = class_weight
        self.solver = solver
        self.positive = positive
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows: arrays, data frames, sparse matrices.
        y : array-like of shape (n_samples,), or (n_samples, n_labels) of 0 and 1
            The labels.
        sample_weight : float or array of shape (n_samples,), optional
            How often each row counts: c times all weights is as c times the rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For what cannot be used, by its name; and for one class only.
        """
        checks.one_of("solver", self.solver, SOLVERS)
        refuse_positive(self.positive)
        rows = self._coded(X, y, sample_weight, 1)
        alpha = given_alpha(self.alpha, rows.y)
        self._keep(*fitted(rows, alpha, self.solver))
        self.solver_, self.n_iter_ = solver_of(self.certificate_.route)
        return self


class RidgeClassifierCV(_Classifier, Choosing):
    """Ridge regression on classes coded −1 and 1 that chooses alpha itself.

    Minimises ``J = (Σ w (X @ coef + intercept − y)² + alpha · ‖coef‖²) / (2m)``, m =
    Σ w, summed over classes, at the alpha of the best score.

    Parameters
    ----------
    alphas, fit_intercept, cv, rule, store_cv_results, standardize
        As for `RidgeCV`. A number as `cv` makes folds with the classes in proportion.
    scoring : str or function, optional
        A name of scikit-learn's, a scorer of (estimator, X, y), or a function of (y,
        label). Not given, it is the negative mean squared error of the codes for "loo",
        and accuracy, weighted, with folds; "gcv" and "evidence" take none.
    class_weight : dict or "balanced", optional
        Weights of the classes.

    Attributes
    ----------
    coef_ : array of shape (1, n_features) or (n_classes, n_features)
    intercept_ : array of shape (1,) or (n_classes,); 0.0 without one
    classes_ : array of shape (n_classes,)
    alpha_, best_score_, at_edge_, alphas_, cv_results_, df_, certificate_, route_
        As for `RidgeCV`; and `scores_route_`, `plan_`, `n_features_in_` and
        `feature_names_in_`.

    Warns
    -----
    UserWarning
        If the chosen alpha lies at an edge of those given.

    Notes
    -----
    Time and memory of `RidgeCV` with a target for each class.

    References
    ----------
    Hastie, Tibshirani and Friedman (2009), section 4.2.

    Examples
    --------
    >>> X, y = np.arange(8.0)[:, None], np.array([0, 0, 1, 0, 1, 0, 1, 1])
    >>> RidgeClassifierCV(alphas=[0.01, 0.1, 1.0]).fit(X, y).alpha_
    np.float64(0.1)
    """

    def __init__(
        self,
        alphas: Any = "auto",
        *,
        fit_intercept: bool = True,
        cv: Any = None,
        scoring: Any = None,
        class_weight: Any = None,
        rule: str = "min",
        store_cv_results: bool = False,
        standardize: bool = False,
    ) -> None:
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.cv = cv
        self.scoring = scoring
        self.class_weight = class_weight
        self.rule = rule
        self.store_cv_results = store_cv_results
        self.standardize = standardize

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Choose alpha, and fit all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows: arrays, data frames, sparse matrices.
        y : array-like of shape (n_samples,), or (n_samples, n_labels) of 0 and 1
            The labels.
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
            For what cannot be used, by its name; and for one class only.
        """
        rows = self._coded(X, y, sample_weight, 2)
        cv = asked_cv(self.cv, groups, self.scoring)
        labels = labels_of(rows.y, self.classes_, self._multilabel)
        if not isinstance(cv, str):
            counted = isinstance(cv, Integral) and not isinstance(cv, bool)
            if counted and groups is None:
                cv = check_cv(cv, labels, classifier=True)
            with in_these_names():
                cv = split(cv, labels, groups)
        told = _Told(self.classes_, self._multilabel)
        default = "mse" if isinstance(cv, str) else _accuracy(told)
        scoring = scoring_asked(self.scoring, default, told)
        self._choose(rows, Asked(cv, None, scoring, False))
        return self


class _Told(ClassifierMixin, BaseEstimator):
    """Says what values of a decision function stand for: scorers want an estimator."""

    def __init__(self, classes: np.ndarray, multilabel: bool) -> None:
        self.classes, self.multilabel = classes, multilabel
        self.classes_ = classes

    def fit(self, X: Any, y: Any) -> "_Told":
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return X[:, 0] if X.ndim == 2 and X.shape[1] == 1 else X

    def predict(self, X: np.ndarray) -> Any:
        return labels_of(X, self.classes, self.multilabel)


def _accuracy(told: _Told) -> Judge:
    def judge(y: np.ndarray, decision: np.ndarray, weight: np.ndarray | None) -> float:
        right = told.predict(y) == told.predict(decision)
        return float(
            np.average(right if right.ndim == 1 else right.all(1), weights=weight)
        )

    return judge
