"""Neural distillation: a network that learns from targets and from a teacher that sees more.

Lopez-Paz et al. (2016) with the losses of Hinton et al. (2015) and of the literature on features. Students of one
architecture train as one network, in `fit_grid` and in the searches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.metaestimators import available_if

from pitskd._estimator import Classifying
from pitskd._lessons import Regression, Task
from pitskd._validation import check_choice, check_positive
from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge
from pitskd.losses.functional.quantiles import check_quantiles
from pitskd.neural._estimator import Neural
from pitskd.neural._teachers import OpenClassification

__all__ = [
    "NeuralDistillationClassifier",
    "NeuralDistillationRegressor",
]


def _gives_quantiles(estimator: Any) -> bool:
    return estimator.quantiles is not None


class NeuralDistillationRegressor(RegressorMixin, Neural):
    """A network that forecasts numbers, taught by targets and by a teacher on privileged features.

    It minimises ``(1 - imitation) mean (y - f(x))^2 + imitation mean (s - f(x))^2 + weighted hints`` over batches, with
    the teacher's predictions s, all in units of the targets' deviation, and runs without the privileged part.

    Parameters
    ----------
    teacher : builder, estimator, Module, list of these or None, default=None
        Who sees the privileged part. A builder makes a network that is trained like the student, on hard targets; None
        is `MLP`. A regressor of scikit-learn is fitted by itself; inside a ``FrozenEstimator``, or with
        ``cross_fit="prefit"``, it is used as it is, and so is a torch module, which takes unscaled windows
        (batch, n_channels, length). Several teachers speak with one voice, see `teacher_weights`.
    student : builder or None, default=None
        ``student(n_channels=, length=, n_outputs=)`` returns a module that takes (batch, n_channels, length) and gives
        (batch, n_outputs); ``functools.partial(GRU, hidden=64)`` is one. None: `MLP`.
    imitation : float, default=0.5
        Weight of the soft loss in [0, 1], lambda in [1]_; the hard loss has the rest. At 0 and without hints no teacher
        is trained, and the weights are those of a student without one, bit for bit.
    soft_loss : ResponseLoss or None, default=None
        What compares student and teacher; None: `SquaredError`. Those that need no teacher, as
        `VirtualTeacher`, train none.
    hints : list of pairs (DistillationLoss, float), default=()
        Losses on features with their weights, e.g. ``[(FitNetHint("hidden", "hidden"), 0.5)]``; the (first) teacher
        must be a network.
    teacher_sees : "privileged" or "both", default="privileged"
        Whether the teacher sees `X_privileged` alone or `X` as well: steps with the channels of `X` go on behind the
        window, sensors over the same steps stand beside it, anything else is one step of many channels.
    teacher_weights : sequence of float or None, default=None
        Shares of several teachers. None: equal.
    cross_fit : int, splitter, "prefit" or None, default=None
        Folds whose soft targets come from a teacher that has not seen them; None: one teacher, in-sample. With an int,
        a network that teaches is kept apart from the rows whose windows overlap its test rows (at most an eighth of the
        rows on each side). A splitter is followed as it is, and so are the folds of estimators that teach.
    privileged_transformer : transformer, "passthrough" or None, default=None
        Scales what an estimator sees that teaches; None is ``StandardScaler``. Networks scale by themselves.
    quantiles : sequence of float or None, default=None
        Levels, each in (0, 1), to be forecast instead of the mean, by the pinball loss; `predict` gives the one nearest
        to 0.5, `predict_quantiles` all of them. Networks that teach give them too; other teachers give points.
    max_epochs : int, default=200
    batch_size : int, default=32
        A last batch of a single row joins the one before.
    learning_rate : float, default=0.001
    optimizer : callable or None, default=None
        ``optimizer(parameters, lr=)``, e.g. ``functools.partial(torch.optim.AdamW, weight_decay=0.01)``; it must work
        element by element, as all weights are one vector to it. None: Adam.
    schedule : "cosine", "plateau", callable or None, default=None
        Of the learning rate: half a cosine over all epochs; half after every third of `patience` without progress; or
        a callable that takes the epoch, from 0, and returns a factor.
    clip : float or None, default=None
        Largest norm of the gradient.
    validation : float or None, default=0.2
        Share of labelled rows, the last ones, that early stopping and the best weights are judged by, with hard
        targets. Rows that share a time step of `X` or `y` with these train nothing, at most an eighth of all rows on
        each side. Fewer than ten labelled rows have no such part, nor has None: then the last weights count. A share
        that leaves too little to learn from holds out none, with a warning.
    patience : int, default=20
        Epochs without a better validation loss after which training ends.
    distil_from : int, default=0
        Epoch, below `max_epochs`, from which on soft targets and hints count; before it training is as without a
        teacher.
    hint_epochs : int, default=0
        Epochs before all others in which hints alone are learnt (two stages as in [2]_).
    augmentation : callable or None, default=None
        ``augmentation(windows, generator)`` of scaled windows (batch, n_channels, length), e.g.
        `pitskd.neural.augmentation.Jitter`, for the student only: the teacher has seen them clean (noisy student).
    precision : "float32" or "float64", default="float32"
    device : str, default="cpu"
        Of torch.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights and scales of the fit before.
    verbose : bool, default=False
        Whether the bar of epochs is shown at once, else after two seconds and on a terminal alone.
    random_state : int, numpy Generator, numpy RandomState or None, default=None
        For weights, order of batches, and dropout; on a CPU the same seed gives the same bits.

    Attributes
    ----------
    student_ : object
        Scales and network, with `predict`; ``student_.network`` is the torch module.
    teacher_ : object or None
        Fitted teacher, or a list of several, a copy of a torch module; None where nothing was taught.
    history_ : DataFrame
        One row per epoch: loss and its terms (training rows, scaled targets), validation_loss, learning_rate.
    best_epoch_ : int
        Whose weights are kept.
    ended_ : "epochs", "patience", "diverged" or "interrupted"
    student_loss_, teacher_loss_ : float
        Mean squared error (quantiles: of the middle one) on the same held-out rows; NaN without such.
    n_features_in_ : int
        ``window * n_channels`` for windows.
    feature_names_in_, privileged_feature_names_in_ : ndarray of str
        Only for frames.

    Raises
    ------
    ValueError
        For values out of range, layers that a network does not have, rows or an index that differ between `X` and
        `X_privileged`, NaN where not allowed.
    TypeError
        If teacher or student are of the wrong kind.
    NotFittedError
        If a teacher that is to be used as it is has not been fitted.

    See Also
    --------
    NeuralDistillationRegressorCV : Chooses imitation and learning rate.
    GeneralizedDistillationRegressor : The same with estimators of scikit-learn.

    Notes
    -----
    Channels are scaled over rows and steps, targets one by one, on the training rows. Rows without privileged part
    learn from their target with weight 1 and give no hint; rows without target learn from the teacher with weight
    `imitation`. Adapters of hints are made on the first rows, trained with the student, and dropped. What the teacher
    says of a row, and its features for hints, are computed once and kept. Interrupting the
    student's training keeps its best weights so far, with a warning.

    References
    ----------
    .. [1] Lopez-Paz, Bottou, Schoelkopf, Vapnik (2016). Unifying distillation and privileged information. ICLR.
       arXiv:1511.03643, section 4, eq. (6).
    .. [2] Romero et al. (2015). FitNets: Hints for Thin Deep Nets. ICLR. arXiv:1412.6550, section 2.3.

    Examples
    --------
    >>> from functools import partial
    >>> from pitskd import NeuralDistillationRegressor, simulate_linear_chain
    >>> from pitskd.models import MLP
    >>> X, Z, y = simulate_linear_chain(300, random_state=0)
    >>> model = NeuralDistillationRegressor(student=partial(MLP, hidden=16), max_epochs=30, random_state=0)
    >>> model = model.fit(X[:200], y[:200], X_privileged=Z[:200])
    >>> model.predict(X[200:]).shape
    (100,)
    >>> students = model.fit_grid(X[:200], y[:200], {"imitation": [0.0, 0.5, 1.0]}, X_privileged=Z[:200])
    >>> [student.imitation for student in students]
    [0.0, 0.5, 1.0]
    """

    def __init__(
        self,
        teacher: Any = None,
        student: Any = None,
        imitation: float = 0.5,
        *,
        soft_loss: Any = None,
        hints: Any = (),
        teacher_sees: str = "privileged",
        teacher_weights: Any = None,
        cross_fit: Any = None,
        privileged_transformer: Any = None,
        quantiles: Any = None,
        max_epochs: int = 200,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        optimizer: Any = None,
        schedule: Any = None,
        clip: float | None = None,
        validation: float | None = 0.2,
        patience: int = 20,
        distil_from: int = 0,
        hint_epochs: int = 0,
        augmentation: Any = None,
        precision: str = "float32",
        device: Any = "cpu",
        warm_start: bool = False,
        verbose: bool = False,
        random_state: Any = None,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.imitation = imitation
        self.soft_loss = soft_loss
        self.hints = hints
        self.teacher_sees = teacher_sees
        self.teacher_weights = teacher_weights
        self.cross_fit = cross_fit
        self.privileged_transformer = privileged_transformer
        self.quantiles = quantiles
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip = clip
        self.validation = validation
        self.patience = patience
        self.distil_from = distil_from
        self.hint_epochs = hint_epochs
        self.augmentation = augmentation
        self.precision = precision
        self.device = device
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    def _task(self) -> Task:
        return Regression(TunedRidge())

    def _check_settings(self, task: Task) -> None:
        super()._check_settings(task)
        if self.quantiles is not None:
            check_quantiles(self.quantiles)

    @available_if(_gives_quantiles)
    def predict_quantiles(self, X: Any) -> np.ndarray:
        """Predict every quantile; they never cross.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)

        Returns
        -------
        quantiles : ndarray of shape (n, n_quantiles) or (n, n_targets, n_quantiles)
            In the order of `quantiles`.
        """
        X = self._inputs(X)
        return self.student_.predict_quantiles(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class NeuralDistillationClassifier(Classifying, Neural):
    """A network that tells classes, taught by labels and by a teacher on privileged features.

    It minimises ``(1 - imitation) CE(y, p) + imitation T^2 KL(s(T) || p(T)) + weighted hints`` over batches, with the
    teacher's softened probabilities s, and predicts at temperature 1 without the privileged part.

    Parameters
    ----------
    teacher : builder, estimator, Module, list of these or None, default=None
        Who sees the privileged part. A builder makes a network that is trained like the student, on hard targets; None
        is `MLP`. A classifier of scikit-learn is fitted by itself; inside a ``FrozenEstimator``, or with
        ``cross_fit="prefit"``, it is used as it is, and so is a torch module, which takes unscaled windows
        (batch, n_channels, length). Several teachers speak with one voice, see `teacher_weights`.
    student : builder or None, default=None
        ``student(n_channels=, length=, n_outputs=)`` returns a module that takes (batch, n_channels, length) and gives
        (batch, n_outputs); ``functools.partial(GRU, hidden=64)`` is one. None: `MLP`.
    imitation : float, default=0.5
        Weight of the soft loss in [0, 1], lambda in [3]_; the hard loss has the rest. At 0 and without hints no teacher
        is trained, and the weights are those of a student without one, bit for bit.
    temperature : float, default=1.0
        Above 0. Divides the logits of both; of other teachers their decision values, else log-probabilities.
    soft_loss : ResponseLoss or None, default=None
        What compares student and teacher; None: `SoftTargets`. Those that need no teacher, as
        `VirtualTeacher`, train none.
    hints : list of pairs (DistillationLoss, float), default=()
        Losses on features with their weights, e.g. ``[(FitNetHint("hidden", "hidden"), 0.5)]``; the (first) teacher
        must be a network.
    teacher_sees : "privileged" or "both", default="privileged"
        Whether the teacher sees `X_privileged` alone or `X` as well: steps with the channels of `X` go on behind the
        window, sensors over the same steps stand beside it, anything else is one step of many channels.
    teacher_weights : sequence of float or None, default=None
        Shares of several teachers. None: equal.
    cross_fit : int, splitter, "prefit" or None, default=None
        Folds whose soft targets come from a teacher that has not seen them; None: one teacher, in-sample. With an int,
        a network that teaches is kept apart from the rows whose windows overlap its test rows (at most an eighth of the
        rows on each side). A splitter is followed as it is, and so are the folds of estimators that teach.
    privileged_transformer : transformer, "passthrough" or None, default=None
        Scales what an estimator sees that teaches; None is ``StandardScaler``. Networks scale by themselves.
    class_weight : dict, "balanced" or None, default=None
        Weights of classes in the hard loss of the student, the validation loss included, as in scikit-learn; a
        class that a dict leaves out weighs 1.
    classes : sequence or None, default=None
        Every class that the student can tell, where a fitted teacher knows some that `y` lacks: it learns those from
        soft targets alone, see `ClassBiasCorrection`. None: those of `y`.
    max_epochs : int, default=200
    batch_size : int, default=32
        A last batch of a single row joins the one before.
    learning_rate : float, default=0.001
    optimizer : callable or None, default=None
        ``optimizer(parameters, lr=)``, e.g. ``functools.partial(torch.optim.AdamW, weight_decay=0.01)``; it must work
        element by element, as all weights are one vector to it. None: Adam.
    schedule : "cosine", "plateau", callable or None, default=None
        Of the learning rate: half a cosine over all epochs; half after every third of `patience` without progress; or
        a callable that takes the epoch, from 0, and returns a factor.
    clip : float or None, default=None
        Largest norm of the gradient.
    validation : float or None, default=0.2
        Share of labelled rows, the last ones, that early stopping and the best weights are judged by, with hard
        targets. Rows that share a time step of `X` or `y` with these train nothing, at most an eighth of all rows on
        each side. Fewer than ten labelled rows have no such part, nor has None: then the last weights count. A share
        that leaves too little to learn from holds out none, with a warning.
    patience : int, default=20
        Epochs without a better validation loss after which training ends.
    distil_from : int, default=0
        Epoch, below `max_epochs`, from which on soft targets and hints count; before it training is as without a
        teacher.
    hint_epochs : int, default=0
        Epochs before all others in which hints alone are learnt (two stages as in [2]_).
    augmentation : callable or None, default=None
        ``augmentation(windows, generator)`` of scaled windows (batch, n_channels, length), e.g.
        `pitskd.neural.augmentation.Jitter`, for the student only: the teacher has seen them clean (noisy student).
    precision : "float32" or "float64", default="float32"
    device : str, default="cpu"
        Of torch.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights and scales of the fit before.
    verbose : bool, default=False
        Whether the bar of epochs is shown at once, else after two seconds and on a terminal alone.
    random_state : int, numpy Generator, numpy RandomState or None, default=None
        For weights, order of batches, and dropout; on a CPU the same seed gives the same bits.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    student_ : object
        Scales and network, with `predict`; ``student_.network`` is the torch module.
    teacher_ : object or None
        Fitted teacher, or a list of several, a copy of a torch module; None where nothing was taught.
    history_ : DataFrame
        One row per epoch: loss and its terms (training rows, scaled targets), validation_loss, learning_rate.
    best_epoch_ : int
        Whose weights are kept.
    ended_ : "epochs", "patience", "diverged" or "interrupted"
    student_loss_, teacher_loss_ : float
        Log-loss on the same held-out rows; NaN without such.
    n_features_in_ : int
        ``window * n_channels`` for windows.
    feature_names_in_, privileged_feature_names_in_ : ndarray of str
        Only for frames.

    Raises
    ------
    ValueError
        For values out of range, layers that a network does not have, rows or an index that differ between `X` and
        `X_privileged`, NaN where not allowed.
    TypeError
        If teacher or student are of the wrong kind.
    NotFittedError
        If a teacher that is to be used as it is has not been fitted.

    See Also
    --------
    NeuralDistillationClassifierCV : Chooses imitation, temperature and learning rate.
    GeneralizedDistillationClassifier : The same with estimators of scikit-learn.

    Notes
    -----
    One logit per class, also for two. Without overlap of windows the held-out part holds the last rows of every class.
    Several teachers are averaged as probabilities at the temperature. Rows without privileged part, without label, and
    adapters: see `NeuralDistillationRegressor`.

    References
    ----------
    .. [1] Hinton, Vinyals, Dean (2015). Distilling the Knowledge in a Neural Network. arXiv:1503.02531, section 2.
    .. [2] Romero et al. (2015). FitNets: Hints for Thin Deep Nets. ICLR. arXiv:1412.6550, section 2.3.
    .. [3] Lopez-Paz, Bottou, Schoelkopf, Vapnik (2016). Unifying distillation and privileged information. ICLR.
       arXiv:1511.03643, section 4, eq. (6).

    Examples
    --------
    >>> from pitskd import NeuralDistillationClassifier, simulate_clean_labels
    >>> X, Z, y = simulate_clean_labels(700, random_state=0)
    >>> model = NeuralDistillationClassifier(temperature=2.0, max_epochs=20, random_state=0)
    >>> model = model.fit(X[:200], y[:200], X_privileged=Z[:200])
    >>> model.predict_proba(X[200:]).shape
    (500, 2)
    """

    def __init__(
        self,
        teacher: Any = None,
        student: Any = None,
        imitation: float = 0.5,
        temperature: float = 1.0,
        *,
        soft_loss: Any = None,
        hints: Any = (),
        teacher_sees: str = "privileged",
        teacher_weights: Any = None,
        cross_fit: Any = None,
        privileged_transformer: Any = None,
        class_weight: Any = None,
        classes: Any = None,
        max_epochs: int = 200,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        optimizer: Any = None,
        schedule: Any = None,
        clip: float | None = None,
        validation: float | None = 0.2,
        patience: int = 20,
        distil_from: int = 0,
        hint_epochs: int = 0,
        augmentation: Any = None,
        precision: str = "float32",
        device: Any = "cpu",
        warm_start: bool = False,
        verbose: bool = False,
        random_state: Any = None,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.imitation = imitation
        self.temperature = temperature
        self.soft_loss = soft_loss
        self.hints = hints
        self.teacher_sees = teacher_sees
        self.teacher_weights = teacher_weights
        self.cross_fit = cross_fit
        self.privileged_transformer = privileged_transformer
        self.class_weight = class_weight
        self.classes = classes
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip = clip
        self.validation = validation
        self.patience = patience
        self.distil_from = distil_from
        self.hint_epochs = hint_epochs
        self.augmentation = augmentation
        self.precision = precision
        self.device = device
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    def _task(self) -> Task:
        return OpenClassification(TunedLogisticRegression(), self.classes)

    def _check_settings(self, task: Task) -> None:
        super()._check_settings(task)
        check_positive("temperature", self.temperature, "Use 1.0 for the teacher's own probabilities.")
        if self.class_weight is not None and not isinstance(self.class_weight, dict):
            check_choice("class_weight", self.class_weight, ("balanced", None), "Or pass weights by class, as a dict.")
