// The live graph: draws the scene that Python sends, and tells Python what a person wants, in small typed requests.
// It is one module with kit.js, pane.js and surgery.js.

const HOVER_MS = 350;

/** A toolbar, one or two panes, and what is known of the selection. */
class GraphPage extends Page {
  build() {
    this.panes = [];
    const act = (text, title, action) => button(text, { title }, action);
    this.search = element("input", {
      type: "search",
      class: "wb-search",
      placeholder: "search: a regular expression  ( / )",
      "aria-label": "Search nodes by name, type or tensor",
      spellcheck: "false",
      onkeydown: (event) => this.typed(event),
    });
    this.list = new Table(this, "Nodes selected or found", (rows, add) => this.ask({ type: "row", rows, add }));
    this.list.plain = true;
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
    this.focusButton = act("neighbours", "Show only the selection and what is near it (f)", () => this.focus());
    const bar = element(
      "div",
      { class: "wb-bar" },
      this.search,
      this.count,
      this.colour,
      this.sizes,
      this.focusButton,
      element("span", { class: "wb-space" }),
      act("−", "Zoom out (-)", () => this.active.zoom(1 / 1.25)),
      act("+", "Zoom in (+)", () => this.active.zoom(1.25)),
      act("fit", "Show the whole graph (0)", () => this.active.whole()),
    );
    this.stage = element("div", { class: "wb-stage" });
    this.legend = element("div", { class: "wb-legend", tabindex: "0", role: "group", "aria-label": "Legend" });
    this.side = element("div", { class: "wb-side" });
    this.tip = element("div", { class: "wb-tip", role: "tooltip", hidden: "" });
    this.live = element("div", { class: "wb-live", "aria-live": "polite" });
    return element(
      "div",
      { class: "wb-model", tabindex: "0", role: "application", "aria-label": "Model graph", onkeydown: (event) => this.key(event) },
      bar,
      this.error,
      this.done,
      this.stage,
      this.legend,
      this.side,
      this.tip,
      this.live,
    );
  }

  restyle() {
    for (const pane of this.panes) if (pane.svg) pane.drawMap();
  }

  draw(scene) {
    while (this.panes.length < scene.panes.length) {
      const pane = new Pane(this.panes.length, this);
      this.panes.push(pane);
      this.stage.append(pane.root);
    }
    this.active ??= this.panes[0];
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
    this.quiet = true;
    for (const pane of this.panes) pane.draw({ ...scene.panes[pane.index], fit: scene.fit });
    this.quiet = false;
  }

  marksOf(index) {
    const marks = this.marks;
    const pane = marks.panes?.[index] ?? { selected: [], matches: [] };
    return index === 0 ? { ...pane, refused: marks.refused } : pane;
  }

  mark(marks) {
    for (const pane of this.panes) {
      pane.mark();
      if (pane.svg) pane.drawMap();
    }
    this.count.textContent = marks.count ?? "";
    const kept = this.side.contains(document.activeElement) ? document.activeElement.dataset.keep : null;
    this.side.replaceChildren(...this.facts(marks), ...this.listed(marks), ...surgeryPanel(this, marks));
    // What was at hand stays at hand for the keyboard, though it is drawn anew.
    if (kept) this.side.querySelector(`[data-keep="${CSS.escape(kept)}"]`)?.focus({ preventScroll: true });
    if (marks.reveal) this.panes[marks.reveal.pane]?.reveal(marks.reveal.id);
  }

  listed({ table, selected, about }) {
    if (!table.rows.length) return [];
    const scrolled = this.list.root.scrollTop;
    this.list.draw(table.columns, table.rows);
    this.list.fill();
    this.list.mark(selected);
    for (const line of this.list.body.children) line.dataset.keep = `row ${line.dataset.id}`;
    queueMicrotask(() => (this.list.root.scrollTop = scrolled)); // a click on a row leaves the list where it was
    return [element("section", { class: "wb-table" }, element("div", { class: "wb-heading" }, about), this.list.root)];
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

  answer(message) {
    super.answer(message);
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
    const hops = this.scene.hops;
    this.ask({ type: "focus", on: !this.scene.focused, hops });
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
    if (this.scene.focused) return this.ask({ type: "focus", on: false, hops: 0 });
    this.active.current = null;
    this.ask({ type: "select", pane: this.active.index, id: null, add: false });
  }
}

export default live(GraphPage);
