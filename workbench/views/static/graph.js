// The live graph: draws the scene that Python sends, and tells Python what a person wants, in small typed requests.
// It keeps only what is of the moment: where each pane is looking, and what the pointer and the keyboard are at.

const OPENABLE = new Set(["scope", "block", "fold"]);
const ZOOM_MIN = 0.05;
const ZOOM_MAX = 6;
const HOVER_MS = 350;

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function parseSvg(text) {
  const parsed = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  return document.importNode(parsed, true);
}

/** One graph on a canvas that pans and zooms. */
class Pane {
  constructor(index, host) {
    this.index = index;
    this.host = host;
    this.view = { x: 0, y: 0, zoom: 1 };
    this.moved = false; // until a person has moved, the view fits whatever room there is
    this.current = null;
    this.holder = element("div", { class: "wb-canvas" });
    this.map = element("canvas", { class: "wb-map", title: "The whole graph: click to go there" });
    this.caption = element("div", { class: "wb-caption" });
    this.refusal = element("div", { class: "wb-refusal", hidden: "" });
    this.root = element("div", { class: "wb-pane" }, this.caption, this.holder, this.map, this.refusal);
    this.listen();
  }

  listen() {
    let drag = null;
    this.holder.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.host.root.focus({ preventScroll: true });
      drag = { x: event.clientX, y: event.clientY, view: { ...this.view }, moved: false };
    });
    this.holder.addEventListener("pointermove", (event) => {
      if (!drag) return this.host.hover(this, event);
      const dx = event.clientX - drag.x;
      const dy = event.clientY - drag.y;
      if (!drag.moved && Math.hypot(dx, dy) < 4) return;
      if (!drag.moved) this.holder.setPointerCapture(event.pointerId);
      drag.moved = this.moved = true;
      this.look({ ...drag.view, x: drag.view.x - dx / drag.view.zoom, y: drag.view.y - dy / drag.view.zoom });
    });
    this.holder.addEventListener("pointerup", (event) => {
      const moved = drag?.moved;
      drag = null;
      if (!moved && event.button === 0) this.click(event);
    });
    this.holder.addEventListener("pointercancel", () => (drag = null));
    this.holder.addEventListener("pointerleave", () => this.host.hover(this, null));
    this.holder.addEventListener("dblclick", (event) => {
      const target = this.target(event);
      if (target) this.toggle(target);
    });
    this.holder.addEventListener(
      "wheel",
      (event) => {
        // The page scrolls unless the graph has been clicked, or Ctrl is held: nobody gets stuck in a cell.
        if (!event.ctrlKey && !this.host.root.contains(document.activeElement)) return;
        event.preventDefault();
        const box = this.holder.getBoundingClientRect();
        this.zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top);
      },
      { passive: false },
    );
    this.map.addEventListener("pointerdown", (event) => {
      const box = this.map.getBoundingClientRect();
      const scale = this.width / box.width;
      const x = (event.clientX - box.left) * scale;
      const y = (event.clientY - box.top) * scale;
      const { w, h } = this.size();
      this.moved = true;
      this.look({ ...this.view, x: x - w / this.view.zoom / 2, y: y - h / this.view.zoom / 2 });
    });
    new ResizeObserver(() => this.svg && (this.moved ? this.look(this.view, false) : this.fit())).observe(this.holder);
  }

  size() {
    return { w: this.holder.clientWidth || 600, h: this.holder.clientHeight || 400 };
  }

  target(event) {
    return event.target.closest?.(".wb-card, .wb-frame, .wb-hull") ?? null;
  }

  click(event) {
    const target = this.target(event);
    if (!target || target.classList.contains("wb-frame")) {
      if (!target) this.host.ask({ type: "select", pane: this.index, id: null, add: false });
      return;
    }
    this.go(target, event.shiftKey || event.ctrlKey || event.metaKey);
  }

  go(card, add = false) {
    this.current = card.dataset.id;
    this.host.active = this;
    this.mark();
    this.host.say(this.titles.get(card)?.split("\n").join(", ") ?? card.dataset.id);
    this.host.ask({ type: "select", pane: this.index, id: card.dataset.id, add });
  }

  toggle(target) {
    if (!OPENABLE.has(target.dataset.kind)) return;
    const { x, y } = this.centre(target);
    this.moved = true;
    // Hold the thing under the pointer still while the drawing around it changes.
    this.anchor = { id: target.dataset.id, x: (x - this.view.x) * this.view.zoom, y: (y - this.view.y) * this.view.zoom };
    this.host.ask({ type: "toggle", pane: this.index, id: target.dataset.id });
  }

  centre(node) {
    const face = node.querySelector(".wb-face").getBBox();
    return { x: face.x + face.width / 2, y: face.y + Math.min(face.height / 2, 20), face };
  }

  find(id) {
    return this.byId.get(id) ?? null;
  }

  draw(data) {
    const first = !this.svg;
    this.width = data.width;
    this.height = data.height;
    this.svg = parseSvg(data.svg);
    this.svg.removeAttribute("width");
    this.svg.removeAttribute("height");
    this.titles = new Map();
    this.byId = new Map();
    for (const group of this.svg.querySelectorAll("g.wb-card, g.wb-frame, g.wb-hull, g.wb-wire")) {
      const title = group.querySelector("title");
      if (title) {
        this.titles.set(group, title.textContent);
        title.remove(); // the tooltip here says it at once, and more
      }
      if (group.dataset.id && !group.classList.contains("wb-frame-title")) this.byId.set(group.dataset.id, group);
    }
    this.caption.textContent = this.caption.title = data.caption;
    this.holder.replaceChildren(this.svg);
    const anchor = this.anchor && this.find(this.anchor.id);
    if (first || data.fit || !this.moved) this.fit();
    else if (anchor) {
      const { x, y } = this.centre(anchor);
      this.look({ ...this.view, x: x - this.anchor.x / this.view.zoom, y: y - this.anchor.y / this.view.zoom });
    } else this.look(this.view);
    this.anchor = null;
    this.mark();
  }

  mark() {
    if (!this.svg) return;
    const marks = this.host.marks(this.index);
    const selected = new Set(marks.selected);
    const found = new Set(marks.found);
    for (const [id, group] of this.byId) {
      group.classList.toggle("wb-selected", selected.has(id));
      group.classList.toggle("wb-found", found.has(id));
      group.classList.toggle("wb-current", id === this.current);
      group.classList.toggle("wb-refused", id === marks.refused?.id);
    }
    this.refusal.textContent = marks.refused?.text ?? "";
    this.pin();
    const chosen = (id) => selected.has(id) && this.find(id)?.matches(".wb-card");
    for (const wire of this.svg.querySelectorAll(".wb-wire")) {
      wire.classList.toggle("wb-near", Boolean(chosen(wire.dataset.tail) || chosen(wire.dataset.head)));
    }
    this.svg.classList.toggle("wb-searching", found.size > 0);
  }

  /** Keep what an edit was refused for beside the node that it is about. */
  pin() {
    const text = this.refusal.textContent;
    const target = text && this.find(this.host.marks(this.index).refused.id);
    this.refusal.hidden = !target;
    if (!target) return;
    const { x, face } = this.centre(target);
    const { w, h } = this.size();
    const top = (face.y + face.height - this.view.y) * this.view.zoom + this.holder.offsetTop + 6;
    const left = (x - this.view.x) * this.view.zoom - this.refusal.offsetWidth / 2;
    this.refusal.style.left = `${Math.min(Math.max(left, 8), Math.max(w - this.refusal.offsetWidth - 8, 8))}px`;
    this.refusal.style.top = `${Math.min(Math.max(top, 8), h)}px`;
  }

  reveal(id) {
    const target = this.find(id);
    if (!target) return;
    const { x, y } = this.centre(target);
    const { w, h } = this.size();
    const zoom = Math.max(this.view.zoom, 0.7);
    this.moved = true;
    this.look({ x: x - w / zoom / 2, y: y - h / zoom / 2, zoom });
  }

  fit() {
    const { w, h } = this.size();
    // Readable before complete: a tall graph starts at its top, and the map shows the rest.
    const zoom = Math.min(w / this.width, Math.max(h / this.height, 0.75), 1.25);
    const tall = this.height * zoom > h;
    this.look({ x: (this.width - w / zoom) / 2, y: tall ? 0 : (this.height - h / zoom) / 2, zoom });
  }

  whole() {
    this.moved = true;
    const { w, h } = this.size();
    const zoom = Math.min(w / this.width, h / this.height, 1.25);
    this.look({ x: (this.width - w / zoom) / 2, y: (this.height - h / zoom) / 2, zoom });
  }

  zoom(by, px = this.size().w / 2, py = this.size().h / 2) {
    this.moved = true;
    const zoom = Math.min(Math.max(this.view.zoom * by, ZOOM_MIN), ZOOM_MAX);
    const x = this.view.x + px / this.view.zoom - px / zoom;
    const y = this.view.y + py / this.view.zoom - py / zoom;
    this.look({ x, y, zoom });
  }

  look(view, tell = true) {
    this.view = view;
    const { w, h } = this.size();
    this.svg.setAttribute("viewBox", `${view.x} ${view.y} ${w / view.zoom} ${h / view.zoom}`);
    this.drawMap();
    this.pin();
    if (tell) this.host.moved(this);
  }

  drawMap() {
    const { w, h } = this.size();
    const most = { w: Math.min(w * 0.22, 140), h: Math.min(h * 0.4, 200) };
    const scale = Math.min(most.w / this.width, most.h / this.height);
    const fine = window.devicePixelRatio || 1;
    this.map.style.width = `${Math.max(this.width * scale, 12)}px`;
    this.map.style.height = `${Math.max(this.height * scale, 12)}px`;
    this.map.width = this.width * scale * fine;
    this.map.height = this.height * scale * fine;
    const all = this.width * this.view.zoom <= w + 1 && this.height * this.view.zoom <= h + 1;
    this.map.hidden = all;
    if (all) return;
    const pen = this.map.getContext("2d");
    const style = getComputedStyle(this.host.root);
    pen.scale(scale * fine, scale * fine);
    for (const [, group] of this.byId) {
      if (group.classList.contains("wb-hull")) continue;
      const face = group.querySelector(".wb-face");
      const number = (name) => Number(face.getAttribute(name));
      pen.fillStyle = style.getPropertyValue(group.classList.contains("wb-frame") ? "--wb-line" : "--wb-edge");
      if (group.matches(".wb-card.wb-selected")) pen.fillStyle = style.getPropertyValue("--wb-accent");
      pen.fillRect(number("x"), number("y"), number("width"), number("height"));
    }
    pen.strokeStyle = style.getPropertyValue("--wb-accent");
    pen.lineWidth = 2 / scale;
    pen.strokeRect(this.view.x, this.view.y, w / this.view.zoom, h / this.view.zoom);
  }

  /** The card nearest to the current one in a direction, judged by distance along it and twice that across. */
  step(dx, dy) {
    const cards = [...this.byId.values()].filter((group) => group.classList.contains("wb-card"));
    if (!cards.length) return;
    const from = this.current && this.find(this.current);
    if (!from) return this.arrive(cards.reduce((a, b) => (this.centre(a).y <= this.centre(b).y ? a : b)));
    const start = this.centre(from);
    let best = null;
    let least = Infinity;
    for (const card of cards) {
      const { x, y } = this.centre(card);
      const along = (x - start.x) * dx + (y - start.y) * dy;
      const across = Math.abs((x - start.x) * dy) + Math.abs((y - start.y) * dx);
      if (card !== from && along > 1 && along + 2 * across < least) [best, least] = [card, along + 2 * across];
    }
    if (best) this.arrive(best);
  }

  arrive(card) {
    const { x, y } = this.centre(card);
    const { w, h } = this.size();
    const px = (x - this.view.x) * this.view.zoom;
    const py = (y - this.view.y) * this.view.zoom;
    if (px < 40 || py < 40 || px > w - 40 || py > h - 40) {
      this.moved = true;
      this.look({ ...this.view, x: x - w / this.view.zoom / 2, y: y - h / this.view.zoom / 2 });
    }
    this.go(card);
  }
}

