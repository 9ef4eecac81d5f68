// A histogram with a threshold that can be dragged, or moved with the arrow keys. A new threshold is a request to
// Python, which answers with its figures; what a threshold costs that is being dragged, Python has sent before.

const LEFT = 46, RIGHT = 12, TOP = 14, BOTTOM = 38;

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

const share = (part) => (part ? `${(100 * part).toPrecision(2)} %` : "0 %");

class ThresholdPage extends Page {
  build() {
    this.figures = element("div", { class: "figures", "aria-live": "polite" });
    this.legend = element("div", { class: "legend" });
    this.svg = drawn("svg", { role: "group" });
    new ResizeObserver(() => this.resized()).observe(this.svg);
    return element("div", { class: "wb-threshold" }, this.error, this.svg, this.figures, this.legend);
  }

  /** Drawn as wide as there is room, so that words keep their size. */
  resized() {
    const wide = Math.round(Math.min(Math.max(this.svg.clientWidth, 240), 812));
    if (wide === this.wide || !this.root || this.dragging) return;
    this.wide = wide;
    if (this.scene?.edges) this.redraw();
  }

  mark({ amax }) {
    if (!this.dragging) this.place(amax);
  }

  /** Show a threshold, in force or not yet. */
  place(amax) {
    this.pending = amax;
    const at = (sign) => this.x(Math.min(Math.max(sign * amax, this.low), this.high));
    const { clipped, unit, scale, sqnr, amax: inForce } = this.marks;
    const applied = Math.abs(inForce - amax) <= 1e-9 * amax;
    const there = applied ? null : this.cost(amax);
    const rest = applied
      ? `${share(clipped)} clipped, ${unit} ${scale.toPrecision(4)}, SQNR ${sqnr}`
      : `${there ? `${share(there.clipped)} clipped, SQNR about ${there.sqnr.toFixed(1)} dB; ` : ""}release to apply`;
    this.figures.textContent = `threshold ${amax.toPrecision(5)}: ${rest}`;
    for (const { sign, handle, shade } of this.sides) {
      const from = at(sign), to = this.x(sign > 0 ? this.high : this.low);
      shade.setAttribute("x", Math.min(from, to));
      shade.setAttribute("width", Math.abs(to - from));
      handle.setAttribute("transform", `translate(${from},0)`);
      handle.setAttribute("aria-valuenow", amax);
      handle.setAttribute("aria-valuetext", this.figures.textContent);
    }
  }

  /** What a threshold clips and costs, between those that Python has sent. */
  cost(amax) {
    const { curve } = this;
    const next = curve.findIndex(([at]) => at >= amax);
    if (next < 1 || curve[next][2] === null || curve[next - 1][2] === null) return null;
    const [[low, clippedLow, sqnrLow], [high, clippedHigh, sqnrHigh]] = [curve[next - 1], curve[next]];
    const part = (amax - low) / (high - low);
    return { clipped: clippedLow + part * (clippedHigh - clippedLow), sqnr: sqnrLow + part * (sqnrHigh - sqnrLow) };
  }

  move(amax) {
    this.place(Math.min(Math.max(amax, this.reach / 1000), this.reach));
  }

  commit() {
    if (Math.abs(this.pending - this.marks.amax) > 1e-12 * this.pending) this.ask({ type: "threshold", amax: this.pending });
  }

  draw({ name, edges, counts, methods, curve }) {
    this.curve = curve;
    const W = (this.W = this.wide ?? 760), H = (this.H = Math.round(Math.min(Math.max(W * 0.4, 170), 300)));
    this.svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    const low = (this.low = edges[0]), high = (this.high = edges[edges.length - 1]);
    this.reach = Math.max(high, -low);
    this.x = (value) => LEFT + ((value - low) / (high - low)) * (W - LEFT - RIGHT);
    const signs = [-1, 1].filter((sign) => (sign < 0 ? low < 0 : high > 0));
    const held = this.sides?.findIndex(({ handle }) => handle.contains(document.activeElement)) ?? -1;
    this.sides = signs.map((sign) => ({ sign, shade: drawn("rect", { class: "clipped", y: TOP, height: H - BOTTOM - TOP }), handle: this.handle(sign) }));
    this.svg.setAttribute("aria-label", `Distribution of ${name}`);
    this.svg.replaceChildren(
      ...this.axes(name, edges, counts),
      ...this.sides.map(({ shade }) => shade),
      ...methods.flatMap((one) => signs.filter((sign) => sign * one.amax >= low && sign * one.amax <= high).map((sign) => this.method(one, sign))),
      ...this.sides.map(({ handle }) => handle),
    );
    this.legend.replaceChildren(...methods.map((one) => this.choice(one)));
    this.sides[held]?.handle.focus({ preventScroll: true });
  }

