"""The report as one page: what it holds without a script, and what the script does in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from report_runs import SOFTNESS, predictions, write_run
from short_runs import Start, standalone

from lastkd.cli.app import cli
from lastkd.data.layouts import get_layout
from lastkd.data.store.clip_store import ClipStore
from lastkd.report.clips import ABSENT, MAX_FRAMES, encode, judge, layout_to_dict
from lastkd.report.table import make_sections
from lastkd.runs.log import PREDICTIONS, read_runs

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def runs(tmp_path: Path, store_path: Path) -> Path:
    """Runs on the synthetic store, two seeds with predictions, and on another set."""
    store = ClipStore.open(store_path)
    test = store.split("xsub")[1]
    names, labels = [store.names[i] for i in test], np.asarray(store.labels)[test]
    folder = tmp_path / "runs"
    for seed in (0, 1):
        for which, right in (("alone", 12 + seed), ("kd", 22 + seed)):
            run = folder / f"{which}{seed}"
            top1 = (40.0, 100 * right / len(test))
            about: dict[str, Any] = {"data": store.content_hash, "classes": store.num_classes}
            softness = SOFTNESS if which == "kd" else None
            write_run(
                run, "last_e_nano", seed=seed, top1=top1, teacher=which == "kd", softness=softness,
                **about,
            )  # fmt: skip
            place = seed + 10 * (which == "kd")
            predictions(right, place, names, labels, store.class_names).save(run / PREDICTIONS)
        write_run(folder / "sbu" / f"alone{seed}", "last_e_nano", seed=seed, top1=(50.0, 70.0))
        write_run(
            folder / "sbu" / f"kd{seed}", "last_e_nano", seed=seed, top1=(50, 72 + seed),
            teacher=True,
        )  # fmt: skip
    return folder


def report(*words: object) -> Result:
    return CliRunner().invoke(cli, ["report", *map(str, words)])


@pytest.fixture
def page(runs: Path, tmp_path: Path, store_path: Path) -> Path:
    out = tmp_path / "page.html"
    result = report(runs, "--html", out, "--data", store_path, "--with-clips")
    assert result.exit_code == 0, result.output
    assert re.search(r"8 of 8 runs finished, \d+ clips", result.output)
    return out


class Cells(HTMLParser):
    """The texts of a page's table cells, and the scripts and styles it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.loaded: list[str] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [f"{tag} {value}" for name, value in attrs if name in ("src", "data")]
        self.loaded += [str(value) for name, value in attrs if tag == "link" and name == "href"]
        if tag in ("td", "th"):
            self.cells.append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.cells[-1] += data


