// Layers and their precision: a strip along the network, the front of a search, and a table. What is shown comes from
// the model; the page keeps only how the table is sorted. A change is a request to Python, which answers with a scene.

const NS = "http://www.w3.org/2000/svg";
const STRIP = { width: 1000, height: 64, base: 60 };
const FRONT = { width: 420, height: 120, pad: 12 };
const COLUMNS = [
  ["place", "#", "position in the order they run"],
  ["node", "node", "address"],
  ["op", "op", "operator"],
  ["shape", "shape", "of its first output"],
  ["macs", "MACs", "share of the multiply-accumulates"],
  ["latency", "time", "share of the measured time"],
  ["sqnr_db", "SQNR", "of the outputs with this node alone in INT8: low hurts most"],
  ["requested", "requested", "what the deciding rule asks for"],
  ["gets", "current", "what the plan gives it, after all constraints"],
  ["realized", "engine", "what the compiler of the engine made of it"],
  ["rule", "rule", "the deciding rule's number"],
];
const PRECISIONS = ["int8", "fp8", "fp16", "bf16", "fp32"];

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function drawn(tag, attributes, parent, title) {
  const node = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (title) {
    const tip = document.createElementNS(NS, "title");
    tip.textContent = title;
    node.append(tip);
  }
  parent.append(node);
  return node;
}

const percent = (share) => (share === null ? "" : share === 0 ? "0" : `${(100 * share).toPrecision(3)} %`);

function shown(row, key) {
  if (key === "macs" || key === "latency") return percent(row[key]);
  if (key === "realized") return row.realized === null ? "" : row.realized + (row.differs ? " ≠" : "");
  if (key === "sqnr_db") return row.sqnr_db === null ? "" : `${row.sqnr_db.toFixed(1)} dB`;
  if (key === "gets" && row.gets !== row.floating && row.floating !== "fp32") return `${row.gets} over ${row.floating}`;
  return row[key] === null ? "" : String(row[key]);
}

class PrecisionApp {
  constructor(model, el) {
    this.model = model;
    this.by = { key: "place", down: false };
    this.anchor = null;
    this.build(el);
    this.handlers = {
      "change:scene": () => this.draw(),
      "change:marks": () => this.mark(),
      "msg:custom": (message) => this.refuse(message),
    };
    for (const [name, handler] of Object.entries(this.handlers)) model.on(name, handler);
    this.watch = new MutationObserver(() => this.theme());
    this.watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    this.draw();
  }

  close() {
    for (const [name, handler] of Object.entries(this.handlers)) this.model.off(name, handler);
    this.watch.disconnect();
  }

  build(el) {
    const button = (text, title, action) => element("button", { type: "button", title, onclick: action }, text);
    this.title = element("strong");
    this.estimate = element("span", { class: "wbp-estimate", "aria-live": "polite" });
    this.strip = document.createElementNS(NS, "svg");
    this.strip.setAttribute("class", "wbp-strip");
    this.strip.setAttribute("viewBox", `0 0 ${STRIP.width} ${STRIP.height}`);
    this.strip.setAttribute("preserveAspectRatio", "none");
    this.legend = element("div", { class: "wbp-legend" });
    this.front = element("section", { class: "wbp-front", "aria-label": "Plans of the search" });
    this.selector = element("input", {
      type: "text", class: "wbp-selector", spellcheck: "false", placeholder: "selector, for example op:Conv & scope:/head",
      "aria-label": "Select layers by a selector", onkeydown: (event) => this.typed(event),
    });
    this.precision = element(
      "select", { class: "wbp-precision", "aria-label": "Precision for the selection", onchange: () => this.preview() },
      element("option", { value: "" }, "precision …"), ...PRECISIONS.map((name) => element("option", { value: name }, name)),
    );
    this.apply = button("apply", "Add one rule to the recipe", () => this.ask({ type: "set", precision: this.precision.value }));
    this.apply.className = "wbp-apply";
    this.all = element("input", { type: "checkbox", onchange: () => this.fill() });
    const bar = element(
      "div", { class: "wbp-bar" }, this.selector,
      button("select", "Select what the selector means (Enter)", () => this.find()),
      this.precision, this.apply,
      button("undo", "Take the recipe's last step back", () => this.ask({ type: "undo" })),
      element("label", {}, this.all, " all nodes"),
    );
    this.line = element("div", { class: "wbp-line", hidden: "" });
    this.error = element("div", { class: "wbp-error", role: "alert", hidden: "" });
    this.head = element("tr");
    this.body = element("tbody");
    const table = element("table", {}, element("thead", {}, this.head), this.body);
    this.scroll = element("div", { class: "wbp-table", tabindex: "0", role: "region", "aria-label": "Layers" }, table);
    this.detail = element("section", { class: "wbp-detail", "aria-label": "The first selected layer" });
    this.rules = element("ol", { class: "wbp-rules", start: "0" });
    this.root = element(
      "div", { class: "wbp" }, element("div", { class: "wbp-title" }, this.title, " ", this.estimate), this.strip, this.legend,
      this.front, bar, this.line, this.error, this.scroll, this.detail,
      element("details", { open: "" }, element("summary", {}, "rules of the recipe, later ones win"), this.rules),
    );
    // A notebook's own shortcuts must not see what is typed here.
    this.root.addEventListener("keydown", (event) => event.stopPropagation());
    el.append(this.root);
  }

