"""The command `pitskd`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Privileged-information distillation of time series.", no_args_is_help=True, add_completion=False
)
reproduce = typer.Typer(
    help="Run the public protocols: does a student taught with privileged information beat a tuned model without it?",
    invoke_without_command=True,
)
app.add_typer(reproduce, name="reproduce")


@app.callback()
def main() -> None:
    """Keep `reproduce` a command of its own, also while it is the only one."""


Repeats = Annotated[int, typer.Option(min=2, help="Resamples per task; seeds SEED .. SEED + REPEATS - 1.")]


def _check_jobs(jobs: int) -> int:
    if jobs == 0 or jobs < -1:
        raise typer.BadParameter(f"{jobs} is neither -1 (all cores) nor at least 1.")
    return jobs


Jobs = Annotated[int, typer.Option(help="Processes; -1 for all cores.", callback=_check_jobs)]
Seed = Annotated[int, typer.Option(min=0, help="First seed.")]
Out = Annotated[
    Path, typer.Option(file_okay=False, help="Folder for the report, made if missing; a rerun continues there.")
]
DataHome = Annotated[
    Path | None, typer.Option(help="Folder with the real data; default: PITSKD_DATA_HOME, then the cache.")
]


@reproduce.callback()
def every_part(
    context: typer.Context,
    repeats: Repeats = 100,
    jobs: Jobs = -1,
    seed: Seed = 0,
    out: Out = Path("reproduced"),
    data_home: DataHome = None,
) -> None:
    """Run all parts, or one of them by name."""
    given = [
        name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    if context.invoked_subcommand is not None and given:
        raise typer.BadParameter(f"--{given[0].replace('_', '-')} must stand behind {context.invoked_subcommand}.")
    if context.invoked_subcommand is None:
        _reproduce(list(_PARTS), repeats, jobs, seed, out, data_home)


def _simulations(data_home: Path | None) -> Sequence[Any]:
    from pitskd.experiments.protocols import simulation_tasks

    return simulation_tasks()


def _mackey_glass(data_home: Path | None) -> Sequence[Any]:
    from pitskd.experiments.protocols import mackey_glass_task

    return [mackey_glass_task(), mackey_glass_task(weak_penalties=True)]


def _pm25(data_home: Path | None) -> Sequence[Any]:
    from pitskd.datasets import fetch_beijing_pm25
    from pitskd.experiments.protocols import pm25_tasks

    return pm25_tasks(fetch_beijing_pm25(data_home=data_home))


_PARTS: dict[str, tuple[Callable[[Path | None], Sequence[Any]], str]] = {
    "simulations": (_simulations, "Protocol S: the four simulations of Lopez-Paz et al."),
    "mackey-glass": (_mackey_glass, "Protocol C on a simulated Mackey-Glass series."),
    "pm25": (_pm25, "Protocol C on Beijing PM2.5 (real data)."),
}


def _command(parts: Sequence[str]) -> Callable[..., None]:
    def run(
        repeats: Repeats = 100,
        jobs: Jobs = -1,
        seed: Seed = 0,
        out: Out = Path("reproduced"),
        data_home: DataHome = None,
    ) -> None:
        _reproduce(parts, repeats, jobs, seed, out, data_home)

    return run


for _name, (_, _help) in _PARTS.items():
    reproduce.command(_name, help=_help)(_command([_name]))
reproduce.command("all", help="All parts; the same as naming none.")(_command(list(_PARTS)))


def _reproduce(parts: Sequence[str], repeats: int, jobs: int, seed: int, out: Path, data_home: Path | None) -> None:
    from pitskd.datasets import DatasetError
    from pitskd.experiments.report import write_report
    from pitskd.experiments.run import run_tasks

    try:
        (out / "resamples").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{out} cannot be made: {error.strerror}.", param_hint="--out") from None
    ready, done, left_out = {}, {}, {}
    for part in parts:  # all data are read before any work
        try:
            ready[part] = _PARTS[part][0](data_home)
        except DatasetError as error:
            left_out[part] = str(error)
        except ValueError as error:  # a data folder that is none
            raise typer.BadParameter(str(error)) from None
    for part, tasks in ready.items():
        typer.echo(f"{part}: {len(tasks)} tasks x {repeats} resamples", err=True)
        done[part] = (tasks, run_tasks(tasks, range(seed, seed + repeats), out / "resamples", n_jobs=jobs))
    for part, reason in left_out.items():
        typer.echo(f"left out: {part}. {reason}", err=True)
    if not done:
        raise typer.Exit(1)
    table = write_report(done, out, left_out)
    typer.echo(_shown(table))
    typer.echo(f"report, tables and figures: {out}")


def _shown(table: Any) -> str:
    columns = ["task", "tuned baseline", "student", "teacher", "difference", "lower", "upper", "n_splits", "verdict"]
    return table[columns].round(4).to_string(index=False)
