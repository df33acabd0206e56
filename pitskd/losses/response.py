"""The soft losses of an estimator: what its student's predictions shall resemble, row by row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pitskd._validation import check_fraction, check_strength, wrong
from pitskd.losses import functional
from pitskd.losses.base import ResponseLoss
from pitskd.losses.functional._rows import check_bool
from pitskd.losses.functional.quantiles import check_quantiles

__all__ = [
    "EntropyRegularization",
    "LabelSmoothing",
    "LogitRegression",
    "Pinball",
    "SoftCrossEntropy",
    "SoftTargets",
    "SquaredError",
    "TrustedRows",
    "VirtualTeacher",
]


class SoftTargets(ResponseLoss):
    """Softened class probabilities of the teacher; the default of classifiers.

    Notes
    -----
    Both networks are tempered, and the divergence is multiplied by the squared temperature: `functional.kd`.

    References
    ----------
    .. [1] Hinton, Vinyals, Dean (2015). Distilling the Knowledge in a Neural Network. arXiv:1503.02531, eq. (1)-(4).

    Examples
    --------
    >>> import torch
    >>> student, teacher = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log()
    >>> SoftTargets().rows(student, teacher, None)
    tensor([0.1308])
    """

    def rows(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        targets: Tensor | None,
        temperature: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute T^2 KL(teacher || student) of every row."""
        return functional.kd(student_logits, _taught(teacher_logits), temperature, reduction="none")


class SoftCrossEntropy(ResponseLoss):
    """Softened class probabilities of the teacher, scored by the untempered student.

    The form of generalized distillation, and of `GeneralizedDistillationClassifier`.

    Notes
    -----
    Cross-entropy from softmax(z_t / T) to softmax(z_s), without T^2. At T = 1 its gradient is that of `SoftTargets`.

    References
    ----------
    .. [1] Lopez-Paz, Bottou, Schoelkopf, Vapnik (2016). Unifying distillation and privileged information. ICLR.
       arXiv:1511.03643, section 4.

    Examples
    --------
    >>> import torch
    >>> SoftCrossEntropy().rows(torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log(), None, temperature=2.0)
    tensor([0.6931])
    """

    def rows(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        targets: Tensor | None,
        temperature: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute the cross-entropy of every row."""
        soft = functional.soft_targets(_taught(teacher_logits), temperature)
        return functional.soft_cross_entropy(student_logits, soft, reduction="none")


class SquaredError(ResponseLoss):
    """Forecasts of the teacher; the default of regressors.

    Notes
    -----
    Mean of squares over outputs. There is no temperature: it is ignored.

    Examples
    --------
    >>> import torch
    >>> SquaredError().rows(torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2), None)
    tensor([5.])
    """

    def rows(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        targets: Tensor | None,
        temperature: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute the squared error of every row."""
        return functional.logit_regression(student_logits, _taught(teacher_logits), reduction="none")


