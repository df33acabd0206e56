"""One step of a stack of students: forward, the gradient of every term, the optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pitskd.losses.base import Signals
from pitskd.models.dense import DenseChain, dense_layers
from pitskd.models.modules import numbered_dropouts, set_noise
from pitskd.models.stacking import StackedNetwork
from pitskd.models.taps import tapped
from pitskd.models.weights import Weights
from pitskd.objective import Batch, Hint, Objective, hint_alone, hints_stacked
from pitskd.training.plan import FlatAdam, Plan

__all__: list[str] = []


class Stack:
    """Networks of one architecture, and what is trained beside them, as one; students that are done leave it."""

    def __init__(
        self, networks: Sequence[nn.Module], hints: Sequence[Sequence[Hint]], plan: Plan, objective: Objective
    ) -> None:
        trained = [
            nn.ModuleDict({"network": n, "hints": nn.ModuleList(h)}) for n, h in zip(networks, hints, strict=True)
        ]
        named = [{k: v for k, v in one.named_parameters() if v.requires_grad} for one in trained]
        self.plan, self.objective = plan, objective
        self.network, self.hints, self._trained = networks[0], list(hints[0]), trained[0]
        self.layers = tuple(dict.fromkeys(name for hint in self.hints for name in hint.loss.student_layers))
        self._settle({name: torch.stack([one[name].detach() for one in named]) for name in named[0]})
        self.optimizer = plan.optimizer([self._leaf], lr=1.0)
        self._step = self.optimizer.advance if isinstance(self.optimizer, FlatAdam) else self.optimizer.step
        self.students = torch.arange(len(networks), device=self._leaf.device)
        self.alone = len(networks) == 1
        self._dense = None if _is_hooked(self.network) else dense_layers(self.network)
        self._stacked = None if self.alone else StackedNetwork(self.network)
        self._own_rates: Tensor | None = None
        self._seen: Tensor | None = None  # inputs of the batch that losses differentiate
        self._attach()
        self._differentiates = any(hint.loss.needs_inputs for hint in self.hints)
        self._drops = bool(numbered_dropouts(self.network))
        self._keys, self._first_key = torch.zeros(len(networks), dtype=torch.int64, device=self._leaf.device), 0

    def _settle(self, named: Mapping[str, Tensor]) -> None:
        self.weights = Weights(named)
        self._leaf = nn.Parameter(self.weights.flat)
        self._leaf.grad = self.weights.grad
        self._ones = self.weights.flat.new_ones(self.weights.n_networks)

    def _attach(self) -> None:
        """Make the networks, and their backward passes, use the weights and gradients as they lie in memory."""
        views, gradients = self.weights.views, self.weights.gradients
        own = {name.removeprefix("network."): part for name, part in views.items() if name.startswith("network.")}
        self._chain = None
        if self._dense is not None and self._dense.weights == own.keys():  # none is frozen
            self._chain = DenseChain(own, {name: gradients[f"network.{name}"] for name in own}, self._dense)
        if self.alone:
            parameters = dict(self._trained.named_parameters())
            for name, part in views.items():
                parameters[name].data, parameters[name].grad = part[0], gradients[name][0]
            return
        leaves = {name: part.detach().requires_grad_() for name, part in views.items()}
        for name, leaf in leaves.items():
            leaf.grad = gradients[name]
        self._own = {name: leaves[f"network.{name}"] for name in own}
        self._beside = [
            {name.removeprefix(f"hints.{k}."): leaf for name, leaf in leaves.items() if name.startswith(f"hints.{k}.")}
            for k in range(len(self.hints))
        ]

    def keep(self, kept: Tensor) -> None:
        """Let all but these students go, told by positions in what is left of the stack."""
        if not len(kept):
            self.students = self.students[kept]
            return
        leaf, before = self._leaf, self.weights
        moments = dict(self.optimizer.state[leaf])
        self._settle({name: part[kept] for name, part in before.views.items()})
        for name, value in moments.items():
            if torch.is_tensor(value) and value.shape == before.flat.shape:
                parts = {own: part[kept] for own, part in before.like(value).items()}
                moments[name] = Weights(parts).flat
        self.optimizer.param_groups[0]["params"] = [self._leaf]
        self.optimizer.state.clear()
        self.optimizer.state[self._leaf] = moments
        self.students, self._keys = self.students[kept], self._keys[kept]
        self._first_key = int(self._keys[0])
        self._attach()

    def sound(self) -> Tensor:
        """Tell which students have weights whose product over a few layers is a number yet, (n_students,) bool."""
        largest = [part.reshape(len(part), -1).abs().amax(dim=1) for part in self.weights.views.values()]
        return torch.stack(largest).amax(dim=0) < torch.finfo(self.weights.flat.dtype).max ** 0.25

    def set_rates(self, rates: list[float]) -> None:
        """Set the learning rate of each student for the steps to come."""
        one = len(set(rates)) == 1
        self.optimizer.param_groups[0]["lr"] = rates[0] if one else 1.0
        self._own_rates = None if one else self.weights.spread(self.weights.flat.new_tensor(rates))

    def step(self, batch: Batch, *, targets: bool, hints: bool, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Step once; return every term of the objective, (n_students,) each."""
        terms = self._dense_step(batch) if self._chain is not None and targets and not hints else None
        if terms is None:
            self.weights.grad.zero_()
            if hints and self._differentiates:
                self._seen = batch.inputs[0].requires_grad_()
                batch = replace(batch, inputs=self._seen[None])
            prediction, features = self.forward(batch.inputs, self.layers if hints else ())
            terms = self.objective.targets(prediction, batch, self.students) if targets else {}
            for number in range(len(self.hints) if hints else 0):
                terms[f"hint_{number}"] = self._hint(number, prediction, features, batch, generator)
            total = torch.stack(list(terms.values())).sum(dim=0)
            torch.autograd.backward(total, self._ones)
        if self.plan.clip is not None:
            share = (self.plan.clip / (self.weights.norms() + 1e-12)).clamp(max=1.0)
            for part in self.weights.gradients.values():
                part.mul_(share.view(-1, *[1] * (part.dim() - 1)))
        if self.hints and not (targets and hints):
            self._advance_some()
        else:
            self._advance()
        return {name: term.detach() for name, term in terms.items()}

    def _dense_step(self, batch: Batch) -> dict[str, Tensor]:
        assert self._chain is not None
        if self.hints:  # they have weights of their own that this step leaves alone
            self.weights.grad.zero_()
        with torch.no_grad():
            outputs = self._chain.forward(batch.inputs)
        terms, gradient = self.objective.slopes(outputs[-1], batch, self.students)
        with torch.no_grad():
            self._chain.backward(outputs, gradient)
        return terms

    def _advance(self) -> None:
        if self._own_rates is None:
            self._step()
            return
        # A change that is proportional to the learning rate is made at rate 1, then every student takes its share.
        before = self.weights.flat.clone()
        self._step()
        torch.lerp(before, self.weights.flat, self._own_rates, out=self.weights.flat)

    def _advance_some(self) -> None:
        """Step, but leave what no term of this stage reaches as it is: an optimiser would let it decay."""
        before = {name: part.clone() for name, part in self.weights.views.items()}
        self._advance()
        for name, gradient in self.weights.gradients.items():
            if not bool(gradient.any()):
                self.weights.views[name].copy_(before[name])

    def forward(self, inputs: Tensor, layers: Sequence[str] = ()) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return predictions (n_students, batch, n_outputs) and the features of layers."""
        if self._stacked is not None:
            return self._stacked(self._own, inputs, layers, self._keys)
        if not layers:
            return self.network(inputs[0])[None], {}
        with tapped(self.network, layers) as features:
            prediction = self.network(inputs[0])
        return prediction[None], {name: values[None] for name, values in features.items()}

    def set_keys(self, keys: Sequence[int]) -> None:
        """Tell dropout layers whose they are."""
        self._keys, self._first_key = torch.tensor(keys, device=self._keys.device), int(keys[0])

    def set_step(self, number: int) -> None:
        """Tell dropout layers which step comes."""
        if self._drops:
            set_noise(self.network, key=self._first_key, step=number)

    def _hint(
        self,
        number: int,
        prediction: Tensor,
        features: Mapping[str, Tensor],
        batch: Batch,
        generator: torch.Generator | None,
    ) -> Tensor:
        hint = self.hints[number]
        if not self.alone:
            return hints_stacked(hint, self._beside[number], prediction, features, batch)
        seen = {name: values[0] for name, values in features.items()}
        weights, targets = dict(self.network.named_parameters()), self.objective.known(batch.targets[0])
        signals = Signals(prediction[0], seen, weights, self._seen, None, self.network, targets)
        return hint_alone(hint, signals, batch, generator)


def _is_hooked(network: nn.Module) -> bool:
    """Tell whether something listens that only a call of a module runs, as a spectral norm does."""
    kinds = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    return any(getattr(module, kind) for module in network.modules() for kind in kinds)