  get dark() {
    const said = document.body.dataset.jpThemeLight;
    return said === undefined ? matchMedia("(prefers-color-scheme: dark)").matches : said === "false";
  }

  theme() {
    const colours = this.model.get("scene").themes[this.dark ? "dark" : "light"];
    for (const [name, value] of Object.entries(colours)) this.root.style.setProperty(`--wb-${name}`, value);
    this.root.style.colorScheme = this.dark ? "dark" : "light";
    this.story();
  }

  draw() {
    const scene = this.model.get("scene");
    this.error.hidden = true;
    this.title.textContent = scene.title;
    this.estimate.textContent = scene.estimate;
    this.rules.replaceChildren(...scene.rules.map((rule) => element("li", {}, element("code", {}, rule))));
    this.drawStrip(scene);
    this.drawFront(scene);
    this.drawHead();
    this.fill();
    this.theme();
  }

  drawStrip(scene) {
    const layers = scene.rows.filter((row) => row.layer);
    const known = layers.map((row) => row.macs).filter((share) => share > 0);
    const low = Math.log(0.5 * Math.min(...known, 1)), span = Math.log(Math.max(...known, 1e-9)) - low || 1;
    const wide = STRIP.width / Math.max(layers.length, 1);
    this.strip.replaceChildren();
    layers.forEach((row, at) => {
      const height = 6 + (STRIP.base - 6) * Math.max(0, (Math.log(row.macs || 1e-12) - low) / span);
      const box = { x: at * wide, y: STRIP.base - height, width: Math.max(wide * 0.9, 0.5), height };
      const tip = `${row.node} (${row.op}): ${shown(row, "gets")}, ${percent(row.macs)} of the MACs`;
      const bar = drawn("rect", { ...box, fill: scene.colours[row.gets], "data-node": row.node }, this.strip, tip);
      if (row.requested !== row.gets) bar.classList.add("wbp-refused");
      bar.addEventListener("click", (event) => this.choose(row.node, event));
    });
    const count = (name) => layers.filter((row) => row.gets === name).length;
    const chips = PRECISIONS.filter(count).map((name) => {
      const swatch = element("span", { class: "wbp-swatch", style: `background:${scene.colours[name]}` });
      return element("span", {}, swatch, ` ${name}: ${count(name)}`);
    });
    const pale = layers.some((row) => row.requested !== row.gets) ? "; pale: not what was asked for" : "";
    this.legend.replaceChildren(...chips, element("span", {}, `bar: share of the MACs, on a logarithmic scale${pale}`));
  }

  drawFront(scene) {
    this.front.hidden = scene.front.length === 0;
    if (this.front.hidden) return;
    const points = scene.front, last = points.length - 1;
    const chosen = Math.max(0, points.findIndex((point) => point.chosen));
    const at = Math.min(scene.point ?? this.point ?? chosen, last);
    const axis = (values, size) => {
      const low = Math.min(...values), span = Math.max(...values) - low || 1;
      return (value) => FRONT.pad + ((value - low) / span) * (size - 2 * FRONT.pad);
    };
    // Without the plan that quantizes nothing: its error, none, would flatten all others.
    const drawnPoints = points.filter((point) => point.share > 0);
    const x = axis(drawnPoints.map((point) => point.share), FRONT.width);
    const y = axis(drawnPoints.map((point) => point.figure), FRONT.height);
    const place = (point) => [x(point.share), FRONT.height - y(point.figure)];
    const picture = document.createElementNS(NS, "svg");
    picture.setAttribute("viewBox", `0 0 ${FRONT.width} ${FRONT.height}`);
    drawn("polyline", { points: drawnPoints.map((point) => place(point).join(",")).join(" "), class: "wbp-frontline" }, picture);
    const dots = points.map((point, index) => {
      if (point.share === 0) return null;
      const [cx, cy] = place(point);
      const kind = point.passed ? "wbp-passed" : "wbp-missed";
      const dot = drawn("circle", { cx, cy, r: 5, class: kind }, picture, point.text);
      dot.addEventListener("click", () => take(index));
      return dot;
    });
    const text = element("div", { class: "wbp-point", "aria-live": "polite" });
    const slider = element("input", {
      type: "range", min: "0", max: String(last), step: "1", "aria-label": "More in INT8, or less error",
      oninput: () => show(Number(slider.value)), onchange: () => take(Number(slider.value)),
    });
    const show = (index) => {
      this.point = index;
      slider.value = String(index);
      text.textContent = points[index].text;
      dots.forEach((dot, other) => dot?.classList.toggle("wbp-here", other === index));
    };
    // Let go, it is the plan: one step of the recipe, in place of the one that the slider set before.
    const take = (index) => {
      show(index);
      this.ask({ type: "take", point: index });
    };
    const said = element("div", { class: "wbp-taken" }, scene.point === null
      ? "The recipe's plan is none of these: move the slider to set one."
      : `The recipe's plan is point ${scene.point + 1} of ${points.length}.`);
    const ends = element("div", { class: "wbp-ends" }, "cheaper, more INT8", slider, "less error");
    const held = this.front.contains(document.activeElement);
    this.front.replaceChildren(
      element("figure", {}, picture, element("figcaption", {}, `MACs in INT8 → and ${scene.metric} ↑ of each plan, as the search measured them`)),
      element("div", {}, ends, text, said),
    );
    show(at);
    if (held) slider.focus();
  }

