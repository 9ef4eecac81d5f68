// The live graph: draws the scene that Python sends, and tells Python what a person wants, in small typed requests.
// It is one module with graph_pane.js and graph_surgery.js.

const HOVER_MS = 350;

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
      class: "wb-colours",
      title: "Colour by",
      "aria-label": "Colour by",
      onchange: () => this.ask({ type: "colour", column: this.colour.value }),
    });
    this.sizes = element("select", {
      class: "wb-sizes",
      title: "Size by",
      "aria-label": "Size by",
      onchange: () => this.ask({ type: "size", column: this.sizes.value }),
    });
    this.focusButton = button("neighbours", "Show only the selection and what is near it (f)", () => this.focus());
    const bar = element(
      "div",
      { class: "wb-bar" },
      this.search,
      this.count,
      this.colour,
      this.sizes,
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
    const choices = [
      [this.colour, scene.columns, scene.column, "colour"],
      [this.sizes, scene.sizes, scene.size, "size"],
    ];
    for (const [select, names, chosen, what] of choices) {
      select.replaceChildren(...names.map((name, at) => element("option", { value: name }, at ? `${what}: ${name}` : name)));
      select.value = chosen;
      select.hidden = names.length < 2;
    }
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
    const pick = (name, event) => this.ask({ type: "row", name, add: event.shiftKey || event.ctrlKey || event.metaKey });
    const body = marks.rows.map((row, at) =>
      element(
        "tr",
        {
          tabindex: "0",
          "data-row": row[0],
          "data-keep": `row ${row[0]}`,
          "aria-selected": String(marks.chosen[at]),
          title: "Select this node and go there",
          onclick: (event) => pick(row[0], event),
          onkeydown: (event) => {
            if (event.key !== "Enter" && event.key !== " ") return;
            event.preventDefault();
            event.stopPropagation();
            pick(row[0], event);
          },
        },
        ...cells(row, "td"),
      ),
    );
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...cells(marks.head, "th"))), element("tbody", {}, ...body));
    const title = element("div", { class: "wb-heading" }, marks.about);
    const scrolled = this.side.querySelector(".wb-table")?.scrollTop ?? 0;
    const section = element("section", { class: "wb-table", "aria-label": "Nodes selected or found" }, title, table);
    queueMicrotask(() => (section.scrollTop = scrolled)); // a click on a row leaves the list where it was
    return [section];
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
