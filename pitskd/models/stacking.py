"""Many networks of one architecture run as one: their weights are stacked, their layers become batched products.

A layer with weights costs one batched matrix product however many networks there are. Each kind of layer has a rule
here; a layer without one runs through :func:`torch.vmap`, which is slower but does the same. Everything stacked has
the axis of the networks first.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812  torch's own name for it

from pitskd.models.modules import (
    CausalConv1d,
    Dropout,
    LastStep,
    Recurrent,
    Residual,
    Stretch,
    TimeMajor,
    flat_rows,
    numbered_dropouts,
    set_noise,
)
from pitskd.models.taps import Collected, check_layers, layer_names, tapped, works_in_place

__all__ = ["StackedNetwork", "can_stack", "stack_parameters"]

# These act on each element or on the last axis alone; further axes in front change nothing.
ANY_AXES = (nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, LastStep, Stretch)


@dataclass(eq=False, slots=True)
class _Pass:
    """What one forward pass reads and collects."""

    parameters: Mapping[str, Tensor]
    keys: Tensor | None
    layers: Sequence[str]
    collected: Collected


Run = Callable[[_Pass, Tensor], Tensor]


class StackedNetwork:
    """Many networks of one architecture as one function of their stacked parameters.

    Prepared once per architecture; a call does nothing but tensor operations.

    Parameters
    ----------
    network : torch.nn.Module
        The architecture: a template whose own weights are not used. Its mode (``train()`` or ``eval()``) and the
        step that :func:`~pitskd.models.modules.set_noise` told its dropout layers hold for the whole stack; without
        a step torch draws what is dropped.

    Attributes
    ----------
    network : torch.nn.Module
        The template.
    mapped : tuple of str
        Names of the modules that run through torch.vmap.

    Examples
    --------
    >>> networks = [nn.Linear(3, 2) for _ in range(4)]
    >>> stacked = StackedNetwork(networks[0])
    >>> inputs = torch.ones(4, 5, 3)
    >>> prediction, features = stacked(stack_parameters(networks), inputs)
    >>> torch.allclose(prediction[2], networks[2](inputs[2]))
    True
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._layers = frozenset(layer_names(network))
        self._modules = {id(module): name for name, module in network.named_modules()}
        self._names = {id(weights): name for name, weights in network.named_parameters()}
        self.mapped: tuple[str, ...] = ()
        numbered_dropouts(network)
        self._run = self._prepare(network)
        # torch.vmap hides what is overwritten in place
        self._copies = bool(self.mapped) or works_in_place(network)

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        inputs: Tensor,
        layers: Sequence[str] = (),
        keys: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Run every network on its own batch.

        Parameters
        ----------
        parameters : mapping of str to Tensor of shape (n_networks, ...)
            By name as in ``network.named_parameters()``; any strides.
        inputs : Tensor of shape (n_networks, batch, n_channels, length)
            May be expanded, where all networks see the same.
        layers : sequence of str, default=()
            Layers whose outputs to return as well.
        keys : Tensor of shape (n_networks,), int64, default=None
            Of the networks, for dropout. None: that of the template for all.

        Returns
        -------
        prediction : Tensor of shape (n_networks, batch, n_outputs)
        features : dict of str to Tensor of shape (n_networks, batch, ...)

        Raises
        ------
        ValueError
            If the network has no layer of a name; the message lists those it has. If what a layer gave is overwritten.
        """
        if not self._layers.issuperset(layers):
            check_layers("layers", self.network, layers)
        state = _Pass(parameters, keys, layers, Collected(copies=self._copies))
        prediction = self._run(state, inputs)
        state.collected.check()
        return prediction, state.collected.features

    def _prepare(self, module: nn.Module) -> Run:
        """Return how a stack runs a module, its output kept where it is asked for."""
        name = self._modules[id(module)]  # one that is used at several places has one name
        run = self._rule(name, module)

        def run_and_keep(state: _Pass, inputs: Tensor) -> Tensor:
            outputs = run(state, inputs)
            if name in state.layers:
                state.collected.add(name, outputs)
            return outputs

        return run_and_keep if name else run

    def _rule(self, name: str, module: nn.Module) -> Run:
        """Return the rule for a kind of module, or torch.vmap's where there is none."""
        kind, run = type(module), None
        if module._forward_hooks or module._forward_pre_hooks:  # e.g. those of a spectral norm: only a call runs them
            return self._mapped(name, module)
        if kind.forward is nn.Sequential.forward:
            run = _chain([self._prepare(part) for part in cast(nn.Sequential, module)])
        elif kind in ANY_AXES:
            run = _as_it_is(module)
        elif kind in _RULES:
            run = _RULES[kind](self, name, module)
        return self._mapped(name, module) if run is None else run

    def _weights(self, module: nn.Module) -> dict[str, str]:
        """Return the name in the whole network of each parameter of a module; tied ones have one name."""
        return {name: self._names[id(weights)] for name, weights in module.named_parameters()}

    def _linear(self, name: str, module: nn.Module) -> Run:
        weight, bias = _pair(self._weights(module))

        def run(state: _Pass, inputs: Tensor) -> Tensor:
            rows = inputs if inputs.dim() == 3 else inputs.flatten(1, -2)
            outputs = _affine(rows, state.parameters[weight], state.parameters[bias] if bias else None)
            return outputs if inputs.dim() == 3 else outputs.unflatten(1, inputs.shape[1:-1])

        return run

    def _convolution(self, name: str, module: nn.Module) -> Run | None:
        assert isinstance(module, nn.Conv1d)
        if module.padding_mode != "zeros":
            return None
        weight, bias = _pair(self._weights(module))
        stride, dilation, padding = module.stride, module.dilation, cast(Any, module.padding)

        def run(state: _Pass, inputs: Tensor) -> Tensor:
            """One convolution whose groups are the networks, their channels side by side."""
            n_networks, kernel = len(inputs), state.parameters[weight].flatten(0, 1)
            offset = state.parameters[bias].flatten() if bias else None
            settings = stride, padding, dilation, n_networks * module.groups
            outputs = F.conv1d(inputs.transpose(0, 1).flatten(1, 2), kernel, offset, *settings)
            return outputs.unflatten(1, (n_networks, -1)).transpose(0, 1)

        return run

    def _flat(self, name: str, module: nn.Module) -> Run:
        assert isinstance(module, nn.Flatten)
        first, last = _behind_networks(module.start_dim), _behind_networks(module.end_dim)
        return lambda state, inputs: inputs.flatten(first, last)

    def _unflat(self, name: str, module: nn.Module) -> Run:
        assert isinstance(module, nn.Unflatten)
        axis, sizes = _behind_networks(int(module.dim)), module.unflattened_size
        return lambda state, inputs: inputs.unflatten(axis, sizes)

    def _time_major(self, name: str, module: nn.Module) -> Run:
        return lambda state, inputs: flat_rows(inputs, axis=2)

    def _causal(self, name: str, module: nn.Module) -> Run:
        assert isinstance(module, CausalConv1d)
        past, run = module.past, self._prepare(module.convolution)
        return lambda state, inputs: run(state, F.pad(inputs, (past, 0)))

    def _residual(self, name: str, module: nn.Module) -> Run:
        assert isinstance(module, Residual)
        body, shortcut = self._prepare(module.body), self._prepare(module.shortcut)
        return lambda state, inputs: torch.relu(shortcut(state, inputs) + body(state, inputs))

    def _recurrent(self, name: str, module: nn.Module) -> Run:
        assert isinstance(module, Recurrent)
        weights, inner = self._weights(module), self._modules[id(module.gru)]
        names = [weights[f"gru.{kind}_{side}h_l0"] for kind in ("weight", "bias") for side in "ih"]

        def run(state: _Pass, inputs: Tensor) -> Tensor:
            outputs = _recurred(inputs, *(state.parameters[own] for own in names))
            if inner in state.layers:
                state.collected.add(inner, outputs.mT)
            return outputs

        return run

    def _dropout(self, name: str, module: nn.Module) -> Run:
        assert isinstance(module, Dropout)

        def run(state: _Pass, inputs: Tensor) -> Tensor:
            return module.dropped(inputs, inputs.shape[1:], module.key if state.keys is None else state.keys)

        return run

    def _mapped(self, name: str, module: nn.Module) -> Run:
        """Run any other module through torch.vmap, the layers inside it kept where they are asked for."""
        self.mapped = (*self.mapped, name)
        prefix, weights = f"{name}." if name else "", self._weights(module)
        keys = [f"{own}.key".lstrip(".") for own, part in module.named_modules() if isinstance(part, Dropout)]

        def run(state: _Pass, inputs: Tensor) -> Tensor:
            inside = [layer for layer in state.layers if layer.startswith(prefix) and layer != name]

            def alone(own: dict[str, Tensor], rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
                with tapped(module, [layer.removeprefix(prefix) for layer in inside], copies=True) as features:
                    return functional_call(module, own, (rows,)), dict(features)

            own = {own_name: state.parameters[full] for own_name, full in weights.items()}
            if state.keys is not None:
                own |= dict.fromkeys(keys, state.keys)
            outputs, features = torch.vmap(alone)(own, inputs)
            for layer, feature in features.items():
                state.collected.add(prefix + layer, feature)
            return outputs

        return run


_RULES: dict[type[nn.Module], Callable[[StackedNetwork, str, nn.Module], Run | None]] = {
    nn.Linear: StackedNetwork._linear,
    nn.Conv1d: StackedNetwork._convolution,
    nn.Flatten: StackedNetwork._flat,
    nn.Unflatten: StackedNetwork._unflat,
    TimeMajor: StackedNetwork._time_major,
    CausalConv1d: StackedNetwork._causal,
    Residual: StackedNetwork._residual,
    Recurrent: StackedNetwork._recurrent,
    Dropout: StackedNetwork._dropout,
}


def _chain(runs: list[Run]) -> Run:
    def run(state: _Pass, inputs: Tensor) -> Tensor:
        for part in runs:
            inputs = part(state, inputs)
        return inputs

    return run


def _as_it_is(module: nn.Module) -> Run:
    forward = module.forward
    return lambda state, inputs: forward(inputs)


def _behind_networks(axis: int) -> int:
    """Return where an axis of one network's tensor is in the stack's."""
    return axis + 1 if axis >= 0 else axis


def _pair(weights: Mapping[str, str]) -> tuple[str, str | None]:
    return weights["weight"], weights.get("bias")


def _affine(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return one linear layer per network: (n, rows, in) to (n, rows, out)."""
    # The weights on the left, so that their gradient is laid out as they are.
    return _product(weight, rows.mT, bias).mT


def _product(weight: Tensor, columns: Tensor, bias: Tensor | None) -> Tensor:
    """Return (n, out, in) times (n, in, columns), a bias added to each row."""
    return torch.bmm(weight, columns) if bias is None else torch.baddbmm(bias.unsqueeze(2), weight, columns)


def _recurred(inputs: Tensor, w_input: Tensor, w_state: Tensor, b_input: Tensor, b_state: Tensor) -> Tensor:
    """Return one recurrent layer per network, (n, batch, in, length) to (n, batch, hidden, length)."""
    n_networks, batch, _, length = inputs.shape
    hidden = w_state.shape[2]
    columns = inputs.permute(0, 2, 3, 1).flatten(2)  # one product for the inputs of all times
    of_inputs = _product(w_input, columns, b_input).view(n_networks, 3 * hidden, length, batch)
    for_gates, for_state = (part.unbind(2) for part in of_inputs.split([2 * hidden, hidden], dim=1))
    state, states = inputs.new_zeros(n_networks, hidden, batch), []
    for gates_now, state_now in zip(for_gates, for_state, strict=True):
        gates_before, state_before = _product(w_state, state, b_state).split([2 * hidden, hidden], dim=1)
        reset, keep = torch.sigmoid(gates_now + gates_before).chunk(2, dim=1)
        state = torch.lerp(torch.tanh(torch.addcmul(state_now, reset, state_before)), state, keep)
        states.append(state)
    return torch.stack(states).permute(1, 3, 2, 0)


def stack_parameters(networks: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Copy the weights of networks into one tensor per parameter.

    Parameters
    ----------
    networks : sequence of torch.nn.Module
        Of one architecture.

    Returns
    -------
    parameters : dict of str to Tensor of shape (n_networks, ...)
        Without gradients, by name as in ``named_parameters()``.

    Examples
    --------
    >>> stack_parameters([nn.Linear(3, 2), nn.Linear(3, 2)])["weight"].shape
    torch.Size([2, 2, 3])
    """
    listed = [dict(network.named_parameters()) for network in networks]
    return {name: torch.stack([weights[name].detach() for weights in listed]) for name in listed[0]}


def can_stack(network: nn.Module, example: Tensor | None = None) -> bool:
    """Tell whether many networks of an architecture can run as one.

    Parameters
    ----------
    network : torch.nn.Module
    example : Tensor of shape (batch, n_channels, length), default=None
        Rows to try a module on that has no rule of its own. None: such modules cannot be stacked.

    Returns
    -------
    can : bool
        False for a network with a state beside its weights (buffers, as of batch normalisation), that draws from a
        global generator, or that torch.vmap refuses or runs one by one.

    Examples
    --------
    >>> can_stack(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    True
    >>> can_stack(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), torch.zeros(4, 3))
    False
    """
    if any(module._buffers and not isinstance(module, Dropout) for module in network.modules()):
        return False
    template = copy.deepcopy(network).train()
    set_noise(template, key=0, step=0)
    stacked = StackedNetwork(template)
    if not stacked.mapped:
        return True
    return example is not None and _runs(stacked, example)


def _runs(stacked: StackedNetwork, example: Tensor) -> bool:
    """Try a stack of two and compare it with the network alone."""
    parameters = stack_parameters([stacked.network] * 2)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # whatever a module of others warns of, it will do so when it is used
        warnings.filterwarnings("error", message=".*batching rule")  # torch runs it one by one
        try:
            prediction, _ = stacked(parameters, example.expand(2, *example.shape))
            return torch.allclose(prediction[1], stacked.network(example), rtol=1e-3, atol=1e-4)
        except Exception:  # whatever goes wrong in code that is not ours
            return False
