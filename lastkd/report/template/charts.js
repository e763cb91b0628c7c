// Curves, gains over all sets, and confusions.

// --- lines over steps or epochs -------------------------------------------------------------

// curves: [{name, className, dash, points: [[x, y], ...]}]; levels: [{name, className, y}]
function lineChart(parent, { title, xName, yName, digits, curves, levels = [], log = false }) {
  const shown = curves.filter((curve) => curve.points.length);
  if (!shown.length) return;
  const { node, caption } = figure(parent, title);
  const keys = new Map(shown.map((curve) => [curve.key ?? curve.name, curve.className]));
  for (const level of levels) keys.set(level.name, level.className);
  for (const [name, className] of keys) caption.append(sample(className, name));

  const [width, height, left, bottom, top] = [380, 230, 40, 34, 8];
  const scale = log ? Math.log10 : (value) => value;
  const usable = (y) => Number.isFinite(y) && (!log || y > 0);
  const all = shown.flatMap((curve) => curve.points).filter(([, y]) => usable(y));
  const xs = all.map(([x]) => x);
  const [xLow, xHigh] = [Math.min(...xs), Math.max(...xs, Math.min(...xs) + 1e-9)];
  const [yLow, yHigh] = range([...all.map(([, y]) => scale(y)), ...levels.map((l) => scale(l.y))]);
  const xAt = (x) => left + ((x - xLow) / (xHigh - xLow)) * (width - left - 8);
  const yAt = (y) => top + ((yHigh - scale(y)) / (yHigh - yLow)) * (height - top - bottom);

  const ends = shown.map((c) => `${c.name} ends at ${c.points.at(-1)[1].toFixed(digits)}`);
  const svg = shape("svg", {
    viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0,
    "aria-label": `${title}, ${yName} over ${xName}: ${ends.join(", ")}. Arrow keys read values.`,
  });
  node.append(svg);
  for (const y of log ? logTicks(yLow, yHigh) : ticks(yLow, yHigh, 5)) {
    svg.append(shape("path", { class: "grid", d: `M${left} ${yAt(y)}H${width - 8}` }));
    svg.append(shape("text", { x: left - 6, y: yAt(y) + 4, "text-anchor": "end" }, short(y)));
  }
  for (const x of ticks(xLow, xHigh, 6)) {
    const place = { x: xAt(x), y: height - bottom + 16, "text-anchor": "middle" };
    svg.append(shape("text", place, short(x)));
  }
  svg.append(shape("text", { x: width - 8, y: height - 4, "text-anchor": "end" }, xName));
  svg.append(shape("text", { x: 2, y: height - 4 }, yName));
  for (const { y, className } of levels) {
    svg.append(shape("path", { class: `level ${className}`, d: `M${left} ${yAt(y)}H${width - 8}` }));
  }
  for (const curve of shown) {
    let path = "";
    let command = "M";
    for (const [x, y] of curve.points) {
      if (usable(y)) path += `${command}${xAt(x).toFixed(1)} ${yAt(y).toFixed(1)}`;
      command = usable(y) ? "L" : "M";
    }
    const attributes = { class: `curve ${curve.className}`, d: path };
    if (curve.dash) attributes["stroke-dasharray"] = curve.dash;
    svg.append(shape("path", attributes));
  }
  const cross = shape("path", { class: "cross", d: "" });
  svg.append(cross);

  const places = [...new Set(xs)].sort((a, b) => a - b);
  let at = places.length - 1;
  function read(index, clientX, clientY) {
    at = Math.min(Math.max(index, 0), places.length - 1);
    const x = places[at];
    cross.setAttribute("d", `M${xAt(x)} ${top}V${height - bottom}`);
    const values = shown.flatMap((curve) => {
      const point = curve.points.find(([place]) => place === x);
      return point ? [`${curve.name}: ${point[1].toFixed(digits)}`] : [];
    });
    const box = svg.getBoundingClientRect();
    const tipX = clientX ?? box.left + (xAt(x) / width) * box.width;
    showTip([`${xName} ${x}`, ...values].join("\n"), tipX, clientY ?? box.top + box.height / 2);
  }
  function leave() {
    cross.setAttribute("d", "");
    hideTip();
  }
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    const distances = places.map((place) => Math.abs(xAt(place) - x));
    read(distances.indexOf(Math.min(...distances)), event.clientX, event.clientY);
  });
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      event.preventDefault();
      read(at + step);
    }
  });
}

// --- gains over all sets --------------------------------------------------------------------

function gainsOf(line) {
  const sets = line.sets.filter((set) => set.gain !== null);
  const means = [0, line.mean, line.low ?? line.mean, line.high ?? line.mean];
  return [...means, ...sets.flatMap((set) => [set.gain, ...Object.values(set.seeds)])];
}

