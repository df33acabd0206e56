"""The epochs of a stack of students: batches, rates, the best weights, and who goes on.

Students of one architecture may differ in seed, imitation, temperature, learning rate and targets. Each sees batches in
an order of its own, keeps its own best weights, and leaves the stack when it is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pitskd._validation import check_strength, wrong
from pitskd.objective import Batch, Hint, Objective
from pitskd.training.plan import Outcome, Plan, Rows, adam
from pitskd.training.stack import Stack

__all__ = ["fit_module", "train"]

_AT_ONCE = 8192  # rows of validation per forward pass, all students together
_PATIENCE = 2.0  # seconds before a bar is shown


@dataclass(eq=False)
class _Best:
    """The best weights of every student so far, and how they were found."""

    weights: dict[str, Tensor]  # (n_students, ...)
    buffers: dict[str, Tensor]  # of a student that trains alone
    score: list[float]
    epoch: list[int]

    def update(self, stack: Stack, positions: list[int], scores: list[float], epoch: int) -> None:
        """Keep copies of the weights of students at these positions of the stack."""
        if not positions:
            return
        students = stack.students.tolist()
        for position in positions:
            self.score[students[position]], self.epoch[students[position]] = scores[position], epoch
        if len(positions) == len(next(iter(self.weights.values()))):
            for name, part in stack.weights.views.items():
                self.weights[name].copy_(part)
        else:
            at = torch.tensor(positions, device=stack.students.device)
            for name, part in stack.weights.views.items():
                self.weights[name][stack.students[at]] = part[at]
        if stack.alone:
            self.buffers = {name: value.clone() for name, value in stack.network.named_buffers()}


def train(
    networks: Sequence[nn.Module],
    rows: Rows,
    held_out: Rows | None,
    objective: Objective,
    plan: Plan,
    seeds: Sequence[int],
    *,
    hints: Sequence[Sequence[Hint]] | None = None,
    label: str = "student",
    verbose: bool = False,
    resumed: bool = False,
) -> list[Outcome]:
    """Train networks of one architecture, each as if it were alone.

    Parameters
    ----------
    networks : sequence of Module
        Trained in place, one per student; on the device of the rows.
    rows, held_out : Rows
        What students learn from, and what the best weights are chosen by: the mean hard loss. None: the last weights.
    objective : Objective
    plan : Plan
    seeds : sequence of int
        Of the order of batches, and of dropout, one per student.
    hints : sequence of sequences of Hint, default=None
        Losses on features, one sequence per student.
    label : str
        What the bar says.
    verbose : bool, default=False
        Whether the bar is shown at once, else after two seconds and on a terminal alone.
    resumed : bool, default=False
        Whether the networks come from a training before: then only better weights than theirs replace them.

    Returns
    -------
    outcomes : list of Outcome
        One per student.

    Raises
    ------
    KeyboardInterrupt
        If interrupted before the first epoch ended; later the best weights so far are kept.
    """
    stack = Stack(networks, [()] * len(networks) if hints is None else hints, plan, objective)
    stack.set_keys(seeds)
    outcomes = [Outcome(network) for network in networks]
    best = _Best(
        {name: part.clone() for name, part in stack.weights.views.items()},
        {name: value.clone() for name, value in stack.network.named_buffers()},
        [math.inf] * len(networks),
        [0] * len(networks),
    )
    course = _Course(stack, rows, held_out, seeds)
    if resumed and held_out is not None:
        best.score = course.scores()
    n_epochs = plan.hints_alone + plan.max_epochs
    shown = {"delay": 0.0 if verbose else _PATIENCE, "disable": False if verbose else None}  # None: only on a terminal
    with tqdm(total=n_epochs, desc=label, unit="epoch", leave=False, **shown) as bar:
        try:
            for epoch in range(n_epochs):
                course.run(epoch, outcomes, best)
                bar.update()
                if not len(stack.students):
                    break
        except KeyboardInterrupt:
            if not max(best.epoch):
                raise
            for student in stack.students.tolist():
                outcomes[student].ended = "interrupted"
    for student, outcome in enumerate(outcomes):
        outcome.best_epoch = best.epoch[student]
        _restore(outcome.network, {name: part[student] for name, part in best.weights.items()}, best.buffers)
    return outcomes


class _Course:
    """The epochs of a stack: batches, rates, and who goes on."""

    def __init__(self, stack: Stack, rows: Rows, held_out: Rows | None, seeds: Sequence[int]) -> None:
        self.stack, self.rows, self.held_out, self.plan = stack, rows, held_out, stack.plan
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.noise = torch.Generator(device=rows.inputs.device).manual_seed(seeds[0])
        self.waited = [0] * len(seeds)  # epochs since the best one
        self.factor = [1.0] * len(seeds)
        self.n_steps = 0
        self._sizes = _batch_sizes(len(rows.inputs), self.plan.batch_size)

    def run(self, epoch: int, outcomes: list[Outcome], best: _Best) -> None:
        """Run one epoch and let students go that are done."""
        stack, plan, students = self.stack, self.plan, self.stack.students.tolist()
        own = epoch - plan.hints_alone  # below 0: hints alone
        rates = [plan.learning_rates[student] * self._factor(student, max(own, 0)) for student in students]
        stack.set_rates(rates)
        if plan.hints_alone and own == 0:
            stack.optimizer.state.clear()  # moments of another objective
        losses = self._epoch(own)
        told = {name: values.tolist() for name, values in losses.items()}
        scores = self.scores() if own >= 0 else [math.nan] * len(students)
        finite = stack.sound().tolist()
        total = [sum(values[k] for values in told.values()) for k in range(len(students))]
        for k, student in enumerate(students):
            entry = {"epoch": epoch + 1, "loss": total[k], **{name: values[k] for name, values in told.items()}}
            outcomes[student].history.append({**entry, "validation_loss": scores[k], "learning_rate": rates[k]})
            if not (
                finite[k] and math.isfinite(total[k]) and not (own >= 0 and self._judged and math.isnan(scores[k]))
            ):
                outcomes[student].ended = "diverged"
        sound = [k for k, student in enumerate(students) if outcomes[student].ended != "diverged"]
        if own >= 0:
            better = [k for k in sound if not self._judged or scores[k] < best.score[students[k]]]
            best.update(stack, better, scores, epoch + 1)
            self._wait(own, students, [students[k] for k in better], outcomes)
        going = [k for k in sound if outcomes[students[k]].ended == "epochs"]
        if len(going) < len(students):
            stack.keep(torch.tensor(going, dtype=torch.int64, device=stack.students.device))

    @property
    def _judged(self) -> bool:
        return self.held_out is not None

    def _factor(self, student: int, epoch: int) -> float:
        schedule = self.plan.schedule
        if schedule is None:
            return 1.0
        if schedule == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * epoch / self.plan.max_epochs))
        if schedule == "plateau":
            return self.factor[student]
        return check_strength("schedule", schedule(epoch), "Return a factor of the learning rate for every epoch.")

    def _wait(self, epoch: int, students: list[int], better: list[int], outcomes: list[Outcome]) -> None:
        """Count the epochs without progress; a student is not done before distillation has started."""
        for student in students:
            started = epoch >= self.plan.distil_from
            self.waited[student] = 0 if student in better or not started else self.waited[student] + 1
            if not self._judged:
                continue
            if self.waited[student] and self.waited[student] % max(1, self.plan.patience // 3) == 0:
                self.factor[student] *= 0.5
            if self.waited[student] >= self.plan.patience and outcomes[student].ended == "epochs":
                outcomes[student].ended = "patience"

    def _epoch(self, own: int) -> dict[str, Tensor]:
        """Return the mean of every term over an epoch's batches, (n_students,) each."""
        stack, plan = self.stack, self.plan
        n = len(self.rows.inputs)
        orders = [torch.randperm(n, generator=self.generators[student]) for student in stack.students.tolist()]
        order = torch.stack(orders).to(self.rows.inputs.device)
        distils = own >= plan.distil_from or own < 0
        settings = {"targets": own >= 0, "hints": bool(stack.hints) and distils}
        sums: dict[str, Tensor] = {}
        stack.network.train()
        for index in order.split(self._sizes, dim=1):
            batch = self.rows.batch(index, stack.students, plain=not distils)
            if plan.augmentation is not None:
                batch = self._augmented(batch)
            stack.set_step(self.n_steps)
            self.n_steps += 1
            for name, term in stack.step(batch, generator=self.noise, **settings).items():
                if name not in sums:
                    sums[name] = torch.zeros_like(term)
                sums[name].add_(term, alpha=index.shape[1] / n)
        return sums

    def _augmented(self, batch: Batch) -> Batch:
        inputs = self.plan.augmentation(batch.inputs[0], self.noise)
        if not torch.is_tensor(inputs) or inputs.shape != batch.inputs[0].shape:
            expected = f"a callable that returns windows of the shape it gets, {tuple(batch.inputs[0].shape)}"
            got = f"one that returns {tuple(inputs.shape) if torch.is_tensor(inputs) else type(inputs).__name__}"
            raise wrong("augmentation", expected, got, "Use e.g. lambda windows, generator: windows.flip(2).")
        changed = replace(batch, inputs=inputs[None])
        return changed if self.rows.live is None else self.rows.live(changed)

    @torch.no_grad()
    def scores(self) -> list[float]:
        """Return the mean hard loss on held-out rows of every student, NaN without such rows."""
        if self.held_out is None:
            return [math.nan] * len(self.stack.students)
        self.stack.network.eval()
        students, n = self.stack.students, len(self.held_out.inputs)
        at_once = max(1, _AT_ONCE // len(students))
        lost = weight = torch.zeros(len(students), device=students.device, dtype=self.held_out.inputs.dtype)
        for start in range(0, n, at_once):
            index = torch.arange(start, min(n, start + at_once), device=students.device).expand(len(students), -1)
            batch = self.held_out.batch(index, students, plain=True)
            prediction, _ = self.stack.forward(batch.inputs)
            rows = self.stack.objective.hard(prediction, batch.targets)
            own = torch.ones_like(rows) if batch.hard_weight is None else batch.hard_weight
            lost, weight = lost + (rows * own).sum(dim=1), weight + own.sum(dim=1)
        return (lost / weight).tolist()


def _batch_sizes(n: int, batch_size: int) -> list[int]:
    """Return the sizes of batches; a last one of a single row, of which no norm can be taken, joins the one before."""
    sizes = [batch_size] * (n // batch_size) + ([n % batch_size] if n % batch_size else [])
    return [*sizes[:-2], sizes[-2] + 1] if len(sizes) > 1 and sizes[-1] == 1 < batch_size else sizes


def _restore(network: nn.Module, weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> None:
    """Give a network copies of its best weights, which nothing else shares."""
    for name, parameter in network.named_parameters():
        if f"network.{name}" in weights:
            parameter.data, parameter.grad = weights[f"network.{name}"].clone(), None
    with torch.no_grad():
        for name, value in network.named_buffers():
            if name in buffers:
                value.copy_(buffers[name])
    network.eval()


def fit_module(
    module: nn.Module, lost: Callable[[Tensor], Tensor], n: int, *, epochs: int, seed: int, batch_size: int = 64
) -> None:
    """Train a module that stands beside students, by the loss of rows at positions (batch,) below n."""
    optimizer = adam(module.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    device = next(module.parameters()).device
    for _ in range(epochs):
        for index in torch.randperm(n, generator=generator).to(device).split(batch_size):
            optimizer.zero_grad()
            lost(index).backward()
            optimizer.step()
