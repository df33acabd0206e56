"""The command `pitskd reproduce`: the public protocols."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

__all__: list[str] = []

_FIVE_CITIES, _EVENTS, _ANOMALIES = "five-cities", "events", "anomalies"
# The largest parts: beside the others they take no more draws than these.
_LARGEST, _DRAWS_BESIDE_OTHERS = (_FIVE_CITIES, _EVENTS), 20
_FEWER = (
    f"Beside the others, {' and '.join(_LARGEST)} take at most {_DRAWS_BESIDE_OTHERS} resamples per task, and "
    f"{_ANOMALIES} leaves out slow references; by themselves, as many as asked for, and all."
)
reproduce = typer.Typer(
    help="Run the public protocols: does a student taught with privileged information beat a tuned model without it? "
    + _FEWER,
    invoke_without_command=True,
)

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
        _reproduce(_plans(list(_PARTS), repeats), jobs, seed, out, data_home)


Ready = tuple[Sequence[Any], dict[str, str]]  # tasks, and what of the part is left out with the reason
Builder = Callable[[Path | None], Ready]


def _simulations(data_home: Path | None) -> Ready:
    from pitskd.experiments.protocols import simulation_tasks

    return simulation_tasks(), {}


def _mackey_glass(data_home: Path | None) -> Ready:
    from pitskd.experiments.protocols import mackey_glass_task

    return [mackey_glass_task(), mackey_glass_task(weak_penalties=True)], {}


def _pm25(data_home: Path | None) -> Ready:
    from pitskd.datasets import fetch_beijing_pm25
    from pitskd.experiments.protocols import pm25_tasks

    return pm25_tasks(fetch_beijing_pm25(data_home=data_home)), {}


def _events(data_home: Path | None) -> Ready:
    from pitskd.datasets import DatasetError, fetch_beijing_pm25
    from pitskd.experiments.events import event_tasks

    try:
        return event_tasks(fetch_beijing_pm25(data_home=data_home)), {}
    except DatasetError as error:
        return event_tasks(), {"PM2.5 and daily up/down": str(error)}


def _five_cities(data_home: Path | None, cities: Sequence[str] = (), target: str = "PM_US Post") -> Ready:
    """Return the tasks of all cities that can be had."""
    from pitskd.datasets import DatasetError, fetch_five_cities_pm25
    from pitskd.experiments.five_cities import CITIES, five_cities_tasks

    tasks, left_out = [], {}
    for city in cities or CITIES:
        try:
            frame = fetch_five_cities_pm25(city, data_home=data_home)
        except DatasetError as error:
            left_out[city] = str(error)
        else:
            tasks += five_cities_tasks(frame, city, target=target)
    if not tasks:
        raise DatasetError(" ".join(left_out.values()))
    return tasks, left_out


def _anomalies(data_home: Path | None, n_logs: int = 4, n_draws: int = 2, quick: bool = True) -> Ready:
    from pitskd.experiments.anomaly_tasks import anomaly_tasks

    return anomaly_tasks(data_home, n_logs=n_logs, n_draws=n_draws, quick=quick)


_PARTS: dict[str, tuple[Builder, str]] = {
    "simulations": (_simulations, "Protocol S: the four simulations of Lopez-Paz et al."),
    "mackey-glass": (_mackey_glass, "Protocol C on a simulated Mackey-Glass series."),
    "pm25": (_pm25, "Protocol C on Beijing PM2.5 (real data)."),
    _EVENTS: (_events, "Protocol C with the front door: PM2.5, daily up/down (real data) and Mackey-Glass."),
    _FIVE_CITIES: (_five_cities, "Protocol R: PM2.5 of up to five Chinese cities, regression (real data)."),
    _ANOMALIES: (_anomalies, "Protocol A: anomalies on sensor streams, SKAB and TEP (real data)."),
}


class _Plan(NamedTuple):
    build: Builder
    repeats: int


def _plans(parts: Sequence[str], repeats: int) -> dict[str, _Plan]:
    fewer = dict.fromkeys(_LARGEST if len(parts) > 1 else (), min(repeats, _DRAWS_BESIDE_OTHERS))
    fewer[_ANOMALIES] = 1  # its files are what they are, and its logs and draws are tasks of their own
    return {part: _Plan(_PARTS[part][0], fewer.get(part, repeats)) for part in parts}


def _command(parts: Sequence[str]) -> Callable[..., None]:
    def run(
        repeats: Repeats = 100,
        jobs: Jobs = -1,
        seed: Seed = 0,
        out: Out = Path("reproduced"),
        data_home: DataHome = None,
    ) -> None:
        _reproduce(_plans(parts, repeats), jobs, seed, out, data_home)

    return run


for _name, (_, _help) in _PARTS.items():
    if _name not in (_FIVE_CITIES, _ANOMALIES):
        reproduce.command(_name, help=_help)(_command([_name]))


def _check_cities(listed: str | None) -> str | None:
    from pitskd.experiments.five_cities import CITIES

    unknown = [city for city in _split(listed) if city not in CITIES]
    if listed is not None and (unknown or not _split(listed)):
        found = f"{', '.join(unknown)} is not among the cities" if unknown else "no city is named"
        raise typer.BadParameter(f"{found}. Choose from {', '.join(CITIES)}, separated by commas.")
    return listed


def _split(listed: str | None) -> list[str]:
    return list(dict.fromkeys(city.strip().lower() for city in (listed or "").split(",") if city.strip()))


def _check_target(target: str) -> str:
    from pitskd.experiments.five_cities import TARGETS

    if target not in TARGETS:
        raise typer.BadParameter(f"{target} is no column to forecast. Choose from: {', '.join(TARGETS)}.")
    return target


@reproduce.command(_FIVE_CITIES, help=_PARTS[_FIVE_CITIES][1])
def five_cities(
    cities: Annotated[
        str | None,
        typer.Option(help="Cities separated by commas; default: all that can be had.", callback=_check_cities),
    ] = None,
    draws: Annotated[int, typer.Option(min=2, help="Draws per task; seeds SEED .. SEED + DRAWS - 1.")] = 60,
    target: Annotated[
        str, typer.Option(help="Column to forecast: TEMP, DEWP, HUMI, PRES or Iws.", callback=_check_target)
    ] = "PM_US Post",
    jobs: Jobs = -1,
    seed: Seed = 0,
    out: Out = Path("reproduced"),
    data_home: DataHome = None,
) -> None:
    """Run protocol R: every city, horizon and size."""
    part = _FIVE_CITIES if target == "PM_US Post" else f"{_FIVE_CITIES} {target}"
    build = partial(_five_cities, cities=_split(cities), target=target)
    _reproduce({part: _Plan(build, draws)}, jobs, seed, out, data_home)


@reproduce.command(_ANOMALIES, help=_PARTS[_ANOMALIES][1])
def anomalies(
    logs: Annotated[int, typer.Option(min=2, help="Contaminated logs, drawn from seeds SEED .. SEED + LOGS - 1.")] = 10,
    draws: Annotated[int, typer.Option(min=2, help="Draws of the faults that the student of a target sees.")] = 4,
    jobs: Jobs = -1,
    seed: Seed = 0,
    out: Out = Path("reproduced"),
    data_home: DataHome = None,
) -> None:
    """Run protocol A with every reference detector."""
    build = partial(_anomalies, n_logs=logs, n_draws=draws, quick=False)
    _reproduce({_ANOMALIES: _Plan(build, 1)}, jobs, seed, out, data_home)


reproduce.command("all", help=f"All parts; the same as naming none. {_FEWER}")(_command(list(_PARTS)))


def _reproduce(plans: dict[str, _Plan], jobs: int, seed: int, out: Path, data_home: Path | None) -> None:
    from pitskd.datasets import DatasetError
    from pitskd.experiments.report import Part, write_report
    from pitskd.experiments.run import run_tasks

    try:
        (out / "resamples").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{out} cannot be made: {error.strerror}.", param_hint="--out") from None
    ready, done, missing = {}, {}, {}
    for part, plan in plans.items():  # all data are read before any work
        try:
            ready[part] = plan.build(data_home)
        except DatasetError as error:
            missing[part] = str(error)
        except ValueError as error:  # a data folder that is none
            raise typer.BadParameter(str(error)) from None
    for part, (tasks, left_out) in ready.items():
        repeats = plans[part].repeats
        typer.echo(f"{part}: {len(tasks)} tasks x {repeats} resamples", err=True)
        results = run_tasks(tasks, range(seed, seed + repeats), out / "resamples", n_jobs=jobs)
        done[part] = Part(tasks, results, left_out)
    inside = {f"{part}, {what}": how for part, (_, left_out) in ready.items() for what, how in left_out.items()}
    for what, reason in (missing | inside).items():
        typer.echo(f"left out: {what}. {reason}", err=True)
    if not done:
        raise typer.Exit(1)
    table = write_report(done, out, missing)
    typer.echo(_shown(table))
    typer.echo(f"report, tables and figures: {out}")


def _shown(table: Any) -> str:
    columns = ["task", "tuned baseline", "student", "teacher", "difference", "lower", "upper", "n_splits", "verdict"]
    return table.reindex(columns=columns).round(4).to_string(index=False)
