"""Regressors that learn from parts of the rows: what the parts add up to is kept, the rows are not.

Whatever order and size the parts have, and wherever they were summed, the student is that of `fit` on all rows.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from sklearn.base import clone

from pitskd._estimator import Distillation, restored_on_failure
from pitskd._validation import check_mergeable, wrong
from pitskd.linear import _dask
from pitskd.linear._evidence import Evidence
from pitskd.linear._moments import warn_if_forgetting

__all__: list[str] = []


class Accumulating(Distillation):
    """What regressors add whose students need sums over rows alone."""

    statistics_: Evidence
    _caller = 4  # `fit` here calls that of its base
    __metadata_request__partial_fit = {"X_privileged": True}  # noqa: RUF012  scikit-learn reads this name from the class

    @abstractmethod
    def _check_summable(self) -> None:
        """Refuse settings whose student needs the rows themselves."""

    @abstractmethod
    def _check_evidence(self, evidence: Evidence) -> None:
        """Refuse rows that the settings do not fit."""

    @abstractmethod
    def _learn(self, evidence: Evidence) -> None:
        """Set the fitted attributes."""

    @abstractmethod
    def _is_taught(self) -> bool:
        """Tell whether the student learns from the middle where there is one."""

    def fit(self, X: Any, y: Any, *, X_privileged: Any = None, sample_weight: Any = None) -> Any:
        """Learn from all rows, in memory or in dask arrays.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)
            What the student sees; windows are flattened time-major. With dask arrays, blocks of rows are added up where
            they lie, by any scheduler, and nothing but sums travels; no other argument may then be in memory.
        y : array of shape (n,) or (n, n_targets)
            Targets; NaN where missing (such rows learn from the middle alone).
        X_privileged : array of shape (n, d) or (n, n_steps, n_privileged_channels), default=None
            The middle: steps in order of time, two axes are one step; a row that is all NaN has no privileged part
            and keeps its hard target.
        sample_weight : array of shape (n,), default=None
            Weights of rows.

        Returns
        -------
        self : object
        """
        given = {"X": X, "y": y, "X_privileged": X_privileged, "sample_weight": sample_weight}
        with restored_on_failure(self):
            self.__dict__.pop("statistics_", None)
            if not any(map(_dask.is_dask, given.values())):
                rows: Any = super()  # the estimator that stands behind this class and fits to rows in memory
                return rows.fit(X, y, X_privileged=X_privileged, sample_weight=sample_weight)
            self._forget()
            self._check_all_settings()
            evidence = _dask.summed(clone(self), given)
            if self._is_taught() and not evidence.privileged:
                self._warn_untaught()
            return self._take(evidence, final=True)

    def partial_fit(self, X: Any, y: Any, *, X_privileged: Any = None, sample_weight: Any = None) -> Any:
        """Learn from more rows; memory does not grow with their number.

        The result is that of `fit` on all rows so far, whatever their parts. Every call solves anew, in a time that
        does not depend on the rows: give it thousands. Parameters may be changed between calls: they take effect on all
        rows at the next.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)
            One row or more, of the shape and columns of the parts before.
        y : array of shape (n,) or (n, n_targets)
            Targets; NaN where missing.
        X_privileged : array of shape (n, d) or (n, n_steps, n_privileged_channels), default=None
            The middle, as in `fit`; a part may have none.
        sample_weight : array of shape (n,), default=None
            Weights of rows.

        Returns
        -------
        self : object
            Fitted once there are two labelled rows, with privileged part if any row has one.

        Raises
        ------
        ValueError
            As `fit`; or if the settings need the rows themselves.

        Warns
        -----
        UserWarning
            After `fit`, which keeps no sums: its rows are forgotten. If columns are so nearly dependent that sums of
            products lose digits that `fit` keeps.

        Examples
        --------
        >>> import numpy as np
        >>> from pitskd import ChainDistillationRegressor, simulate_linear_chain
        >>> X, Z, y = simulate_linear_chain(1000, random_state=0)
        >>> whole, parts = ChainDistillationRegressor(), ChainDistillationRegressor()
        >>> for rows in np.array_split(np.arange(1000), 7):
        ...     parts = parts.partial_fit(X[rows], y[rows], X_privileged=Z[rows])
        >>> bool(np.allclose(parts.coef_, whole.fit(X, y, X_privileged=Z).coef_, rtol=1e-8))
        True
        """
        return self._take(self._evidence(X, y, X_privileged, sample_weight))

    def merge(self, other: Any) -> Any:
        """Take over what another model has learnt by `partial_fit`, as if its rows had come here.

        Parameters
        ----------
        other : estimator
            Of the same class, with rows of the same shape and columns; it is left as it is.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the rows have another shape or other columns, or `other` has learnt from none.
        TypeError
            If `other` is of another class.
        """
        check_mergeable(self, other)
        self._check_all_settings()
        warn_if_forgetting(self, "student_", 3)
        return self._take(other.statistics_)

    def _evidence(self, X: Any, y: Any, X_privileged: Any, sample_weight: Any) -> Evidence:
        """Return what rows add up to, all arguments checked."""
        self._check_summable()
        warn_if_forgetting(self, "student_", 4)
        first = not hasattr(self, "statistics_")
        task: Any = self._task()  # a regression, which knows whether targets have one axis
        lesson = self._read_rows(task, X, y, X_privileged, sample_weight, reset=first, least=1)
        return Evidence.of(lesson, task.one_target)

    def _take(self, evidence: Evidence, final: bool = False) -> Any:
        """Add evidence and learn from all there is, if it suffices."""
        known = evidence if not hasattr(self, "statistics_") else self.statistics_.merged(evidence)
        self._check_evidence(known)
        enough = known.n_labelled > 1 and (known.n_taught > 1 or not known.privileged or not self._is_taught())
        if final and not enough:
            expected = "present in at least two rows, with their privileged part"
            raise wrong("y", expected, f"{known.n_labelled}, of which {known.n_taught} have one", "Pass more rows.")
        self._forget()
        self.n_features_in_, self._trailing_shape = known.n_features, known.window
        self._remember_features(known.features)
        self._remember(known.names)
        if enough:
            task: Any = self._task()
            task.one_target = known.one_target
            self._learn(known)
            self._finish(task)
        self.statistics_ = known
        return self

    def _check_all_settings(self) -> None:
        self._check_summable()
        self._check_settings(self._task())

    def _remember_features(self, names: tuple[str, ...] | None) -> None:
        self.__dict__.pop("feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = np.asarray(names, dtype=object)

    def _forget(self) -> None:
        """Drop what was learnt; what follows is learnt from all rows that count."""
        for name in ("student_", "teacher_", "links_", "coef_", "intercept_", "prior_coef_", "prior_intercept_"):
            self.__dict__.pop(name, None)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "student_")


def learn_from(model: Accumulating, evidence: Evidence) -> Accumulating:
    """Fit an unfitted model to what rows have added up to elsewhere."""
    return model._take(evidence, final=True)
