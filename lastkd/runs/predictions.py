"""The logits of a model for every clip of a part, in a file for tables, tests and other tools."""

from __future__ import annotations

import csv
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.errors import UserError
from lastkd.files.atomic import replacing
from lastkd.files.json_text import parse_json

SUFFIXES = (".npz", ".csv")


@dataclass(frozen=True)
class Predictions:
    """The logits of N clips for K classes.

    Attributes:
        names: of the clips, N.
        labels: `(N,)`, the true classes.
        logits: `(N, K)`, float32; with several views a clip, the logarithm of the mean probability.
        class_names: K.
        about: the checkpoint, data, split and views they come from.
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    class_names: tuple[str, ...]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each clip, `(N,)`."""
        classes: NDArray[np.int64] = self.logits.argmax(axis=1)
        return classes

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the most probable class is the true one, `(N,)`."""
        hits: NDArray[np.bool_] = self.predicted == self.labels
        return hits

    @property
    def confusion(self) -> NDArray[np.int64]:
        """`(K, K)`, how many clips of each true class (row) were taken for each class (column)."""
        K = len(self.class_names)
        counts = np.bincount(self.labels * K + self.predicted, minlength=K * K)
        matrix: NDArray[np.int64] = counts.astype(np.int64).reshape(K, K)
        return matrix

    def save(self, path: Path) -> None:
        """Writes them to a file.

        `.npz` gets the arrays `names`, `labels`, `logits`, `class_names` and `about` (JSON); `.csv`
        a row a clip with name, label, predicted class, and the logit of each class.

        Raises:
            UserError: the suffix is neither, or the file can't be written.
        """
        check_suffix(path)
        with replacing(path) as part:
            if path.suffix == ".csv":
                self._write_csv(part)
            else:
                with part.open("wb") as file:
                    np.savez_compressed(
                        file,
                        names=np.array(self.names),
                        labels=self.labels,
                        logits=self.logits,
                        class_names=np.array(self.class_names),
                        about=np.array(json.dumps(self.about)),
                    )

    def _write_csv(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "label", "predicted", *self.class_names])
            rows = zip(self.names, self.labels, self.predicted, self.logits, strict=True)
            for name, label, predicted, logits in rows:
                values = [f"{value:.6g}" for value in logits.tolist()]
                writer.writerow([name, int(label), int(predicted), *values])

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Reads an `.npz` file written by `save`.

        Raises:
            UserError: the file is missing, damaged, or contains something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(
                    names=tuple(file["names"].tolist()),
                    labels=file["labels"],
                    logits=file["logits"],
                    class_names=tuple(file["class_names"].tolist()),
                    about=parse_json(str(file["about"])),
                )
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; check the path") from None
        except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile):
            raise UserError(
                f"{path}: is damaged or contains no predictions; make them with lastkd evaluate "
                "CHECKPOINT --predictions FILE.npz"
            ) from None


def check_suffix(path: Path) -> None:
    """Checks that predictions can be written to this file.

    Raises:
        UserError: they can't, by its suffix.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: name the predictions with {' or '.join(SUFFIXES)}")
