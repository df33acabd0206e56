"""Relations at the price of matrix products: selectivity against its broadcast form, memory of distances and angles.

Neuron selectivity transfer, forward and backward, of 64 windows of 96 steps: Gram matrices beside the form that makes
one product per pair of channels; best of several runs in turn, one thread. Relational losses of 512 windows: growth of
the resident memory over what the features take, forward and backward, each in a fresh process after a warm-up on 8
windows. Usage: ``python benchmarks/bench_losses.py``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pitskd.losses.functional.relations import neuron_selectivity, relational_angle, relational_distance

BATCH, LENGTH, N_RUNS = 64, 96, 5
WINDOWS, UNITS = 512, 128
TRIPLES = 20_000
RELATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relational_distance": relational_distance,
    f"relational_angle, max_triples={TRIPLES}": lambda s, t: relational_angle(
        s, t, max_triples=TRIPLES, generator=torch.Generator().manual_seed(0)
    ),
    "relational_angle, all triples": relational_angle,
}


def broadcast_selectivity(student: Tensor, teacher: Tensor) -> Tensor:
    """Make a tensor (batch, channels, channels, length) for every kernel, as usually published."""
    s, t = functional.normalize(student, dim=2), functional.normalize(teacher.detach(), dim=2)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a.unsqueeze(2) * b.unsqueeze(1)).sum(dim=-1).square().mean()

    return kernel(s, s) + kernel(t, t) - 2 * kernel(s, t)


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradient(loss: Callable[[Tensor, Tensor], Tensor], student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    student = student.clone().requires_grad_()
    value = loss(student, teacher)
    return value.detach(), torch.autograd.grad(value, student)[0]


def seconds(route: Callable, *given: Tensor) -> float:
    begin = time.perf_counter()
    gradient(route, *given)
    return time.perf_counter() - begin


def race(channels: tuple[int, int], dtype: torch.dtype) -> None:
    student, teacher = (normal(BATCH, c, LENGTH, seed=i, dtype=dtype) for i, c in enumerate(channels))
    found, expected = (gradient(route, student, teacher) for route in (neuron_selectivity, broadcast_selectivity))
    values = abs(found[0] - expected[0]) / expected[0]
    slopes = (found[1] - expected[1]).abs().max() / expected[1].abs().max()
    times = [[seconds(r, student, teacher) for r in (neuron_selectivity, broadcast_selectivity)] for _ in range(N_RUNS)]
    ours, theirs = (min(column) for column in zip(*times, strict=True))
    name = f"{channels[0]} and {channels[1]} channels, {str(dtype).removeprefix('torch.')}"
    print(
        f"  {name:<30} {1e3 * ours:8.1f} ms {1e3 * theirs:10.1f} ms   x {theirs / ours:6.1f}"
        f"   value differs by {values:.0e}, gradient by {slopes:.0e}"
    )


def status(field: str) -> float:
    with open("/proc/self/status") as lines:
        return next(float(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def report_memory(name: str) -> None:
    """Print MiB by which the peak of one loss exceeds what was resident before; run in a fresh process."""
    torch.set_num_threads(1)
    loss = RELATIONS[name]
    gradient(loss, normal(8, UNITS, seed=0), normal(8, UNITS, seed=1))
    student, teacher = normal(WINDOWS, UNITS, seed=0), normal(WINDOWS, UNITS, seed=1)
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # the peak begins anew at what is resident now
    before = status("VmRSS")
    begin = time.perf_counter()
    gradient(loss, student, teacher)
    print(f"{status('VmHWM') - before:.1f} {1e3 * (time.perf_counter() - begin):.1f}")


def main() -> None:
    if len(sys.argv) == 2 and sys.argv[1] in RELATIONS:
        report_memory(sys.argv[1])
        return
    torch.set_num_threads(1)
    print(f"neuron selectivity, {BATCH} windows of {LENGTH} steps, forward and backward: Gram and broadcast form")
    for dtype in (torch.float32, torch.float64):
        for channels in ((64, 64), (64, 128), (128, 128)):
            race(channels, dtype)
    print(
        f"relational losses, {WINDOWS} windows of {UNITS} units, float32, forward and backward: memory above features"
    )
    for name in RELATIONS:
        done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True)
        mebibytes, milliseconds = map(float, done.stdout.split())
        print(f"  {name:<40} {mebibytes:8.1f} MiB {milliseconds:10.1f} ms")


if __name__ == "__main__":
    main()
