"""The demo: teacher, standalone student and distilled student on the embedded synthetic data."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from lastkd.data.store.prepare import SYNTHETIC, open_source, prepare
from lastkd.data.synthetic.settings import builtin_set
from lastkd.distributed.launch import launch
from lastkd.errors import UserError
from lastkd.files.shipped import CONFIGS
from lastkd.models.checkpoint import read_info
from lastkd.pipeline.builtin import TEACHER_EPOCHS, TEACHER_MODEL
from lastkd.runs.events import FILE_NAME, read_events


def run_demo(out: Path, seed: int) -> None:
    """Runs the demo into `out` and prints the table.

    Raises:
        UserError: `out` exists, or one of the runs failed.
    """
    if out.exists():
        raise UserError(f"{out}: exists already; remove it or choose another --out")
    store = out / "store"
    print(f"Preparing the embedded synthetic set: {store}", flush=True)
    prepare(open_source(SYNTHETIC, synthetic=builtin_set()), store)
    given = ["--config", str(CONFIGS / "training" / "synthetic.yaml")]
    given += ["--data", str(store), "--seed", str(seed)]
    teacher, alone, distilled = out / "teacher", out / "nano_standalone", out / "nano_distilled"
    patient = ["--epochs", str(TEACHER_EPOCHS)]
    launch("lastkd.train", "--model", TEACHER_MODEL, *given, *patient, "--run", str(teacher))
    launch("lastkd.train", "--model", "last_e_nano", *given, "--run", str(alone))
    given += ["--teacher", str(teacher / "last.safetensors")]
    launch("lastkd.distill", "--variant", "nano", *given, "--run", str(distilled))
    print_table(out, seed, teacher, alone, distilled)


def print_table(out: Path, seed: int, teacher: Path, alone: Path, distilled: Path) -> None:
    """What the three runs reached at their last epoch, which nobody chose."""
    rows = {
        "teacher": (teacher, TEACHER_MODEL),
        "standalone": (alone, "last_e_nano"),
        "distilled": (distilled, "last_e_nano"),
    }
    table = Table(title=f"Synthetic data, xsub, seed {seed}: accuracy in percent at the last epoch")
    for column in ("run", "model", "parameters", "top-1", "top-5", "mean class"):
        table.add_column(column, justify="left" if column in ("run", "model") else "right")
    top1: dict[str, float] = {}
    for name, (folder, model) in rows.items():
        accuracy = read_info(folder / "last.safetensors").accuracy
        top1[name] = accuracy["top1"]
        start = next(iter(read_events(folder / FILE_NAME)))
        figures = (f"{accuracy[key]:.2f}" for key in ("top1", "top5", "mean_class"))
        table.add_row(name, model, f"{start['parameters']:,}", *figures)
    gain = top1["distilled"] - top1["standalone"]
    table.add_section()
    table.add_row("[bold]gain", "distilled - standalone", "", f"[bold]{gain:+.2f}", "", "")
    console = Console()
    console.print()
    console.print(table)
    console.print(f"Same seed, epochs and views for both students. Everything is in {out}/")
