"""The front door: students that learn from the middle of a series, with good defaults and no required choice."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import RegressorMixin, clone

from pitskd._candidates import BUILT_IN, Baseline, Candidate, Finding, Outside, Trial
from pitskd._combination import candidate_weights, combined, combined_loss
from pitskd._estimator import Classifying, Distillation
from pitskd._folds import default_folds, teachable
from pitskd._lessons import Classification, Folds, Lesson, Regression, Task, split_rows
from pitskd._validation import check_choice, check_splitter, is_list, wrong
from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge

__all__ = ["PrivilegedClassifier", "PrivilegedRegressor"]

_COMBINE = ("anchored", "average", "weights", "stack", "select")


class _FrontDoor(Distillation):
    """Candidates fitted on the same folds and combined; the combination is the student."""

    candidates: Any
    combine: Any
    cv: Any
    _learner = _predictor = ""
    _joined: bool | None = None  # set by controls whose rows no longer tell whether the middle follows at once

    def fit(self, X: Any, y: Any, *, X_privileged: Any = None, sample_weight: Any = None) -> Any:
        """Fit every candidate and combine them.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)
            What the student sees; windows are flattened time-major. Rows in order of time.
        y : array of shape (n,), or (n, n_targets) for regression
            Targets; NaN or None where missing (such rows teach what lies between and are never scored).
        X_privileged : array of shape (n, d) or (n, n_steps, n_privileged_channels), default=None
            What lies between input and target, steps in order of time, or sensors that will not be kept; a row that
            is all NaN has no privileged part. None: the tuned baseline, with a warning.
        sample_weight : array of shape (n,), default=None
            Weights of rows, in training and held-out loss.

        Returns
        -------
        self : object
        """
        task = self._task()
        lesson = self._read(task, X, y, X_privileged, sample_weight, {1.0})
        candidates = self._listed()
        taught = any(candidate.distils for candidate in candidates)
        if taught:
            self._warn_if_untaught(task, lesson)
        trial = Trial.of(task, lesson, self._folds(task, lesson, taught), self._joined)
        tried = self._tried(trial, candidates)
        found = {candidate: candidate.fit(trial) for candidate, reason in tried if reason is None}
        losses = {candidate: self._loss(trial, finding) for candidate, finding in found.items()}
        rules = {rule: candidate_weights(rule, trial, found, losses) for rule in _COMBINE}
        self._tabulate([(candidate, reason, found.get(candidate)) for candidate, reason in tried], losses, rules)
        weights = rules[self.combine]
        self._warn_of_idle(weights)
        self.student_ = combined(task, found, weights)
        alone = {candidate: {other: float(other is candidate) for other in found} for candidate in found}
        self.candidate_students_ = {one.name: combined(task, found, only) for one, only in alone.items()}
        self.teacher_ = None
        self.n_folds_, self.middle_follows_ = len(trial.folds), trial.joined
        self.loss_ = combined_loss(trial, found, weights)
        return self._finish(task)

    def _template(self) -> Any:
        return None

    def _check_settings(self, task: Task) -> None:
        super()._check_settings(task)
        check_choice("combine", self.combine, _COMBINE, 'Use "anchored", the default.')
        check_splitter("cv", self.cv, "Use e.g. 5, TimeSeriesSplit(gap=window + horizon - 1), or None.")
        self._listed()
        for estimator in self._given():
            if not isinstance(estimator, str):
                task.check_teacher(estimator, "candidates")

    def _warn_of_idle(self, weights: dict[Candidate, float]) -> None:
        """Name candidates of the user's own that the rule of combination leaves out by definition."""
        idle = [one.name for one, weight in weights.items() if isinstance(one, Outside) and not weight]
        if idle and self.combine in ("anchored", "average"):
            warnings.warn(
                f'combine="{self.combine}" gives no weight to {", ".join(idle)}. Use combine="stack" or "weights".',
                UserWarning,
                stacklevel=3,
            )

    def _check_lesson(self, task: Task, lesson: Lesson, imitations: set[float]) -> None:
        if not task.can_learn(lesson.hard[lesson.counts]):
            classes = " and of two classes" if isinstance(task, Classification) else ""
            expected, got = f"present in two rows of weight above 0{classes}", np.count_nonzero(lesson.counts)
            raise wrong("y", expected, f"{got} such rows", "Pass more labelled rows.")

    def _warn_if_untaught(self, task: Task, lesson: Lesson) -> None:
        """Tell that nothing can be learnt from the middle."""
        if teachable(task, lesson):
            return
        some = "is all NaN but in too few labelled rows, or in rows of one class"
        what = some if lesson.privileged.any() else "is None or empty"
        warnings.warn(
            f"X_privileged {what}: {type(self).__name__} learns from hard targets only. Pass X_privileged of more rows "
            'to fit, or candidates="baseline" if this is meant.',
            UserWarning,
            stacklevel=3,
        )

    def _tried(self, trial: Trial, candidates: list[Candidate]) -> list[tuple[Candidate, str | None]]:
        """Return candidates, each with the reason why it cannot be built; without a middle the baseline stands in."""
        tried = [(candidate, candidate.obstacle(trial)) for candidate in candidates]
        if any(reason is None for _, reason in tried):
            return tried
        if teachable(trial.task, trial.lesson):
            got = "; ".join(f"{candidate.name}: {reason}" for candidate, reason in tried)
            raise wrong("candidates", "such that these rows allow one of them", got, 'Add e.g. "generalized".')
        return [*tried, (Baseline(), None)]

    def _given(self) -> list[Any]:
        if self.candidates is None:
            return list(BUILT_IN)
        return list(self.candidates) if is_list(self.candidates) else [self.candidates]

    def _listed(self) -> list[Candidate]:
        """Return candidates by name or around estimators of the user's own."""
        known = f"{', '.join(map(repr, BUILT_IN))} or an estimator"
        listed: list[Candidate] = []
        for given in self._given():
            if isinstance(given, str) and given in BUILT_IN:
                listed.append(BUILT_IN[given]())
            elif hasattr(given, "fit") and not isinstance(given, type):
                listed.append(Outside(given, self._name(given, listed)))
            else:
                raise wrong("candidates", f"a list of {known}", given, "Leave it None for all four.")
        names = [candidate.name for candidate in listed]
        if not listed or len(set(names)) < len(names):
            raise wrong("candidates", f"distinct, at least one of {known}", self.candidates, "Name each once.")
        return listed

    def _name(self, estimator: Any, listed: list[Candidate]) -> str:
        kind = type(estimator).__name__
        before = sum(candidate.name.partition(" ")[0] == kind for candidate in listed)
        return f"{kind} {before + 1}" if before else kind

    def _folds(self, task: Task, lesson: Lesson, taught: bool) -> Folds:
        """Return training rows and labelled held-out rows, all checked before any training."""
        if self.cv is None:
            folds = default_folds(task, lesson)
            if not folds:
                warnings.warn(
                    f"{len(lesson.X)} rows are too few, overlap too much, or too few of them have X_privileged, to "
                    "hold any out: strengths are the defaults, not chosen, and candidates are averaged. Pass more "
                    "windows or a larger stride, or your own cv.",
                    UserWarning,
                    stacklevel=4,
                )
            return folds
        rows = np.arange(len(lesson.X))
        if isinstance(self.cv, int | np.integer):  # rows that are never scored train in every fold
            known = np.flatnonzero(lesson.counts)
            parts = split_rows("cv", self.cv, task, lesson.rows(known))
            folds = [(np.setdiff1d(rows, known[test]), known[test]) for _, test in parts]
        else:
            parts = split_rows("cv", self.cv, task, lesson)
            folds = [(rows[train], rows[test][lesson.counts[test]]) for train, test in parts]
        for train, _ in folds:
            part = lesson.rows(train)
            if not task.can_learn(part.hard[part.counts]):
                expected = "a splitter whose training parts hold two labelled rows, of two classes"
                raise wrong("cv", expected, self.cv, "Use fewer folds or more rows.")
            if taught and teachable(task, lesson) and not teachable(task, part):
                expected = "a splitter whose training parts hold two labelled rows with X_privileged, of two classes"
                raise wrong("cv", expected, self.cv, 'Use fewer folds, or candidates="baseline".')
        folds = [fold for fold in folds if len(fold[1])]
        if not folds:
            raise wrong("cv", "a splitter that holds out labelled rows", self.cv, "Use fewer folds.")
        return folds

    def _loss(self, trial: Trial, finding: Finding) -> float:
        return float(trial.losses(finding.values)) if trial.folds else np.nan

    def _tabulate(
        self,
        tried: list[tuple[Candidate, str | None, Finding | None]],
        losses: dict[Candidate, float],
        rules: dict[str, dict[Candidate, float]],
    ) -> None:
        weights = rules[self.combine]
        rows = [
            {
                "candidate": candidate.name,
                "held_out_loss": losses.get(candidate, np.nan),
                "weight": weights.get(candidate, 0.0),
                "left_out": reason or "",
                **({} if finding is None else finding.settings),
            }
            for candidate, reason, finding in tried
        ]
        self.candidates_ = pd.DataFrame(rows).set_index("candidate")
        self.weights_ = self.candidates_["weight"].to_dict()
        named = {rule: {one.name: weight for one, weight in given.items()} for rule, given in rules.items()}
        self.rules_ = pd.DataFrame(named).T.rename_axis("combine")

    @property
    def coef_(self) -> np.ndarray:
        """Coefficients of the student for features as given, where all that count in it are linear."""
        return self.student_.coef_

    @property
    def intercept_(self) -> np.ndarray:
        """Intercept of the student, where it is linear."""
        return self.student_.intercept_