  get columns() {
    const rows = this.model.get("scene").rows;
    return COLUMNS.filter(([key]) => !["latency", "sqnr_db", "realized"].includes(key) || rows.some((row) => row[key] !== null));
  }

  drawHead() {
    const heads = this.columns.map(([key, text, title]) => {
      const here = this.by.key === key;
      const sort = () => {
        this.by = { key, down: here ? !this.by.down : false };
        this.drawHead();
        this.fill();
      };
      const label = element("button", { type: "button", title, onclick: sort }, text + (here ? (this.by.down ? " ↓" : " ↑") : ""));
      return element("th", { "aria-sort": here ? (this.by.down ? "descending" : "ascending") : "none", "data-key": key }, label);
    });
    this.head.replaceChildren(...heads);
  }

  fill() {
    const { key, down } = this.by;
    const rows = this.model.get("scene").rows.filter((row) => row.layer || this.all.checked);
    // What is not known stays at the end, whichever way the rest is sorted.
    rows.sort((a, b) => {
      if (a[key] === null || b[key] === null) return (a[key] === null) - (b[key] === null) || a.place - b.place;
      const order = typeof a[key] === "string" ? a[key].localeCompare(b[key]) : a[key] - b[key];
      return (down ? -order : order) || a.place - b.place;
    });
    this.order = rows.map((row) => row.node);
    const { colours } = this.model.get("scene");
    const lines = rows.map((row) => {
      const cells = this.columns.map(([name]) => {
        const cell = element("td", { "data-key": name });
        if (name === "gets") cell.append(element("span", { class: "wbp-swatch", style: `background:${colours[row.gets]}` }), " ");
        cell.append(shown(row, name));
        return cell;
      });
      const line = element("tr", { "data-node": row.node, onclick: (event) => this.choose(row.node, event) }, ...cells);
      if (row.why) line.title = row.why;
      if (row.requested !== row.gets) line.classList.add("wbp-refused");
      if (row.differs) line.classList.add("wbp-differs");
      return line;
    });
    this.body.replaceChildren(...lines);
    this.mark();
  }

  choose(node, event) {
    if (event.shiftKey && this.order.includes(this.anchor)) {
      const [from, to] = [this.order.indexOf(this.anchor), this.order.indexOf(node)].sort((a, b) => a - b);
      getSelection()?.removeAllRanges();
      return this.ask({ type: "select", nodes: this.order.slice(from, to + 1) });
    }
    this.anchor = node;
    // One more or one less: Python knows of what, even where its last answer is still on the way.
    if (event.ctrlKey || event.metaKey) return this.ask({ type: "toggle", node });
    return this.ask({ type: "select", nodes: [node] });
  }

  find() {
    this.ask({ type: "find", selector: this.selector.value });
  }

  typed(event) {
    if (event.key === "Enter") this.find();
  }

  preview() {
    this.ask({ type: "preview", precision: this.precision.value });
  }

  mark() {
    const marks = this.model.get("marks");
    const chosen = new Set(marks.selected);
    for (const line of this.body.children) line.setAttribute("aria-selected", String(chosen.has(line.dataset.node)));
    for (const bar of this.strip.children) bar.classList.toggle("wbp-chosen", chosen.has(bar.dataset.node));
    if (marks.selector) this.selector.value = marks.selector;
    this.line.hidden = !marks.line;
    this.line.replaceChildren(element("code", {}, marks.line), ` → ${marks.preview}`);
    if (!marks.line) this.precision.value = "";
    this.apply.disabled = !marks.line;
    this.story();
  }

  story() {
    const marks = this.model.get("marks");
    const parts = [];
    if (marks.selected?.length) {
      const more = marks.selected.length > 1 ? `${marks.selected.length} selected; the first: ` : "";
      parts.push(element("p", {}, more + marks.explain));
    }
    if (marks.distribution) {
      const svg = new DOMParser().parseFromString(marks.distribution[this.dark ? "dark" : "light"], "image/svg+xml").documentElement;
      parts.push(element("figure", {}, document.importNode(svg, true)));
    }
    this.detail.hidden = parts.length === 0;
    this.detail.replaceChildren(...parts);
  }

  ask(request) {
    this.error.hidden = true;
    this.model.send(request);
  }

  refuse(message) {
    if (message.type !== "error") return;
    this.error.textContent = message.text;
    this.error.hidden = false;
  }
}

export default {
  render({ model, el }) {
    const app = new PrecisionApp(model, el);
    return () => app.close();
  },
};