def test_it_needs_no_network(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert Cells(text).loaded == []
    assert "default-src 'none'" in text
    addresses = set(re.findall(r"https?://[^\"'\s)]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a format, never fetched
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import ", text)


def test_the_tables_are_there_without_a_script(page: Path) -> None:
    cells = Cells(page.read_text(encoding="utf-8")).cells
    assert "last_e_nano, kd" in cells  # a column of the table over all sets
    assert "70.00 to 72.50: +2.50 ± 0.71" in cells
    assert "last_e_large" in cells and "missing" in cells
    assert "--tau 4.4" in cells  # the softness of the labels
    assert "test" in cells  # which part chose the best epochs


def test_no_name_can_break_out_of_the_page(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    for teacher in (False, True):
        run = tmp_path / "runs" / f"{teacher}"
        write_run(run, "last_e_nano", teacher=teacher, about_data={"source": evil})
        classes = (evil, "stand", "wave", "clap")
        predictions(100, 1, class_names=classes).save(run / PREDICTIONS)
    assert report(tmp_path / "runs", "--html", tmp_path / "page.html").exit_code == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert evil not in text and "<img" not in text
    assert text.count("</script>") == 2
    data = re.search(r'id="data">(.*?)</script>', text)
    assert data is not None
    student = json.loads(data[1])["sections"][0]["students"][0]
    assert evil in {one["name"] for one in student["classes"]}


def test_clips_are_those_that_most_seeds_mended_or_broke(runs: Path) -> None:
    row = make_sections(read_runs(runs))[0].rows[0]
    clips = judge(row, count=5)
    assert [clip.mended for clip in clips] == sorted((c.mended for c in clips), reverse=True)
    changes = sum(a.astype(int) - b for a, b in row.hits.values())
    for sign in (1, -1):
        chosen = [sign * changes[clip.index] for clip in clips if clip.mended == (sign > 0)]
        assert chosen == sorted(chosen, reverse=True)
        assert min(chosen, default=1) > 0
        assert max(chosen, default=0) == max(0, *(sign * changes))
    for clip in clips:
        right = [clip.distilled[seed] == clip.label for seed in (0, 1)]
        assert right == [row.hits[seed][0][clip.index] for seed in (0, 1)]


def test_a_long_clip_is_thinned_and_an_absent_body_is_marked() -> None:
    joints = np.random.default_rng(0).normal(size=(300, 2, 25, 3)).astype(np.float32)
    joints[100:, 1] = 0
    encoded = encode(joints)
    T, M, V = encoded["shape"]
    assert (T, M, V) == (MAX_FRAMES, 2, 25)
    assert encoded["seconds"] == 10
    import base64

    values = np.frombuffer(base64.b64decode(encoded["data"]), "<i2").reshape(T, M, V, 3)
    np.testing.assert_allclose(values[0] / encoded["unit"], joints[0], atol=1e-3)
    assert (values[-1, 1] == ABSENT).all()
    assert (values[:, 0] != ABSENT).all()


def test_every_bone_has_a_colour_for_either_background() -> None:
    layout = layout_to_dict(get_layout("ntu25"))
    for colours in (*layout["colours"], *layout["dark"]):
        assert len(colours) == len(layout["bones"])
        assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ((), "--out FOLDER for tables and figures, or --html FILE"),
        (("--out", "r", "--with-clips"), "--with-clips needs --html FILE"),
        (("--html", "p.html", "--with-clips"), "and --data STORE"),
    ],
)
def test_a_mistake_is_one_sentence(runs: Path, words: tuple[str, ...], hint: str) -> None:
    assert hint in str(report(runs, *words).exception)


def test_a_store_of_no_run_is_named(tmp_path: Path, store_path: Path) -> None:
    write_run(tmp_path / "runs" / "alone", "last_e_nano")
    result = report(tmp_path / "runs", "--html", tmp_path / "p.html", "--data", store_path)
    assert "no run below RUNS was made with this store" in str(result.exception)
    assert not (tmp_path / "p.html").exists()


def test_predictions_that_a_run_lacks_are_made_from_its_last_checkpoint(
    start: Start, store_path: Path, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "alone"
    start(standalone(), run)
    assert not (run / PREDICTIONS).exists()
    words = (tmp_path / "runs", "--data", store_path, "--out", tmp_path / "report", "--no-figures")
    first = report(*words)
    assert first.exit_code == 0, first.output
    assert f"{run}: predictions of the last epoch" in first.output
    (read,) = read_runs(run)
    assert read.predictions is not None
    assert 100 * read.predictions.right.mean() == pytest.approx((read.last or {})["top1"])
    assert "predictions of" not in report(*words).output  # kept, so made once


# --- in a browser ---------------------------------------------------------------------------------


def run_in_browser(page: Path, script: str, *options: str) -> dict[str, Any]:
    """What `script` returns as JSON after the page has drawn, with the errors of the page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("needs Chromium")
    watch = (
        "<script>window.faults = []; addEventListener('error', (e) => faults.push(e.message));"
        "addEventListener('securitypolicyviolation', (e) => faults.push(e.blockedURI));</script>"
    )
    ask = (
        f"<script type='module'>const answer = await (async () => {{ {script} }})();"
        "const text = JSON.stringify({...answer, faults});"
        "document.body.replaceChildren(document.createTextNode(text));</script>"
    )
    text = page.read_text(encoding="utf-8")
    copy = page.with_name("asked.html")
    copy.write_text(
        text.replace("<body>", f"<body>{watch}").replace("</body>", f"{ask}</body>"),
        encoding="utf-8",
    )
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--window-size=1280,1000", "--virtual-time-budget=5000", *options, copy.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    body = re.search(r"<body>(.*)</body>", done.stdout, re.DOTALL)
    assert body is not None, done.stdout[-2000:]
    answer: dict[str, Any] = json.loads(body[1])
    assert answer.pop("faults") == []
    return answer


def test_charts_are_drawn_and_read_with_pointer_and_keys(page: Path) -> None:
    answer = run_in_browser(
        page,
        """
        const tip = document.getElementById("tip");
        const chart = document.querySelector("details.student svg[role=img]");
        const box = chart.getBoundingClientRect();
        const place = {clientX: box.right - 10, clientY: box.top + 20};
        chart.dispatchEvent(new PointerEvent("pointermove", place));
        const pointed = tip.textContent;
        chart.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft"}));
        const moved = tip.textContent;
        chart.dispatchEvent(new FocusEvent("blur"));
        return {
          pointed, moved, hidden: tip.hidden, label: chart.getAttribute("aria-label"),
          charts: document.querySelectorAll("details.student[open] figure").length,
          curves: chart.querySelectorAll("path.curve").length,
          forests: document.querySelectorAll("#summary figure").length,
        };
        """,
    )
    assert answer["pointed"].startswith("epoch 2\nstandalone, seed 0: ")
    assert "distilled, seed 1: " in answer["pointed"]
    assert answer["moved"].startswith("epoch 1\nstandalone, seed 0: 40.00")
    assert answer["hidden"] is True
    assert "standalone, seed 0 ends at" in answer["label"]
    assert answer["curves"] == 4
    assert answer["charts"] == 5  # accuracy and loss of both sets, one confusion
    assert answer["forests"] == 1


def test_a_confusion_says_what_was_taken_for_what(page: Path) -> None:
    answer = run_in_browser(
        page,
        """
        const canvas = document.querySelector("figure canvas");
        const tip = document.getElementById("tip");
        canvas.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
        const beside = tip.textContent;
        const pixels = () => canvas.getContext("2d").getImageData(0, 0, 420, 420).data.join();
        const before = pixels();
        const choice = document.querySelector("figcaption select");
        choice.value = "standalone";
        choice.dispatchEvent(new Event("change"));
        const choices = [...choice.options].map((option) => option.text);
        return {beside, redrawn: before !== pixels(), choices};
        """,
    )
    assert re.match(r".+, taken for .+\nstandalone: \d+ of \d+ \(", answer["beside"])
    assert answer["redrawn"] is True
    assert answer["choices"] == ["distilled minus standalone", "standalone", "distilled"]


def test_skeletons_are_drawn_and_turned(page: Path) -> None:
    answer = run_in_browser(
        page,
        """
        const cards = [...document.querySelectorAll(".clips li")];
        const ink = (canvas) => canvas.getContext("2d").getImageData(0, 0, 190, 200).data
          .filter((value, at) => at % 4 === 3 && value > 0).length;
        const picture = (canvas) => canvas.toDataURL();
        const canvas = cards[0].querySelector("canvas");
        document.getElementById("motion").click();  // paused, so that only turning changes it
        const before = picture(canvas);
        canvas.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
        return {
          drawn: cards.map((card) => ink(card.querySelector("canvas"))),
          turned: before !== picture(canvas), texts: cards.map((card) => card.textContent),
        };
        """,
    )
    assert answer["drawn"] and min(answer["drawn"]) > 300
    assert answer["turned"] is True
    assert all(
        re.search(r"(mended|broken)Seeds? .*alone .+, distilled ", t) for t in answer["texts"]
    )


def test_light_and_dark_follow_the_system_and_the_button(page: Path) -> None:
    answer = run_in_browser(
        page,
        """
        const ground = () => getComputedStyle(document.documentElement).backgroundColor;
        const button = document.getElementById("theme");
        const first = ground();
        button.click();
        const second = ground();
        button.click();
        return {first, second, third: ground(), name: button.textContent};
        """,
    )
    assert answer["first"] == answer["third"] != answer["second"]
    assert answer["name"] in ("Dark", "Light")