/** The widget: a toolbar, one or two panes, and what is known of the selection. */
class GraphApp {
  constructor(model, el) {
    this.model = model;
    this.panes = [];
    this.build(el);
    this.handlers = {
      "change:scene": () => this.draw(),
      "change:marks": () => this.update(),
      "msg:custom": (message) => this.answer(message),
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
    this.search = element("input", {
      type: "search",
      class: "wb-search",
      placeholder: "search: a regular expression  ( / )",
      "aria-label": "Search nodes by name, type or tensor",
      spellcheck: "false",
      onkeydown: (event) => this.typed(event),
    });
    this.count = element("span", { class: "wb-count" });
    this.colour = element("select", {
      title: "Colour by",
      "aria-label": "Colour by",
      onchange: () => this.ask({ type: "colour", column: this.colour.value }),
    });
    this.focusButton = button("neighbours", "Show only the selection and what is near it (f)", () => this.focus());
    const bar = element(
      "div",
      { class: "wb-bar" },
      this.search,
      this.count,
      this.colour,
      this.focusButton,
      element("span", { class: "wb-space" }),
      button("−", "Zoom out (-)", () => this.active.zoom(1 / 1.25)),
      button("+", "Zoom in (+)", () => this.active.zoom(1.25)),
      button("fit", "Show the whole graph (0)", () => this.active.whole()),
    );
    this.stage = element("div", { class: "wb-stage" });
    this.legend = element("div", { class: "wb-legend" });
    this.side = element("div", { class: "wb-side" });
    this.tip = element("div", { class: "wb-tip", role: "tooltip", hidden: "" });
    this.live = element("div", { class: "wb-live", "aria-live": "polite" });
    this.error = element("div", { class: "wb-error", role: "alert", hidden: "" });
    this.root = element(
      "div",
      { class: "wb", tabindex: "0", role: "application", "aria-label": "Model graph", onkeydown: (event) => this.key(event) },
      bar,
      this.error,
      this.stage,
      this.legend,
      this.side,
      this.tip,
      this.live,
    );
    el.append(this.root);
  }

  theme() {
    const said = document.body.dataset.jpThemeLight;
    const dark = said === undefined ? matchMedia("(prefers-color-scheme: dark)").matches : said === "false";
    const colours = this.model.get("scene").themes?.[dark ? "dark" : "light"] ?? {};
    for (const [name, value] of Object.entries(colours)) this.root.style.setProperty(`--wb-${name}`, value);
    this.root.style.colorScheme = dark ? "dark" : "light";
    for (const pane of this.panes) if (pane.svg) pane.drawMap();
  }

  draw() {
    const scene = this.model.get("scene");
    if (!scene.panes) return;
    while (this.panes.length < scene.panes.length) {
      const pane = new Pane(this.panes.length, this);
      this.panes.push(pane);
      this.stage.append(pane.root);
    }
    this.active ??= this.panes[0];
    this.theme();
    this.root.style.setProperty("--wb-height", `${scene.height}px`);
    const options = scene.columns.map((name) => element("option", { value: name }, name));
    this.colour.replaceChildren(...options);
    this.colour.value = scene.column;
    this.colour.hidden = scene.columns.length < 2;
    this.focusButton.textContent = scene.focused ? "whole model" : "neighbours";
    this.legend.replaceChildren(parseSvg(scene.legend));
    this.error.hidden = true;
    this.quiet = true;
    for (const pane of this.panes) pane.draw({ ...scene.panes[pane.index], fit: scene.fit });
    this.quiet = false;
    this.update();
  }

  marks(index) {
    const marks = this.model.get("marks");
    const pane = marks.panes?.[index] ?? { selected: [], found: [] };
    return index === 0 ? { ...pane, refused: marks.refused } : pane;
  }

  update() {
    const marks = this.model.get("marks");
    for (const pane of this.panes) {
      pane.mark();
      if (pane.svg) pane.drawMap();
    }
    this.count.textContent = marks.count ?? "";
    const kept = this.side.contains(document.activeElement) ? document.activeElement.dataset.keep : null;
    this.side.replaceChildren(...this.facts(marks), ...this.table(marks), ...surgeryPanel(this, marks));
    // What was at hand stays at hand for the keyboard, though it is drawn anew.
    if (kept) this.side.querySelector(`[data-keep="${CSS.escape(kept)}"]`)?.focus({ preventScroll: true });
    if (marks.reveal) this.panes[marks.reveal.pane]?.reveal(marks.reveal.id);
  }

  table(marks) {
    if (!marks.rows?.length) return [];
    const cells = (row, tag) => row.map((cell) => element(tag, {}, cell));
    const body = marks.rows.map((row) => element("tr", {}, ...cells(row, "td")));
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...cells(marks.head, "th"))), element("tbody", {}, ...body));
    const title = element("div", { class: "wb-heading" }, marks.about);
    return [element("section", { class: "wb-table", "aria-label": "Selected nodes" }, title, table)];
  }

  facts(marks) {
    if (!marks.facts) return [];
    const rows = marks.facts.rows.map(([key, value]) => element("tr", {}, element("th", {}, key), element("td", {}, value)));
    const findings = marks.facts.findings.map((one) =>
      element("li", {}, element("strong", {}, `${one.title} (${one.cost})`), `: ${one.evidence}. ${one.fix}. `, ...(one.line ? [element("code", {}, one.line)] : [])),
    );
    const title = element("div", { class: "wb-heading" }, marks.facts.title);
    const parts = [title, element("table", {}, ...rows)];
    if (findings.length) parts.push(element("div", { class: "wb-heading" }, "Findings"), element("ul", {}, ...findings));
    return [element("section", { class: "wb-facts", "aria-label": "Layer" }, ...parts)];
  }

  ask(request) {
    this.error.hidden = true;
    this.model.send(request);
  }

  answer(message) {
    if (message.type === "error") {
      this.error.textContent = message.text;
      this.error.hidden = false;
    }
    if (message.type === "details" && this.hovering?.dataset.id === message.id) this.detail(message.rows);
  }

  say(text) {
    this.live.textContent = text;
  }

  /** The panes of a comparison look at the same place. */
  moved(pane) {
    if (this.quiet) return;
    for (const other of this.panes) if (other !== pane && other.svg) other.look({ ...pane.view }, false);
  }

  hover(pane, event) {
    const target = event?.target.closest?.(".wb-card, .wb-frame, .wb-hull, .wb-wire") ?? null;
    if (event) this.place(event);
    if (target === this.hovering) return;
    this.hovering = target;
    clearTimeout(this.timer);
    this.tip.hidden = !target;
    if (!target) return;
    const [first, ...rest] = (pane.titles.get(target) ?? "").split("\n");
    this.tip.replaceChildren(element("strong", {}, first), ...rest.map((line) => element("div", {}, line)));
    if (target.dataset.kind === "op") {
      this.timer = setTimeout(() => this.ask({ type: "details", pane: pane.index, id: target.dataset.id }), HOVER_MS);
    }
  }

  detail(rows) {
    const body = rows.map(([key, value]) => element("tr", {}, element("th", {}, key), element("td", {}, value)));
    this.tip.append(element("table", {}, ...body));
  }

  place(event) {
    const box = this.root.getBoundingClientRect();
    const right = event.clientX - box.left > box.width / 2;
    this.tip.style.left = right ? "" : `${event.clientX - box.left + 14}px`;
    this.tip.style.right = right ? `${box.right - event.clientX + 14}px` : "";
    this.tip.style.top = `${event.clientY - box.top + 14}px`;
  }

  focus() {
    const hops = this.model.get("scene").hops;
    this.ask({ type: "focus", on: !this.model.get("scene").focused, hops });
  }

  typed(event) {
    event.stopPropagation(); // a notebook's own shortcuts must not see what is typed here
    if (event.key === "Enter") this.ask({ type: "search", pattern: this.search.value, next: true });
    if (event.key === "Escape") {
      this.search.value = "";
      this.ask({ type: "search", pattern: "", next: false });
      this.root.focus({ preventScroll: true });
    }
  }

  key(event) {
    if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("button") && (event.key === "Enter" || event.key === " ")) return;
    const pane = this.active;
    const target = pane.current && pane.find(pane.current);
    const actions = {
      ArrowUp: () => pane.step(0, -1),
      ArrowDown: () => pane.step(0, 1),
      ArrowLeft: () => pane.step(-1, 0),
      ArrowRight: () => pane.step(1, 0),
      Enter: () => target && pane.toggle(target),
      "+": () => pane.zoom(1.25),
      "=": () => pane.zoom(1.25),
      "-": () => pane.zoom(1 / 1.25),
      0: () => pane.whole(),
      "/": () => this.search.focus(),
      f: () => this.focus(),
      Escape: () => this.escape(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  escape() {
    if (this.model.get("scene").focused) return this.ask({ type: "focus", on: false, hops: 0 });
    this.active.current = null;
    this.ask({ type: "select", pane: this.active.index, id: null, add: false });
  }
}

export default {
  render({ model, el }) {
    const app = new GraphApp(model, el);
    return () => app.close();
  },
};