def permuted_control(model: Any) -> Any:
    """Return an unfitted front door that makes its student of the same parts, whatever permuted rows look like.

    A candidate without weight changes nothing and is left out.
    """
    control = clone(model)
    if model.combine == "anchored" and model.candidates is None:
        control.set_params(candidates=[name for name, weight in model.weights_.items() if weight > 0])
    control._joined = model.middle_follows_
    return control


class PrivilegedRegressor(RegressorMixin, _FrontDoor):
    """Regression student that learns from what lies between input and target, without a choice to make.

    It fits up to four kinds of student on the same folds, each averaged over its own strengths by held-out loss: the
    tuned baseline without privileged data, generalized distillation, and students shrunk towards two rules that the
    middle implies, a chain through the privileged steps and pooled dynamics rolled to the target. Seconds, although
    hundreds of models are compared inside. It runs without the privileged part.

    Parameters
    ----------
    candidates : list of str or estimators, default=None
        Any of "baseline", "generalized", "chain", "dynamics", and estimators of your own, which get `X_privileged` if
        their `fit` takes it. None: the four. Those that the rows do not allow are left out, with the reason in
        `candidates_`.
    combine : "anchored", "average", "weights", "stack" or "select", default="anchored"
        How candidates make the student: the mean of the anchored ones (chain, dynamics; without them of all that
        distil), the mean of all that distil, weights by held-out likelihood, the convex combination of least held-out
        loss, or the one of least held-out loss.
    cv : int, splitter or iterable, default=None
        Folds for all held-out losses. None: twice five contiguous folds whose training rows share no time step with
        the rows held out, where windows overlap (fewer are left out where that would leave too little to learn from:
        below eight windows that share nothing); an int: as in scikit-learn, which does not look for overlap.

    Attributes
    ----------
    candidates_ : DataFrame
        One row per candidate: held_out_loss (mean squared error; its own strengths were chosen on the same rows),
        weight in the student, left_out (why, else ""), and the mean of its settings, such as imitation and anchor.
    weights_ : dict of str to float
        Weight of each candidate in the student; 0 for those that are shown for comparison only.
    rules_ : DataFrame
        Weights that each rule of combination gives to each candidate, those not taken too.
    candidate_students_ : dict of str to object
        Each candidate alone, with `predict` of windows flattened time-major; for comparison.
    loss_ : float
        Held-out mean squared error of the combination; NaN without folds.
    n_folds_ : int
        Folds used; 0 where no rows could be held out.
    middle_follows_ : bool
        Whether the privileged steps have the channels of `X` and seem to follow it at once, judged by how far channels
        move from step to step; else no dynamics are rolled through them.
    student_ : object
        The fitted student, with `predict`.
    coef_, intercept_ : ndarray of shape (n_targets, n_features) and (n_targets,)
        Of the student for features as given; where all that count in it are linear.
    teacher_ : None
        There is no single teacher.
    n_features_in_ : int
        ``window * n_channels`` for windows.
    feature_names_in_, privileged_feature_names_in_ : ndarray of str
        Only for frames.

    Raises
    ------
    ValueError
        For values out of range, rows or an index that differ between `X` and `X_privileged`, NaN in `X` or in part of a
        privileged row.

    Notes
    -----
    The anchored students minimise ``1/2 sum (y - f)^2 + anchor/2 ||w - w_prior||^2``. Averaging over strengths weighs
    each by its prior times the Gaussian likelihood ``exp(-n (E - min E) / (2 min E))`` of the held-out rows, with the
    mean squared error E. Columns of two values are scaled by their range, all others to unit variance: a rare
    indicator is shrunk, not blown up. The rule and its constants (imitation 0.9, links and dynamics mostly of penalty
    3, anchors mostly from 10) were chosen on Beijing PM2.5 and simulated Mackey-Glass data;
    ``pitskd reproduce five-cities`` shows all cells, also those where it loses, and the other rules of combination, all
    of which did worse than the mean there (+.016 in R2 for the average of all that distil, +.013 for selection, against
    +.021). Shanghai was seen once before the last change, a weaker prior for noisy Mackey-Glass. "dynamics" is a chain
    of imitation 0.9 through the pooled VAR, `AnchoredDistillationRegressor` rolls it alone; generalized distillation
    hears of the last two privileged steps, from a teacher tuned by five folds of its own. No rule inside the
    training data protects against a test period that differs: ask `privileged_report`.

    References
    ----------
    .. [1] Karlsson, Willbo, Hussain, Krishnan, Sontag, Johansson (2022). Using time-series privileged information for
       provably efficient learning of prediction models. AISTATS. arXiv:2110.14993.
    .. [2] Lopez-Paz, Bottou, Schoelkopf, Vapnik (2016). Unifying distillation and privileged information. ICLR.
       arXiv:1511.03643.

    Examples
    --------
    >>> from pitskd import PrivilegedRegressor, TunedRidge, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(2050, random_state=0)
    >>> model = PrivilegedRegressor().fit(X[:50], y[:50], X_privileged=Z[:50])
    >>> model.weights_
    {'baseline': 0.0, 'generalized': 0.0, 'chain': 0.5, 'dynamics': 0.5}
    >>> bool(model.score(X[50:], y[50:]) > TunedRidge().fit(X[:50], y[:50]).score(X[50:], y[50:]))
    True
    """

    def __init__(self, candidates: Any = None, combine: str = "anchored", cv: Any = None) -> None:
        self.candidates = candidates
        self.combine = combine
        self.cv = cv

    def _task(self) -> Task:
        return Regression(TunedRidge())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class PrivilegedClassifier(Classifying, _FrontDoor):
    """Classification student that learns from what lies between input and target, without a choice to make.

    It fits up to four kinds of student on the same folds, each averaged over its own strengths by held-out log-loss:
    the tuned baseline without privileged data, generalized distillation, and students shrunk towards two rules that
    the middle implies, a chain through the privileged steps and pooled dynamics rolled to the target. It runs without
    the privileged part.

    Parameters
    ----------
    candidates : list of str or estimators, default=None
        Any of "baseline", "generalized", "chain", "dynamics", and estimators of your own, which get `X_privileged` if
        their `fit` takes it. None: the four. Those that the rows do not allow are left out, with the reason in
        `candidates_`.
    combine : "anchored", "average", "weights", "stack" or "select", default="anchored"
        How candidates make the student: the mean logit of the anchored ones (chain, dynamics; without them of all that
        distil), the mean of all that distil, weights by held-out likelihood, the convex combination of least held-out
        loss, or the one of least held-out loss.
    cv : int, splitter or iterable, default=None
        Folds for all held-out losses. None: twice five folds, stratified, or contiguous where windows overlap, whose
        training rows then share no time step with the rows held out (how far ahead a class lies is told by the
        privileged steps that lead up to it); an int: as in scikit-learn, which does not look for overlap.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    candidates_ : DataFrame
        One row per candidate: held_out_loss (log-loss in nats; its own strengths were chosen on the same rows), weight
        in the student, left_out (why, else ""), and the mean of its settings, such as imitation and anchor. The logits
        of each, the baseline's too, are shrunk where held-out rows show that they are too sure.
    weights_ : dict of str to float
        Weight of each candidate in the student; 0 for those that are shown for comparison only.
    rules_ : DataFrame
        Weights that each rule of combination gives to each candidate, those not taken too.
    candidate_students_ : dict of str to object
        Each candidate alone, with `predict` of windows flattened time-major; for comparison.
    loss_ : float
        Held-out log-loss of the combination; NaN without folds.
    n_folds_ : int
        Folds used; 0 where no rows could be held out.
    middle_follows_ : bool
        Whether the privileged steps have the channels of `X` and seem to follow it at once, judged by how far channels
        move from step to step; else no dynamics are rolled through them.
    student_ : object
        The fitted student, with `predict`, `predict_proba` and `decision_function`.
    coef_, intercept_ : ndarray of shape (n_logits, n_features) and (n_logits,)
        Of the student for features as given, one logit for two classes; where all that count in it are linear.
    teacher_ : None
        There is no single teacher.
    n_features_in_ : int
        ``window * n_channels`` for windows.
    feature_names_in_, privileged_feature_names_in_ : ndarray of str
        Only for frames.

    Raises
    ------
    ValueError
        For values out of range, labels of one class, rows or an index that differ between `X` and `X_privileged`, NaN
        in `X` or in part of a privileged row.

    Notes
    -----
    The rules that the middle implies are least squares on class indicators; a slope and intercepts fitted to the
    training labels turn them into logits, and the student minimises cross-entropy plus
    ``anchor/2 ||w - w_prior||^2``, anchors from 1e-4: on series without noise, where logistic regression wants
    penalties far below, search a `GeneralizedDistillationClassifierCV` instead. Averaging over strengths weighs each by
    its held-out likelihood. See `PrivilegedRegressor` for how the rule was chosen.

    References
    ----------
    .. [1] Karlsson, Willbo, Hussain, Krishnan, Sontag, Johansson (2022). Using time-series privileged information for
       provably efficient learning of prediction models. AISTATS. arXiv:2110.14993.
    .. [2] Lopez-Paz, Bottou, Schoelkopf, Vapnik (2016). Unifying distillation and privileged information. ICLR.
       arXiv:1511.03643.

    Examples
    --------
    >>> from pitskd import PrivilegedClassifier, mackey_glass_windows
    >>> w = mackey_glass_windows(4000, stride=8)
    >>> train, test = w.split(60)
    >>> model = PrivilegedClassifier().fit(train.X, train.y, X_privileged=train.X_privileged)
    >>> bool(model.score(test.X, test.y) > 0.9)
    True
    """

    def __init__(self, candidates: Any = None, combine: str = "anchored", cv: Any = None) -> None:
        self.candidates = candidates
        self.combine = combine
        self.cv = cv

    def _task(self) -> Task:
        return Classification(TunedLogisticRegression())
