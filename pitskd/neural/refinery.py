"""Label refinery: a student that replaces the labels, one row and one crop at a time, and is replaced by the next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from torch import nn

from pitskd._estimator import Classifying
from pitskd._lessons import Lesson, Task
from pitskd._random import stage_seed
from pitskd._validation import check_integer, wrong
from pitskd.neural._fitting import warn_of_end
from pitskd.neural._learning import Fitted, Group, Pupil, warn_of_weak_teacher
from pitskd.neural._material import split_in_time
from pitskd.neural._student import NetworkStudent
from pitskd.neural._teachers import Taught
from pitskd.neural.distillation import NeuralDistillationClassifier
from pitskd.objective import Batch

__all__ = ["LabelRefineryClassifier"]


class LabelRefineryClassifier(Classifying):
    """A network whose labels were refined by the networks before it.

    Stage 0 learns from the labels of `y`, and from privileged rows if there are any. Every later stage learns from what
    the stage before says of the very windows that the student sees, crops and jitter included, and from nothing else.
    A label that is wrong of a crop, or says nothing of what else the window holds, is so replaced by a softer one.

    Parameters
    ----------
    estimator : NeuralDistillationClassifier or None, default=None
        How each stage is trained: student, augmentation, temperature and soft loss, epochs. Its teacher, `imitation`
        and hints count in stage 0 alone, and only if there is a privileged part. None: the defaults.
    max_stages : int, default=5
        Most stages after stage 0; 0 is a fit of `estimator`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    stages_ : list of object
        The student of every stage that was trained, in order; with `predict` and ``network``, the torch module.
    student_ : object
        The one kept.
    best_stage_ : int
        Its number.
    validation_losses_ : ndarray of shape (n_stages,)
        Log-loss of each stage on held-out rows and their labels; NaN without such rows.
    history_ : DataFrame
        One row per stage and epoch, as in `NeuralDistillationClassifier`.
    n_features_in_ : int
        ``window * n_channels`` for windows.
    feature_names_in_, privileged_feature_names_in_ : ndarray of str
        Only for frames.

    Raises
    ------
    ValueError
        As `NeuralDistillationClassifier`; if `max_stages` is negative, or the soft loss of `estimator` listens to no
        teacher.
    TypeError
        If `estimator` is of another kind.

    See Also
    --------
    pitskd.neural.augmentation : Crops and jitter of windows.
    NeuralDistillationClassifier : With `augmentation` its teacher sees clean windows (noisy student).

    Notes
    -----
    The loss from stage 1 on is ``T^2 KL(p_before(T) || p(T))`` of the augmented window, without a hard term; `y`
    counts in stage 0, and on the held-out rows, where the best epoch and stage are chosen by it. Refining ends with the
    first stage whose validation loss is not below that of the stage before, which is kept. Without held-out rows all
    stages are trained and the last is kept. Rows without label take part from stage 1 on. Every stage starts from
    weights of its own. Departs from [1]_ in judging stages by log-loss instead of accuracy.

    References
    ----------
    .. [1] Bagherinezhad, Horton, Rastegari, Farhadi (2018). Label Refinery: Improving ImageNet Classification through
       Label Progression. arXiv:1805.02641.

    Examples
    --------
    >>> from functools import partial
    >>> from pitskd import simulate_frequencies
    >>> from pitskd.models import MLP
    >>> from pitskd.neural import NeuralDistillationClassifier
    >>> from pitskd.neural.augmentation import Jitter
    >>> from pitskd.neural.refinery import LabelRefineryClassifier
    >>> X, _, y = simulate_frequencies(120, random_state=0)
    >>> short = NeuralDistillationClassifier(
    ...     student=partial(MLP, hidden=8), augmentation=Jitter(0.1), max_epochs=5, random_state=0
    ... )
    >>> model = LabelRefineryClassifier(short, max_stages=2).fit(X, y)
    >>> len(model.stages_) == len(model.validation_losses_) <= 3
    True
    """

    def __init__(self, estimator: Any = None, max_stages: int = 5) -> None:
        self.estimator = estimator
        self.max_stages = max_stages

    def fit(self, X: Any, y: Any, *, X_privileged: Any = None, sample_weight: Any = None) -> LabelRefineryClassifier:
        """Train stage after stage until the labels get no better.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)
            What every stage sees, rows in order of time.
        y : array of shape (n,)
            Labels; NaN or None where missing.
        X_privileged : array of shape (n, d) or (n, n_steps, n_privileged_channels), default=None
            What the teacher of stage 0 sees. None: stage 0 learns from labels alone.
        sample_weight : array of shape (n,), default=None
            Weights of rows. A row of weight 0 is left out.

        Returns
        -------
        self : LabelRefineryClassifier

        Warns
        -----
        ConvergenceWarning
            If the training of the stage that is kept ended early.
        UserWarning
            If the teacher of stage 0 is no better than its student on held-out rows.
        """
        task, model = self._task(), clone(self._model())
        lesson = self._read(task, X, y, X_privileged, sample_weight, {model.imitation})
        lesson = lesson if lesson.weight is None else lesson.rows(lesson.weight > 0)
        if not lesson.privileged.any():
            model.set_params(imitation=0.0)
        first = model._pupil(task, lesson, split_in_time(task, lesson, model.validation))
        (fitted,) = Group([first]).fit()
        warn_of_weak_teacher(fitted.student_loss, fitted.teacher_loss, self._caller)
        self._refine(first, fitted)
        warn_of_end("student", self.student_, model.learning_rate, self._caller)
        return self._finish(task)

    def _refine(self, first: Pupil, fitted: Fitted) -> None:
        """Train the stages after the first, and keep the best of all."""
        judged = len(first.split[1]) > 0
        self.stages_, losses, self.best_stage_ = [fitted.student], [_validation_loss(fitted.student)], 0
        for number in range(1, self.max_stages + 1):
            if self.stages_[-1].ended in ("interrupted", "diverged"):
                break
            self.stages_.append(_stage(first, self.stages_[-1], number))
            losses.append(_validation_loss(self.stages_[-1]))
            if self.stages_[-1].ended == "diverged" or (judged and not losses[-1] < losses[-2]):
                break
            self.best_stage_ = number
        self.student_, self.validation_losses_ = self.stages_[self.best_stage_], np.array(losses)
        self.history_ = pd.concat(
            {number: pd.DataFrame(stage.history).set_index("epoch") for number, stage in enumerate(self.stages_)},
            names=["stage"],
        )

    def _model(self) -> NeuralDistillationClassifier:
        """Return the estimator that tells how each stage is trained."""
        if self.estimator is None:
            return NeuralDistillationClassifier()
        if not isinstance(self.estimator, NeuralDistillationClassifier):
            expected, kind = "a NeuralDistillationClassifier or None", type(self.estimator).__name__
            raise wrong("estimator", expected, kind, "Leave it None.", TypeError)
        return self.estimator

    def _task(self) -> Task:
        return self._model()._task()

    def _template(self) -> Any:
        return None

    def _sees_both(self) -> bool:
        return self._model()._sees_both()

    def _check_settings(self, task: Task) -> None:
        check_integer("max_stages", self.max_stages, minimum=0, step="Use 0 for labels as they are.")
        model = self._model()
        model._check_settings(task)
        if model.soft_loss is not None and not model.soft_loss.needs_teacher:
            step = "Use soft_loss=None there."
            raise wrong("estimator", "one whose soft_loss listens to a teacher", f"{model.soft_loss!r}", step)

    def _check_lesson(self, task: Task, lesson: Lesson, imitations: set[float]) -> None:
        self._model()._check_lesson(task, lesson, imitations)


@dataclass(frozen=True, eq=False)
class Refined:
    """Labels of a batch, as a network gives them of the very windows that the student sees."""

    network: nn.Module

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with these labels for soft targets."""
        return replace(batch, soft=self.network(batch.inputs[0])[None])


def _stage(first: Pupil, before: NetworkStudent, number: int) -> NetworkStudent:
    """Return a student that learns from the one before, and from nothing else."""
    model = clone(first.model).set_params(hints=(), teacher_weights=None, distil_from=0, hint_epochs=0)
    seed = stage_seed(first.seed, f"refinery {number}")
    group = Group([replace(first, model=model, imitation=1.0, seed=seed)])
    voice = Taught(before, [before.raw(first.lesson.X[first.split[0]])], [], before)
    work = group._assignment([group._told(group.pupils[0], voice)], [voice])
    (student,) = replace(work, live=Refined(before.network)).fit()
    return student


def _validation_loss(student: NetworkStudent) -> float:
    """Return the held-out loss of the weights that were kept."""
    return student.history[student.best_epoch - 1]["validation_loss"] if student.best_epoch else np.nan
