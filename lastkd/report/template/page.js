// The page: draws what is open and visible, and answers its buttons.

const DASHES = ["", "7 4", "2 3", "9 3 2 3"];

function drawStudent(details) {
  const section = data.sections[details.dataset.section];
  const student = section.students[details.dataset.student];
  const charts = details.querySelector(".charts");
  const { curves, teacher } = student.accuracy;
  lineChart(charts, {
    title: "Accuracy", xName: "epoch", yName: `top-1 on ${section.chooser}, %`, digits: 2,
    curves: curves.map(({ kind, seed, points }, index) => ({
      name: `${kind}, seed ${seed}`, key: kind, className: kind, points,
      dash: DASHES[curves.slice(0, index).filter((other) => other.kind === kind).length % 4],
    })),
    // the teacher's accuracy is that of the test part
    levels: teacher === null || section.chooser !== "test"
      ? [] : [{ name: "teacher", className: "teacher", y: teacher }],
  });
  const classNames = { CE: "ce", total: "total" };
  lineChart(charts, {
    title: "Loss", xName: "step", yName: "unweighted, log", digits: 4, log: true,
    curves: student.loss.map(({ name, points }) => {
      return { name, points, className: classNames[name] ?? "soft" };
    }),
  });
  if (student.confusion) confusionChart(charts, student.confusion);
  const list = details.querySelector(".clips");
  if (list) student.cards.forEach((item) => card(list, item, section.clips));
}

for (const details of document.querySelectorAll("details.student")) {
  let drawn = false;
  const draw = () => {
    if (details.open && !drawn) {
      drawn = true;
      drawStudent(details);
    }
  };
  details.addEventListener("toggle", draw);
  draw();
}

const summary = document.querySelector("[data-summary]");
if (summary) {
  const lines = data.lines.filter((line) => line.mean !== null);
  const axis = range(lines.flatMap(gainsOf)); // one for all, so that they can be compared
  lines.forEach((line) => forest(summary, line, axis));
}

const theme = document.getElementById("theme");
function nameTheme() {
  theme.textContent = isDark() ? "Light" : "Dark";
}
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
  redrawn.forEach((draw) => draw());
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  nameTheme();
  redrawn.forEach((draw) => draw());
});
nameTheme();

const motion = document.getElementById("motion");
if (data.sections.some(({ students }) => students.some(({ cards }) => cards.length))) {
  motion.hidden = false;
  motion.textContent = playing ? "Pause clips" : "Play clips";
  motion.addEventListener("click", () => {
    playing = !playing;
    motion.textContent = playing ? "Pause clips" : "Play clips";
    requestAnimationFrame(animate);
  });
  requestAnimationFrame(animate);
}
document.documentElement.dataset.ready = "true";