  axes(name, edges, counts) {
    const { x, low, high, W, H } = this;
    const most = Math.max(1, ...counts), decades = Math.log10(most) + Math.log10(2);
    const y = (count) => H - BOTTOM - (Math.max(0, Math.log10(count) + Math.log10(2)) / decades) * (H - BOTTOM - TOP);
    const parts = [];
    for (let power = 0; 10 ** power <= most; power += Math.ceil(decades / (H / 50))) {
      parts.push(drawn("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: y(10 ** power), y2: y(10 ** power) }));
      parts.push(drawn("text", { x: LEFT - 6, y: y(10 ** power) + 4, "text-anchor": "end" }, `1e${power}`));
    }
    for (const value of ticks(low, high, Math.max(4, W / 75))) {
      parts.push(drawn("text", { x: x(value), y: H - BOTTOM + 16, "text-anchor": "middle" }, String(Number(value.toPrecision(6)))));
    }
    const middle = `translate(12,${(TOP + H - BOTTOM) / 2}) rotate(-90)`;
    let path = `M${x(low)},${y(0.5)}`;
    counts.forEach((count, i) => (path += `L${x(edges[i])},${y(count || 0.5)}L${x(edges[i + 1])},${y(count || 0.5)}`));
    return [
      ...parts,
      drawn("text", { x: (LEFT + W - RIGHT) / 2, y: H - 6, "text-anchor": "middle" }, `value of ${name.length > W / 13 ? `…${name.slice(-Math.floor(W / 13))}` : name}`),
      drawn("text", { transform: middle, "text-anchor": "middle" }, "values seen"),
      this.bars(edges, counts, `${path}L${x(high)},${y(0.5)}Z`),
    ];
  }

  /** The bars; resting on one tells how many values lie in it. */
  bars(edges, counts, d) {
    const tip = drawn("title");
    const point = (event) => {
      const { left, width } = this.svg.getBoundingClientRect();
      const value = this.low + ((((event.clientX - left) / width) * this.W - LEFT) / (this.W - LEFT - RIGHT)) * (this.high - this.low);
      const at = Math.min(Math.max(edges.findIndex((edge) => edge > value) - 1, 0), counts.length - 1);
      tip.textContent = `${edges[at].toPrecision(4)} to ${edges[at + 1].toPrecision(4)}: ${Math.round(counts[at]).toLocaleString("en")} values`;
    };
    return drawn("path", { class: "bars", d, onpointermove: point }, tip);
  }

  method({ method, amax, color, dashes }, sign) {
    const { H } = this;
    const x = this.x(sign * amax);
    const tip = drawn("title", {}, `${method}: ${amax.toPrecision(5)}`);
    return drawn("line", { x1: x, x2: x, y1: TOP, y2: H - BOTTOM, stroke: color, "stroke-dasharray": dashes }, tip);
  }

  choice({ method, amax, sqnr, clipped, color, dashes }) {
    const line = drawn("line", { x1: 0, x2: 24, y1: 4, y2: 4, stroke: color, "stroke-dasharray": dashes, "stroke-width": 2 });
    const key = drawn("svg", { viewBox: "0 0 24 8", width: 24, height: 8, "aria-hidden": true }, line);
    const use = () => {
      this.place(amax);
      this.commit();
    };
    const choice = button("", { title: `Use the threshold of ${method}` }, use);
    choice.append(key, ` ${method} ${amax.toPrecision(4)}: ${sqnr}, ${share(clipped)} clipped`);
    return choice;
  }

  handle(sign) {
    const { H } = this;
    const reach = { "aria-valuemin": 0, "aria-valuemax": this.reach };
    const handle = drawn(
      "g",
      { class: "handle", tabindex: 0, role: "slider", "aria-label": "threshold", ...reach },
      drawn("line", { y1: TOP, y2: H - BOTTOM }),
      drawn("rect", { class: "grip", x: -9, y: TOP, width: 18, height: H - BOTTOM - TOP }),
      drawn("circle", { cy: TOP + 7, r: 6 }),
    );
    handle.addEventListener("pointerdown", (event) => {
      this.dragging = true;
      handle.setPointerCapture(event.pointerId);
      event.preventDefault();
      handle.focus();
    });
    handle.addEventListener("pointermove", (event) => {
      if (!this.dragging) return;
      const bounds = this.svg.getBoundingClientRect();
      const at = ((event.clientX - bounds.left) / bounds.width) * this.W;
      this.move(sign * (this.low + ((at - LEFT) / (this.W - LEFT - RIGHT)) * (this.high - this.low)));
    });
    handle.addEventListener("pointerup", () => {
      this.dragging = false;
      this.commit();
    });
    handle.addEventListener("keydown", (event) => {
      const size = (event.shiftKey ? 0.05 : 0.005) * this.reach * sign;
      const step = { ArrowRight: size, ArrowLeft: -size, ArrowUp: Math.abs(size), ArrowDown: -Math.abs(size) }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.move(this.pending + step);
      this.commit();
    });
    return handle;
  }
}

export default live(ThresholdPage);
