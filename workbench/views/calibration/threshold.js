// A histogram with a threshold that can be dragged, or moved with the arrow keys. It holds no state of its own: what
// is shown comes from the model, and a new threshold is a request to Python, which answers with its figures.

const W = 760, H = 300, LEFT = 56, RIGHT = 12, TOP = 14, BOTTOM = 40;
const NS = "http://www.w3.org/2000/svg";

function element(name, attributes, parent, text) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "wb-threshold";
  el.append(box);
  let lines = [], shades = [], slider, x, dragging = false, pending;

  function figures(amax) {
    const info = model.get("info");
    const known = Math.abs(info.amax - amax) <= 1e-9 * amax;
    const rest = known
      ? `${(100 * info.clipped).toPrecision(3)} % clipped, ${info.unit} ${info.scale.toPrecision(4)}, SQNR ${info.sqnr}`
      : "release to apply";
    return `threshold ${amax.toPrecision(5)}: ${rest}`;
  }

  function place(amax) {
    pending = amax;
    const { edges } = model.get("data");
    const low = edges[0], high = edges[edges.length - 1];
    lines.forEach(({ node, sign }) => {
      const at = x(Math.min(Math.max(sign * amax, low), high));
      node.setAttribute("transform", `translate(${at},0)`);
    });
    shades.forEach(({ node, sign }) => {
      const from = x(Math.min(Math.max(sign * amax, low), high)), to = x(sign > 0 ? high : low);
      node.setAttribute("x", Math.min(from, to));
      node.setAttribute("width", Math.abs(to - from));
    });
    slider.textContent = figures(amax);
    lines.forEach(({ node }) => {
      node.setAttribute("aria-valuenow", amax);
      node.setAttribute("aria-valuetext", slider.textContent);
    });
  }

  function commit() {
    if (Math.abs(pending - model.get("info").amax) > 1e-12 * pending) model.send({ kind: "threshold", amax: pending });
  }

  function draw() {
    box.replaceChildren();
    lines = [];
    shades = [];
    const { name, edges, counts, methods } = model.get("data");
    const low = edges[0], high = edges[edges.length - 1], most = Math.max(1, ...counts);
    const reach = Math.max(high, -low);
    x = (value) => LEFT + ((value - low) / (high - low)) * (W - LEFT - RIGHT);
    const decades = Math.log10(most) + Math.log10(2);
    const y = (count) => H - BOTTOM - (Math.max(0, Math.log10(count) + Math.log10(2)) / decades) * (H - BOTTOM - TOP);
    const svg = element("svg", { viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": `Distribution of ${name}` }, box);

    for (let power = 0; 10 ** power <= most; power += Math.ceil(decades / 6)) {
      element("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: y(10 ** power), y2: y(10 ** power) }, svg);
      element("text", { x: LEFT - 6, y: y(10 ** power) + 4, "text-anchor": "end" }, svg, `1e${power}`);
    }
    for (const value of ticks(low, high, 8)) {
      element("text", { x: x(value), y: H - BOTTOM + 16, "text-anchor": "middle" }, svg, Number(value.toPrecision(6)));
    }
    element("text", { x: (LEFT + W - RIGHT) / 2, y: H - 6, "text-anchor": "middle" }, svg, `value of ${name}`);
    const middle = `translate(12,${(TOP + H - BOTTOM) / 2}) rotate(-90)`;
    element("text", { transform: middle, "text-anchor": "middle" }, svg, "values seen");
    let path = `M${x(low)},${y(0.5)}`;
    counts.forEach((count, i) => (path += `L${x(edges[i])},${y(count || 0.5)}L${x(edges[i + 1])},${y(count || 0.5)}`));
    element("path", { class: "bars", d: `${path}L${x(high)},${y(0.5)}Z` }, svg);

    const signs = [-1, 1].filter((sign) => (sign < 0 ? low < 0 : high > 0));
    for (const sign of signs) {
      shades.push({ sign, node: element("rect", { class: "clipped", y: TOP, height: H - BOTTOM - TOP }, svg) });
    }
    for (const { method, amax, color, dashes } of methods) {
      for (const sign of signs.filter((s) => s * amax >= low && s * amax <= high)) {
        const line = element(
          "line",
          { x1: x(sign * amax), x2: x(sign * amax), y1: TOP, y2: H - BOTTOM, stroke: color, "stroke-dasharray": dashes },
          svg,
        );
        element("title", {}, line, `${method}: ${amax.toPrecision(5)}`);
      }
    }
    for (const sign of signs) {
      const handle = element(
        "g",
        { class: "handle", tabindex: 0, role: "slider", "aria-label": "threshold", "aria-valuemin": 0, "aria-valuemax": reach },
        svg,
      );
      element("line", { y1: TOP, y2: H - BOTTOM }, handle);
      element("rect", { class: "grip", x: -9, y: TOP, width: 18, height: H - BOTTOM - TOP }, handle);
      element("circle", { cy: TOP + 7, r: 6 }, handle);
      lines.push({ sign, node: handle });
      handle.addEventListener("pointerdown", (event) => {
        dragging = true;
        handle.setPointerCapture(event.pointerId);
        event.preventDefault();
        handle.focus();
      });
      handle.addEventListener("pointermove", (event) => {
        if (!dragging) return;
        const bounds = svg.getBoundingClientRect();
        const at = ((event.clientX - bounds.left) / bounds.width) * W;
        const value = low + ((at - LEFT) / (W - LEFT - RIGHT)) * (high - low);
        place(Math.min(Math.max(sign * value, reach / 1000), reach));
      });
      handle.addEventListener("pointerup", () => {
        dragging = false;
        commit();
      });
      handle.addEventListener("keydown", (event) => {
        const size = (event.shiftKey ? 0.05 : 0.005) * reach * sign;
        const step = { ArrowRight: size, ArrowLeft: -size, ArrowUp: Math.abs(size), ArrowDown: -Math.abs(size) }[event.key];
        if (step === undefined) return;
        event.preventDefault();
        place(Math.min(Math.max(pending + step, reach / 1000), reach));
        commit();
      });
    }
    const legend = document.createElement("div");
    legend.className = "legend";
    for (const { method, amax, sqnr, color, dashes } of methods) {
      const button = document.createElement("button");
      const key = element("svg", { viewBox: "0 0 24 8", width: 24, height: 8, "aria-hidden": true }, button);
      element("line", { x1: 0, x2: 24, y1: 4, y2: 4, stroke: color, "stroke-dasharray": dashes, "stroke-width": 2 }, key);
      button.append(` ${method} ${amax.toPrecision(4)}, ${sqnr}`);
      button.title = `Use the threshold of ${method}`;
      button.addEventListener("click", () => {
        place(amax);
        commit();
      });
      legend.append(button);
    }
    slider = document.createElement("div");
    slider.className = "figures";
    slider.setAttribute("aria-live", "polite");
    box.append(slider, legend);
    place(model.get("info").amax);
  }

  const follow = () => !dragging && place(model.get("info").amax);
  model.on("change:data", draw);
  model.on("change:info", follow);
  draw();
  return () => {
    model.off("change:data", draw);
    model.off("change:info", follow);
  };
}

export default { render };