function forest(parent, line, [low, high]) {
  const { node } = figure(parent, line.title);
  const sets = line.sets.filter((set) => set.gain !== null);
  const [width, left, row] = [400, 120, 22];
  const height = row * (sets.length + 1) + 40;
  const xAt = (x) => left + ((x - low) / (high - low)) * (width - left - 8);
  const interval = line.low === null ? "" : `, 95 % interval ${points(line.low)} to ${points(line.high)}`;
  const svg = shape("svg", {
    viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `Gains of ${line.title} in points: ` +
      sets.map((set) => `${set.name} ${points(set.gain)}`).join(", ") +
      `; mean ${points(line.mean)}${interval}`,
  });
  for (const x of ticks(low, high, 6)) {
    svg.append(shape("path", { class: "grid", d: `M${xAt(x)} 4V${height - 30}` }));
    svg.append(shape("text", { x: xAt(x), y: height - 16, "text-anchor": "middle" }, short(x)));
  }
  svg.append(shape("text", { x: width - 8, y: height - 2, "text-anchor": "end" }, "gain, points"));
  svg.append(shape("path", { class: "zero", d: `M${xAt(0)} 4V${height - 30}` }));
  sets.forEach((set, index) => {
    const y = 4 + row * (index + 0.5);
    const className = set.gain > 0 ? "gained" : "lost";
    svg.append(shape("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, set.name));
    const [start, end] = [xAt(0), xAt(set.gain)].sort((a, b) => a - b);
    svg.append(shape("rect", {
      class: className, x: start, y: y - 6, width: end - start, height: 12, opacity: 0.35,
    }));
    for (const gain of Object.values(set.seeds)) {
      svg.append(shape("circle", { class: className, cx: xAt(gain), cy: y, r: 3 }));
    }
    const area = shape("rect", { x: 0, y: y - row / 2, width, height: row, fill: "transparent" });
    const seeds = Object.entries(set.seeds).map(([seed, gain]) => `seed ${seed}: ${points(gain)}`);
    area.addEventListener("pointermove", (event) => {
      showTip([`${set.name}: ${points(set.gain)} points`, ...seeds].join("\n"), event.clientX, event.clientY);
    });
    area.addEventListener("pointerleave", hideTip);
    svg.append(area);
  });
  const y = 4 + row * (sets.length + 0.5);
  svg.append(shape("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, "mean, 95 %"));
  if (line.low !== null) {
    svg.append(shape("path", { class: "mean", d: `M${xAt(line.low)} ${y}H${xAt(line.high)}` }));
  }
  const diamond = `M${xAt(line.mean) - 5} ${y}l5 -5l5 5l-5 5Z`;
  svg.append(shape("path", { class: "mean", d: diamond }));
  node.append(svg);
}

function points(value) {
  return `${value < 0 ? "" : "+"}${value.toFixed(2)}`;
}

// --- confusions -----------------------------------------------------------------------------

function confusionChart(parent, { classes, matrices }) {
  const { node, caption } = figure(parent, "Confusion");
  const choice = element("select", { "aria-label": "Which confusion" });
  choice.append(element("option", { value: "difference" }, "distilled minus standalone"));
  for (const which of Object.keys(matrices)) choice.append(element("option", { value: which }, which));
  caption.append(choice, element("span", { class: "key" }, "rows: true class, columns: predicted"));
  const K = classes.length;
  const canvas = element("canvas", {
    role: "img", tabindex: 0, width: 420, height: 420,
    "aria-label": `Confusion of ${K} classes, true class by row. Arrow keys read the cells.`,
  });
  node.append(canvas);
  let cell = [0, 0];
  let marked = false;

  const totals = Object.fromEntries(Object.entries(matrices).map(([which, counts]) => [
    which,
    classes.map((_, row) => counts.slice(row * K, (row + 1) * K).reduce((sum, n) => sum + n, 0)),
  ]));
  const share = (which, row, column) =>
    matrices[which][row * K + column] / Math.max(totals[which][row], 1);

  function draw() {
    const context = canvas.getContext("2d");
    const size = canvas.width / K;
    const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = color("--ground");
    context.fillRect(0, 0, canvas.width, canvas.height);
    const shares = Array.from({ length: K * K }, (_, at) => {
      const [row, column] = [Math.floor(at / K), at % K];
      if (choice.value !== "difference") return share(choice.value, row, column);
      return share("distilled", row, column) - share("standalone", row, column);
    });
    // differences are small, and drawn in relation to the largest of them
    const full = choice.value === "difference" ? Math.max(...shares.map(Math.abs)) : 1;
    for (let row = 0; row < K; row++) {
      for (let column = 0; column < K; column++) {
        const value = shares[row * K + column];
        if (!value) continue;
        // in a difference, more on the diagonal is a gain, and less beside it is one too
        const good = choice.value !== "difference" || (row === column) === value > 0;
        context.fillStyle = color(good ? "--gained" : "--lost");
        context.globalAlpha = Math.sqrt(Math.abs(value) / full);
        context.fillRect(column * size, row * size, Math.ceil(size), Math.ceil(size));
      }
    }
    context.globalAlpha = 1;
    context.strokeStyle = color("--line");
    context.strokeRect(0.5, 0.5, canvas.width - 1, canvas.height - 1);
    if (marked) {
      context.strokeStyle = color("--text");
      context.strokeRect(cell[1] * size, cell[0] * size, size, size);
    }
  }

  function read(row, column, x, y) {
    cell = [Math.min(Math.max(row, 0), K - 1), Math.min(Math.max(column, 0), K - 1)];
    marked = true;
    draw();
    const [r, c] = cell;
    const heading = r === c ? `${classes[r]}, recognised` : `${classes[r]}, taken for ${classes[c]}`;
    const lines = Object.keys(matrices).map((which) => {
      const percent = (100 * share(which, r, c)).toFixed(1);
      return `${which}: ${matrices[which][r * K + c]} of ${totals[which][r]} (${percent} %)`;
    });
    const box = canvas.getBoundingClientRect();
    const left = x ?? box.left + ((c + 0.5) / K) * box.width;
    showTip([heading, ...lines].join("\n"), left, y ?? box.top + ((r + 0.5) / K) * box.height);
  }
  function leave() {
    marked = false;
    draw();
    hideTip();
  }
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * K);
    const column = Math.floor(((event.clientX - box.left) / box.width) * K);
    read(row, column, event.clientX, event.clientY);
  });
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("keydown", (event) => {
    const step = {
      ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
    }[event.key];
    if (step) {
      event.preventDefault();
      read(cell[0] + step[0], cell[1] + step[1]);
    }
  });
  choice.addEventListener("change", draw);
  redrawn.add(draw);
  draw();
}
