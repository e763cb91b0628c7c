"""The panels of the dashboard, in the order in which they are laid out."""

from __future__ import annotations

from lastkd.monitor.screen.panels.alerts import AlertsPanel
from lastkd.monitor.screen.panels.base import Panel
from lastkd.monitor.screen.panels.classes import ClassesPanel
from lastkd.monitor.screen.panels.machine import DevicesPanel
from lastkd.monitor.screen.panels.training import AccuracyPanel, LossPanel, PacePanel, SharePanel

PANELS: tuple[type[Panel], ...] = (
    LossPanel,
    AccuracyPanel,
    SharePanel,
    PacePanel,
    DevicesPanel,
    ClassesPanel,
    AlertsPanel,
)
