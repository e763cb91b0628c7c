// Moving skeletons of clips.

const PITCH = (12 * Math.PI) / 180; // the viewer looks down a little
const players = new Set();
let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;

class Player {
  constructor(canvas, skeleton, layout) {
    Object.assign(this, { canvas, skeleton, layout, turn: layout.flat ? 0 : 25, visible: false });
    const bytes = Uint8Array.from(atob(skeleton.data), (char) => char.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    this.joints = Float32Array.from({ length: bytes.length / 2 }, (_, i) => {
      const value = view.getInt16(2 * i, true);
      return value === -32768 ? NaN : value / skeleton.unit;
    });
    this.measure();
    this.frame = Math.floor(skeleton.shape[0] / 2);
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons && !layout.flat) {
        this.turn += event.movementX;
        this.draw();
      }
    });
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("keydown", (event) => {
      const turn = { ArrowLeft: -10, ArrowRight: 10 }[event.key];
      if (turn && !layout.flat) {
        event.preventDefault();
        this.turn += turn;
        this.draw();
      }
    });
  }

  // centre and scale for which the clip fits from every side, so that turning changes neither
  measure() {
    const { joints } = this;
    const low = [Infinity, Infinity, Infinity];
    const high = [-Infinity, -Infinity, -Infinity];
    joints.forEach((value, at) => {
      if (Number.isNaN(value)) return;
      low[at % 3] = Math.min(low[at % 3], value);
      high[at % 3] = Math.max(high[at % 3], value);
    });
    this.centre = low.map((value, axis) => (value + high[axis]) / 2);
    const [across, tall, deep] = low.map((value, axis) => high[axis] - value);
    let wide = across;
    for (let i = 0; i < joints.length && !this.layout.flat; i += 3) {
      if (Number.isNaN(joints[i])) continue;
      const radius = Math.hypot(joints[i] - this.centre[0], joints[i + 2] - this.centre[2]);
      wide = Math.max(wide, 2 * radius);
    }
    const { width, height } = this.canvas;
    const leaning = this.layout.flat ? 0 : Math.sin(PITCH) * deep;
    this.scale = Math.min(
      (height - 24) / Math.max(tall + leaning, 0.5), (width - 24) / Math.max(wide, 0.5),
    );
  }

  // time: in milliseconds
  at(time) {
    const [frames] = this.skeleton.shape;
    const share = ((time / 1000) % this.skeleton.seconds) / this.skeleton.seconds;
    this.frame = Math.floor(share * frames) % frames;
  }

  draw() {
    const { canvas, layout, joints } = this;
    const [, bodies, count] = this.skeleton.shape;
    const context = canvas.getContext("2d");
    const angle = (this.turn * Math.PI) / 180;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const [middleX, middleY] = [canvas.width / 2, canvas.height / 2];
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.lineCap = "round";
    const colours = isDark() ? layout.dark : layout.colours;
    for (let body = 0; body < bodies; body++) {
      const place = (joint) => {
        const at = ((this.frame * bodies + body) * count + joint) * 3;
        const [x, y, z] = [0, 1, 2].map((axis) => joints[at + axis] - this.centre[axis]);
        if (layout.flat) { // y grows downwards, and the third value is the confidence
          if (!joints[at + 2]) return [NaN, NaN];
          return [middleX + x * this.scale, middleY + y * this.scale];
        }
        // who faces the sensor looks at the viewer: their right is the picture's left
        const across = -(cos * x + sin * z);
        const depth = -sin * x + cos * z;
        const up = Math.cos(PITCH) * y + Math.sin(PITCH) * depth;
        return [middleX + across * this.scale, middleY - up * this.scale];
      };
      layout.bones.forEach(([child, parent], bone) => {
        const [[x0, y0], [x1, y1]] = [place(parent), place(child)];
        if (Number.isNaN(x0 + x1)) return;
        context.strokeStyle = colours[Math.min(body, 1)][bone];
        context.lineWidth = 4;
        context.beginPath();
        context.moveTo(x0, y0);
        context.lineTo(x1, y1);
        context.stroke();
        if (layout.heads.includes(child)) {
          context.fillStyle = context.strokeStyle;
          context.beginPath();
          context.arc(x1, y1, 6, 0, 2 * Math.PI);
          context.fill();
        }
      });
    }
  }
}

function card(list, item, clips) {
  const canvas = element("canvas", {
    width: 190, height: 200, role: "img", tabindex: 0,
    "aria-label": `Moving skeleton of ${item.clip}, ${item.label}. Left and right arrows turn it.`,
  });
  const answers = new Map();
  for (const { seed, standalone, distilled } of item.seeds) {
    const answer = `alone ${standalone}, distilled ${distilled}`;
    answers.set(answer, [...(answers.get(answer) ?? []), seed]);
  }
  const seeds = [...answers].map(([answer, of]) =>
    element("p", {}, `${of.length > 1 ? "Seeds" : "Seed"} ${of.join(", ")}: ${answer}`));
  const verdict = item.mended ? "mended" : "broken";
  const badge = element("span", { class: `badge ${verdict}` }, verdict);
  const heading = element("p", {}, element("b", {}, item.label), " ", badge);
  const name = element("p", { class: "name" }, item.clip);
  list.append(element("li", {}, canvas, heading, ...seeds, name));
  const player = new Player(canvas, clips.skeletons[item.clip], clips.layout);
  players.add(player);
  redrawn.add(() => player.draw());
  player.draw();
  new IntersectionObserver(([entry]) => { player.visible = entry.isIntersecting; }).observe(canvas);
}

function animate(time) {
  if (!playing) return;
  for (const player of players) {
    if (player.visible) {
      player.at(time);
      player.draw();
    }
  }
  requestAnimationFrame(animate);
}
