// Elements, colours, the tip at the pointer and axes: what charts and clips are made from.
// The scripts of this folder are put into the page one after the other, as one module.

const data = JSON.parse(document.getElementById("data").textContent);
const tip = document.getElementById("tip");

// drawing functions that read colours, to be called again when these change
const redrawn = new Set();

// --- elements ------------------------------------------------------------------------

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function shape(name, attributes = {}, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
}

function figure(parent, title) {
  const caption = element("figcaption", {}, title);
  const node = element("figure", {}, caption);
  parent.append(node);
  return { node, caption };
}

function sample(className, text) {
  const picture = shape("svg", { viewBox: "0 0 18 8", style: "width: 18px", "aria-hidden": "true" });
  picture.append(shape("path", { class: `curve ${className}`, d: "M0 4H18" }));
  return element("span", { class: "key" }, picture, text);
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

// --- the tip at the pointer ---------------------------------------------------------------------

function showTip(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width > innerWidth ? x - 14 - width : x + 14;
  tip.style.left = `${Math.max(left, 4)}px`;
  tip.style.top = `${Math.min(Math.max(y - height / 2, 4), innerHeight - height - 4)}px`;
}

function hideTip() {
  tip.hidden = true;
}

// --- axes -----------------------------------------------------------------------------------

function ticks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const places = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) {
    places.push(at * step);
  }
  return places;
}

// low, high: powers of ten
function logTicks(low, high) {
  for (const factors of [[1, 2, 5], [1, 3], [1]]) {
    const places = [];
    for (let power = Math.floor(low); power <= Math.ceil(high); power++) {
      for (const factor of factors) {
        const place = factor * 10 ** power;
        if (Math.log10(place) >= low && Math.log10(place) <= high) places.push(place);
      }
    }
    if (places.length <= 8) return places;
  }
  return ticks(low, high, 6).map((power) => 10 ** Math.round(power));
}

function short(value) {
  if (Math.abs(value) >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (Math.abs(value) >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
  return String(+value.toPrecision(3));
}

function range(values) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const margin = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low - margin, high + margin];
}