class LogitRegression(ResponseLoss):
    """Logits of the teacher.

    Parameters
    ----------
    centre : bool, default=False
        Compare up to a constant per row, which no probability depends on.

    Raises
    ------
    TypeError
        If `centre` is no bool.

    Notes
    -----
    Mean of squares over classes; half of it, centred, is the limit of `SoftTargets` at high temperature. The
    temperature itself is ignored.

    References
    ----------
    .. [1] Bucila, Caruana, Niculescu-Mizil (2006). Model Compression. KDD.

    Examples
    --------
    >>> import torch
    >>> LogitRegression(centre=True).rows(torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2), None)
    tensor([1.])
    """

    def __init__(self, centre: bool = False) -> None:
        self.centre = check_bool("centre", centre)

    def rows(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        targets: Tensor | None,
        temperature: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute the squared error of every row."""
        return functional.logit_regression(
            student_logits, _taught(teacher_logits), centre=self.centre, reduction="none"
        )


class LabelSmoothing(ResponseLoss):
    """Labels of which a share is spread over all classes; needs no teacher.

    Parameters
    ----------
    eps : float, default=0.1
        Share that is spread, in [0, 1]; every class gets eps / n_classes, the true one too.

    Raises
    ------
    ValueError
        If `eps` is no number between 0 and 1.

    Notes
    -----
    It holds the hard labels too: use ``imitation=1``, or the share that is spread becomes imitation times `eps`.

    References
    ----------
    .. [1] Szegedy et al. (2016). Rethinking the Inception Architecture for Computer Vision. CVPR. arXiv:1512.00567,
       section 7.

    Examples
    --------
    >>> import torch
    >>> LabelSmoothing(0.2).rows(torch.tensor([[3.0, 1.0]]).log(), None, torch.tensor([0]))
    tensor([0.3975])
    """

    needs_teacher = False

    def __init__(self, eps: float = 0.1) -> None:
        self.eps = check_fraction("eps", eps, "Use e.g. 0.1.")

    def rows(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        targets: Tensor | None,
        temperature: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute the cross-entropy of every row."""
        return functional.label_smoothing(student_logits, _labelled(targets), self.eps, reduction="none")


class EntropyRegularization(ResponseLoss):
    """Labels, and a penalty on class probabilities far from uniform; needs no teacher.

    Parameters
    ----------
    strength : float, default=0.1
        Weight of the penalty, at least 0.

    Raises
    ------
    ValueError
        If `strength` is no finite number of at least 0.

    Notes
    -----
    (1 + strength) times `LabelSmoothing` with eps = strength / (1 + strength). It holds the hard labels too.

    References
    ----------
    .. [1] Pereyra et al. (2017). Regularizing Neural Networks by Penalizing Confident Output Distributions.
       arXiv:1701.06548, section 3.

    Examples
    --------
    >>> import torch
    >>> EntropyRegularization(1.0).rows(torch.zeros(1, 2), None, torch.tensor([0]))
    tensor([1.3863])
    """

    needs_teacher = False

    def __init__(self, strength: float = 0.1) -> None:
        self.strength = check_strength("strength", strength, "Use e.g. 0.1.")

    def rows(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        targets: Tensor | None,
        temperature: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute the penalised cross-entropy of every row."""
        return functional.entropy_regularized(student_logits, _labelled(targets), self.strength, reduction="none")


class VirtualTeacher(ResponseLoss):
    """A teacher made by hand, sure of the true class up to ``mass``; needs no other.

    Parameters
    ----------
    mass : float, default=0.9
        Probability of the true class, in [0, 1].

    Raises
    ------
    ValueError
        If `mass` is no number between 0 and 1.

    References
    ----------
    .. [1] Yuan, Tay, Li, Wang, Feng (2020). Revisiting Knowledge Distillation via Label Smoothing Regularization.
       CVPR. arXiv:1909.11723, section 4 (Tf-KD_reg).

    Examples
    --------
    >>> import torch
    >>> VirtualTeacher(0.75).rows(torch.zeros(1, 2), None, torch.tensor([0]))
    tensor([0.1308])
    """

    needs_teacher = False

    def __init__(self, mass: float = 0.9) -> None:
        self.mass = check_fraction("mass", mass, "Use e.g. 0.9.")

    def rows(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        targets: Tensor | None,
        temperature: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute T^2 KL(made-up teacher || student) of every row."""
        return functional.virtual_teacher(
            student_logits, _labelled(targets), temperature, mass=self.mass, reduction="none"
        )


class Pinball(ResponseLoss):
    """Quantile forecasts, scored against the targets; needs no teacher.

    Parameters
    ----------
    quantiles : sequence of float
        Each above 0 and below 1.

    Notes
    -----
    Predictions are (..., n_targets * n_quantiles), the quantiles of one target side by side; targets (..., n_targets).
    To imitate a teacher's quantiles use `SquaredError`.

    Examples
    --------
    >>> import torch
    >>> Pinball((0.25, 0.5, 0.75)).rows(torch.tensor([[1.0, 2.0, 3.0]]), None, torch.tensor([[2.0]]))
    tensor([0.1667])
    """

    needs_teacher = False

    def __init__(self, quantiles: Sequence[float]) -> None:
        self.quantiles = check_quantiles(quantiles)

    def rows(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        targets: Tensor | None,
        temperature: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute the mean over targets and quantiles of every row."""
        n_quantiles = len(self.quantiles)
        if student_logits.shape[-1] % n_quantiles:
            expected, got = f"of shape (..., n_targets * {n_quantiles})", f"shape {tuple(student_logits.shape)}"
            raise wrong("student_logits", expected, got, "Give the network one output per target and quantile.")
        predictions = student_logits.unflatten(-1, (-1, n_quantiles))
        return functional.pinball(predictions, _labelled(targets), self.quantiles, reduction="none").mean(-1)


class TrustedRows(ResponseLoss):
    """Another loss, only where the teacher is right and sure.

    Parameters
    ----------
    loss : ResponseLoss, default=SoftTargets()
        Between logits.
    threshold : float, default=0.5
        In [0, 1]: the true class must be the teacher's first choice and have more probability than this.

    Raises
    ------
    ValueError
        If `threshold` is no number between 0 and 1.
    TypeError
        If `loss` is no `ResponseLoss`.

    Notes
    -----
    Other rows count as 0 and give no gradient, even where the teacher said NaN: `functional.trust_weights`.

    Examples
    --------
    >>> import torch
    >>> teacher = torch.tensor([[3.0, 1.0], [1.0, 3.0]]).log()
    >>> TrustedRows().rows(torch.zeros(2, 2), teacher, torch.tensor([0, 0]))
    tensor([0.1308, 0.0000])
    """

    def __init__(self, loss: ResponseLoss | None = None, threshold: float = 0.5) -> None:
        if loss is not None and not isinstance(loss, ResponseLoss):
            raise wrong("loss", "a ResponseLoss", loss, "Use e.g. SoftTargets().", TypeError)
        self.loss = loss
        self.threshold = check_fraction("threshold", threshold, "Use e.g. 0.5.")

    def rows(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        targets: Tensor | None,
        temperature: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute the loss of every trusted row, 0 of any other."""
        loss = SoftTargets() if self.loss is None else self.loss
        teacher, labels = _taught(teacher_logits).expand_as(student_logits), _labelled(targets)
        trusted = functional.trust_weights(teacher, labels, threshold=self.threshold) > 0
        # What an untrusted teacher says is left out before the loss, or NaN would come back in its gradient.
        heard = torch.where(trusted[..., None], teacher, 0.0)
        return torch.where(trusted, loss.rows(student_logits, heard, labels, temperature), 0.0)


def _taught(teacher_logits: Tensor | None) -> Tensor:
    if teacher_logits is None:
        raise wrong("teacher_logits", "the teacher's predictions", None, "This loss compares the student with them.")
    return teacher_logits


def _labelled(targets: Tensor | None) -> Tensor:
    if targets is None:
        raise wrong("targets", "the hard targets of the rows", None, "This loss is made from them.")
    return targets
