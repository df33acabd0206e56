"""Protocols, paired comparisons, reports and figures."""

from pitskd.experiments.anomaly_displays import AnomalyTimelineDisplay
from pitskd.experiments.compare import (
    Interval,
    compare_methods,
    is_gain,
    paired_interval,
    time_blocks,
    two_way_bootstrap,
)
from pitskd.experiments.competitors import Prediction, Resample
from pitskd.experiments.detector_report import DetectorReport, detector_report
from pitskd.experiments.displays import (
    plot_differences,
    plot_imitation,
    plot_learning_curve,
    plot_size_differences,
    plot_window,
)
from pitskd.experiments.events import FrontDoorTask, daily_task, daily_windows, event_tasks
from pitskd.experiments.file_report import FileReport, file_report
from pitskd.experiments.five_cities import CityTask, five_cities_tasks
from pitskd.experiments.gain_displays import FileReportDisplay, ImitationPathDisplay, PrivilegedGainDisplay
from pitskd.experiments.privileged_report import PrivilegedReport, privileged_report
from pitskd.experiments.protocols import (
    EventTask,
    SimulationTask,
    Task,
    mackey_glass_task,
    pm25_tasks,
    simulation_tasks,
)
from pitskd.experiments.references import Autoregression, EventForecast, Persistence, seasonal_naive, usual_season
from pitskd.experiments.report import Part, summarise, write_report
from pitskd.experiments.run import run_tasks

__all__ = [
    "AnomalyTimelineDisplay",
    "Autoregression",
    "CityTask",
    "DetectorReport",
    "EventForecast",
    "EventTask",
    "FileReport",
    "FileReportDisplay",
    "FrontDoorTask",
    "ImitationPathDisplay",
    "Interval",
    "Part",
    "Persistence",
    "Prediction",
    "PrivilegedGainDisplay",
    "PrivilegedReport",
    "Resample",
    "SimulationTask",
    "Task",
    "compare_methods",
    "daily_task",
    "daily_windows",
    "detector_report",
    "event_tasks",
    "file_report",
    "five_cities_tasks",
    "is_gain",
    "mackey_glass_task",
    "paired_interval",
    "plot_differences",
    "plot_imitation",
    "plot_learning_curve",
    "plot_size_differences",
    "plot_window",
    "pm25_tasks",
    "privileged_report",
    "run_tasks",
    "seasonal_naive",
    "simulation_tasks",
    "summarise",
    "time_blocks",
    "two_way_bootstrap",
    "usual_season",
    "write_report",
]
