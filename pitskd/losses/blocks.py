"""Losses that look inside the student: one block alone, fed by the teacher, or its weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from pitskd._validation import wrong
from pitskd.losses._signals import check_layer, check_names, features_of, mask_of
from pitskd.losses.base import DistillationLoss, Signals
from pitskd.losses.functional.features import hint, weight_matching
from pitskd.models.taps import check_layers

__all__ = ["BlockImitation", "WeightMatching"]


class BlockImitation(DistillationLoss):
    """Feed one block of the student what the teacher's block before gave, and ask for what the teacher's block gave.

    A block is so trained on its own task, undisturbed by blocks below that are not trained yet.

    Parameters
    ----------
    student_block : str
        Layer of the student that is run alone; may have fewer or other layers inside than the teacher's.
    teacher_block : str
        Layer of the teacher whose output it should give.
    teacher_input : str
        Layer of the teacher whose output is fed to the block: the one before `teacher_block`.

    Raises
    ------
    ValueError
        If a network has no such layer, or the block does not take or give features of the teacher's shapes.

    Notes
    -----
    Mean of squared differences over all elements. It reaches the weights of this block only, and none of its buffers;
    [1] adds it for all blocks to the distillation of predictions. Not for stacks of students.

    References
    ----------
    .. [1] Koratana et al. (2019). LIT: Learned Intermediate Representation Training for Model Compression. ICML,
       section 3.

    Examples
    --------
    >>> BlockImitation("blocks.1", teacher_block="blocks.3", teacher_input="blocks.1").teacher_layers
    ('blocks.1', 'blocks.3')
    """

    stackable = False

    def __init__(self, student_block: str, teacher_block: str, teacher_input: str):
        self.student_block = check_layer("student_block", student_block)
        self.teacher_block = check_layer("teacher_block", teacher_block)
        self.teacher_input = check_layer("teacher_input", teacher_input)
        self.teacher_layers = (teacher_input, teacher_block)

    def adapter(self, student: Signals, teacher: Signals) -> None:
        """Check on a copy of the block that it takes and gives the teacher's shapes; there is no adapter."""
        block, fed = deepcopy(self._block(student)).eval(), features_of("teacher", teacher, self.teacher_input)
        expected = features_of("teacher", teacher, self.teacher_block).shape
        try:
            with torch.no_grad():
                given = _first(block(fed.detach())).shape
        except (RuntimeError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0]
            step = "Choose a student of the teacher's width, or another pair of blocks."
            shape = f"one that fails on shape {tuple(fed.shape)} ({reason})"
            raise wrong(
                "student_block", f"a block that takes the output of {self.teacher_input!r}", shape, step
            ) from None
        if given != expected:
            step = "Choose a student of the teacher's width, or another pair of blocks."
            shapes = f"of shape {tuple(expected)} as {self.teacher_block!r} gives", f"shape {tuple(given)}"
            raise wrong("student_block", f"a block with output {shapes[0]}", shapes[1], step)

    def __call__(
        self,
        student: Signals,
        teacher: Signals,
        adapter: nn.Module | None = None,
        paraphraser: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Run the student's block on the teacher's features of one batch."""
        fed = features_of("teacher", teacher, self.teacher_input).detach()
        wanted = features_of("teacher", teacher, self.teacher_block)
        block = self._block(student)
        # Statistics of the teacher's features, as of a batch norm, shall not become the student's.
        buffers = {name: buffer.clone() for name, buffer in block.named_buffers()}
        return hint(_first(torch.func.functional_call(block, buffers, (fed,))), wanted, mask=mask_of(student, teacher))

    def _block(self, student: Signals) -> nn.Module:
        if student.network is None:
            raise wrong("student", "signals with their network", None, "Put the network into the student's signals.")
        check_layers("student_block", student.network, [self.student_block])
        return student.network.get_submodule(self.student_block)


def _first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


class WeightMatching(DistillationLoss):
    """Pull weights of the student to weights of the teacher that have the same shape.

    Parameters
    ----------
    student_parameters, teacher_parameters : sequence of str, default=None
        Names as in ``network.named_parameters()``, pair by pair; both or neither. None: all weights of the student,
        each with that of its name in the teacher.

    Raises
    ------
    ValueError
        If names are unknown or not equally many, or shapes differ; without names, if the teacher lacks a weight of the
        student.

    Notes
    -----
    `pitskd.losses.functional.weight_matching`: mean of squared differences over all weights. It makes sense where the
    student begins from the teacher's weights, or shares its architecture.

    Examples
    --------
    >>> loss = WeightMatching()
    >>> student = Signals(torch.zeros(1, 1), parameters={"head.bias": torch.zeros(2)})
    >>> loss(student, Signals(torch.zeros(1, 1), parameters={"head.bias": torch.ones(2)}))
    tensor(1.)
    """

    stackable = False  # a stack has no weights of one student by name

    def __init__(
        self, student_parameters: tuple[str, ...] | None = None, teacher_parameters: tuple[str, ...] | None = None
    ):
        self.student_parameters = _check_names("student_parameters", student_parameters)
        self.teacher_parameters = _check_names("teacher_parameters", teacher_parameters)
        n_own, n_taught = (None if n is None else len(n) for n in (self.student_parameters, self.teacher_parameters))
        if n_own != n_taught:
            expected = "None as student_parameters" if n_own is None else f"{n_own} names, one per student parameter"
            raise wrong("teacher_parameters", expected, teacher_parameters, "Name weights in pairs.")

    def adapter(self, student: Signals, teacher: Signals) -> None:
        """Check that weights can be paired; there is no adapter."""
        self(student, teacher)

    def __call__(
        self,
        student: Signals,
        teacher: Signals,
        adapter: nn.Module | None = None,
        paraphraser: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Compare the weights of both networks; the batch does not matter."""
        own_names, taught_names = self._pairs(student, teacher)
        own = [_parameter("student_parameters", student, name) for name in own_names]
        return weight_matching(own, [_parameter("teacher_parameters", teacher, name) for name in taught_names])

    def _pairs(self, student: Signals, teacher: Signals) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if self.student_parameters is not None and self.teacher_parameters is not None:
            return self.student_parameters, self.teacher_parameters
        shapes = {name: weights.shape for name, weights in teacher.parameters.items()}
        alone = [name for name, weights in student.parameters.items() if shapes.get(name) != weights.shape]
        if alone or not student.parameters:
            step = "Name pairs of equal shape as student_parameters and teacher_parameters."
            got = f"one without {', '.join(map(repr, alone[:40]))}" if alone else "a student without weights"
            raise wrong("teacher", "a network with every weight of the student, by name and shape", got, step)
        return tuple(student.parameters), tuple(student.parameters)


def _check_names(name: str, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    step = "Take names of network.named_parameters(), e.g. ('head.weight', 'head.bias')."
    return None if names is None else check_names(name, names, "a sequence of names of weights", step, least=1)


def _parameter(argument: str, signals: Signals, name: str) -> Tensor:
    if name not in signals.parameters:
        known = ", ".join(map(repr, list(signals.parameters)[:40])) or "none"
        raise wrong(argument, "names of network.named_parameters()", name, f"The network has: {known}.")
    return signals.parameters[name]
