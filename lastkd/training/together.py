"""Which of several run folders can be trained in one company."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lastkd.training.run_folder import RunFolder


class Companies(NamedTuple):
    """Numbers of the folders that go together, in their order.

    Runs train together from one place on, so those that were begun can't take in those that
    weren't, and finished ones take no part.
    """

    finished: list[int]
    begun: list[int]
    new: list[int]

    @property
    def in_turn(self) -> list[list[int]]:
        """Those that aren't empty; finished ones first, for a start only says that they are."""
        return [company for company in self if company]


def companies(folders: Sequence[Path]) -> Companies:
    """
    Raises:
        UserError: a folder's event log is damaged.
    """
    found = Companies([], [], [])
    for number, folder in enumerate(folders):
        run = RunFolder(folder).found()
        if run is None:
            found.new.append(number)
        elif run.finished:
            found.finished.append(number)
        else:
            found.begun.append(number)
    return found
