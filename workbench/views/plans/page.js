// Layers and their precision: a strip along the network, the front of a search, and a table. A change is a request to
// Python, which answers with a scene; the page keeps only what a person is about to do.

const STRIP = { width: 1000, height: 64, base: 60 };
const FRONT = { width: 420, height: 120, pad: 12 };

class PrecisionPage extends Page {
  build() {
    this.title = element("strong");
    this.estimate = element("span", { class: "wb-note", "aria-live": "polite" });
    this.strip = drawn("svg", { class: "wb-strip", viewBox: `0 0 ${STRIP.width} ${STRIP.height}`, preserveAspectRatio: "none" });
    this.legend = element("div", { class: "wb-keys" });
    this.front = element("section", { class: "wb-front", "aria-label": "Plans of the search" });
    this.selector = element("input", {
      type: "text", class: "wb-selector", spellcheck: "false", placeholder: "selector, for example op:Conv & scope:/head",
      "aria-label": "Select layers by a selector", onkeydown: (event) => event.key === "Enter" && this.find(),
    });
    this.precision = element(
      "select", { class: "wb-choice", "aria-label": "Precision for the selection", onchange: () => this.ask({ type: "preview", precision: this.precision.value }) },
    );
    this.apply = button("apply", { class: "wb-set", title: "Add one rule to the recipe" }, () => this.ask({ type: "set", precision: this.precision.value }));
    this.undo = button("undo", {}, () => this.ask({ type: "undo" }));
    this.redo = button("redo", {}, () => this.ask({ type: "redo" }));
    this.all = element("input", { type: "checkbox", onchange: () => this.ask({ type: "all", on: this.all.checked }) });
    const find = button("select", { title: "Select what the selector means (Enter)" }, () => this.find());
    const bar = element("div", { class: "wb-tools" }, this.selector, find, this.precision, this.apply, this.undo, this.redo, element("label", {}, this.all, " all nodes"));
    this.line = element("div", { class: "wb-line", hidden: "" });
    this.table = new Table(this, "Layers");
    this.detail = element("section", { class: "wb-detail", "aria-label": "The first selected layer" });
    this.rules = element("ol", { class: "wb-rules", start: "0" });
    return element(
      "div", { class: "wb-precision" }, element("div", {}, this.title, " ", this.estimate), this.strip, this.legend, this.front,
      bar, this.line, this.error, this.done, this.table.root, this.detail,
      element("details", { open: "" }, element("summary", {}, "rules of the recipe, later ones win"), this.rules),
    );
  }

  restyle() {
    if (this.marks.selected) this.story(this.marks);
  }

  draw(scene) {
    this.title.textContent = scene.title;
    this.estimate.textContent = scene.estimate;
    this.rules.replaceChildren(...scene.rules.map((rule) => element("li", {}, element("code", {}, rule))));
    this.all.checked = scene.all;
    this.precision.replaceChildren(element("option", { value: "" }, "precision …"), ...scene.precisions.map((name) => element("option", { value: name }, name)));
    this.drawStrip(scene);
    this.drawFront(scene);
    this.table.draw(scene.columns, scene.rows);
  }

  drawStrip({ strip: bars, precisions }) {
    const shares = bars.map((bar) => bar.share).filter((share) => share > 0);
    const low = Math.log(0.5 * Math.min(...shares, 1)), span = Math.log(Math.max(...shares, 1e-9)) - low || 1;
    const wide = STRIP.width / Math.max(bars.length, 1);
    this.strip.replaceChildren(
      ...bars.map(({ id, share, colour, kept, tip }, at) => {
        const height = 6 + (STRIP.base - 6) * Math.max(0, (Math.log(share || 1e-12) - low) / span);
        const box = { x: at * wide, y: STRIP.base - height, width: Math.max(wide * 0.9, 0.5), height };
        const pick = (event) => this.table.select(id, event);
        const bar = drawn("rect", { ...box, "data-id": id, class: kept ? null : "wb-refused", onclick: pick }, drawn("title", {}, tip));
        bar.style.fill = colour;
        return bar;
      }),
    );
    const chips = precisions.map((name) => [bars.filter((bar) => bar.precision === name), name]).filter(([same]) => same.length);
    const pale = bars.some((bar) => !bar.kept) ? "; pale: not what was asked for" : "";
    this.legend.replaceChildren(
      ...chips.map(([same, name]) => element("span", {}, swatch(same[0].colour), `${name}: ${same.length}`)),
      element("span", {}, `bar: share of the MACs, on a logarithmic scale${pale}`),
    );
  }

  drawFront({ front: points, point, metric }) {
    this.front.hidden = points.length === 0;
    if (this.front.hidden) return;
    const last = points.length - 1;
    const chosen = Math.max(0, points.findIndex((one) => one.chosen));
    const axis = (values, size) => {
      const low = Math.min(...values), span = Math.max(...values) - low || 1;
      return (value) => FRONT.pad + ((value - low) / span) * (size - 2 * FRONT.pad);
    };
    // Without the plan that quantizes nothing: its error, none, would flatten all others.
    const seen = points.filter((one) => one.share > 0);
    // Where engines were measured, their latency over floating point's stands in for the share, with its error.
    const rated = seen.every((one) => one.ratio !== null);
    const across = (one) => (rated ? one.ratio : one.share);
    const ends = seen.flatMap((one) => (rated ? [one.ratio - (one.error ?? 0), one.ratio + (one.error ?? 0)] : [one.share]));
    const x = axis(ends, FRONT.width), y = axis(seen.map((one) => one.figure), FRONT.height);
    const place = (one) => [x(across(one)), FRONT.height - y(one.figure)];
    const dots = points.map((one, index) => {
      if (!one.share) return null;
      const [cx, cy] = place(one);
      return drawn("circle", { cx, cy, r: 5, class: one.passed ? "wb-passed" : "wb-missed", onclick: () => take(index) }, drawn("title", {}, one.text));
    });
    const line = drawn("polyline", { points: seen.map((one) => place(one).join(",")).join(" "), class: "wb-frontline" });
    const bars = (rated ? seen : []).map((one) => {
      const cy = place(one)[1];
      return drawn("line", { x1: x(one.ratio - (one.error ?? 0)), x2: x(one.ratio + (one.error ?? 0)), y1: cy, y2: cy, class: "wb-frontline" });
    });
    const picture = drawn("svg", { viewBox: `0 0 ${FRONT.width} ${FRONT.height}` }, line, ...bars, ...dots.filter(Boolean));
    const text = element("div", { class: "wb-point", "aria-live": "polite" });
    const slider = element("input", {
      type: "range", min: "0", max: String(last), step: "1", "data-keep": "plans", "aria-label": "More in INT8, or less error",
      oninput: () => show(Number(slider.value)), onchange: () => take(Number(slider.value)),
    });
    const show = (index) => {
      this.point = index;
      slider.value = String(index);
      text.textContent = points[index].text;
      dots.forEach((dot, other) => dot?.classList.toggle("wb-here", other === index));
    };
    // Let go, it is the plan: one step of the recipe, in place of the one that the slider set before.
    const take = (index) => {
      show(index);
      this.ask({ type: "take", point: index });
    };
    const caption = `${rated ? "Latency over floating point's, with its error," : "MACs in INT8"} → and ${metric} ↑ of each plan, as the search measured them`;
    const taken = point === null ? "The recipe's plan is none of these: move the slider to set one." : `The recipe's plan is point ${point + 1} of ${points.length}.`;
    this.front.replaceChildren(
      seen.length ? element("figure", {}, picture, element("figcaption", {}, caption)) : element("div", { class: "wb-note" }, "No plan in INT8 is offered: floating point beats all that was measured. views.front(wb) shows the others."),
      element("div", {}, element("div", { class: "wb-ends" }, "cheaper, more INT8", slider, "less error"), text, element("div", { class: "wb-taken" }, taken)),
    );
    show(Math.min(point ?? this.point ?? chosen, last));
  }

  find() {
    this.ask({ type: "find", selector: this.selector.value });
  }

  mark(marks) {
    this.table.fill(marks.order);
    this.table.mark(marks.selected);
    const chosen = new Set(marks.selected);
    for (const bar of this.strip.children) bar.classList.toggle("wb-chosen", chosen.has(bar.dataset.id));
    if (marks.selector) this.selector.value = marks.selector;
    this.line.hidden = !marks.line;
    this.line.replaceChildren(element("code", {}, marks.line), ` → ${marks.preview}`);
    this.precision.value = marks.precision;
    this.apply.disabled = !marks.line;
    for (const [control, step, does] of [[this.undo, marks.undo, "Take back"], [this.redo, marks.redo, "Do again"]]) {
      control.disabled = !step;
      control.title = step ? `${does} ${step}` : "";
    }
    this.story(marks);
  }

  story({ selected, explain, distribution }) {
    const parts = [];
    if (selected.length) parts.push(element("p", {}, (selected.length > 1 ? `${selected.length} selected; the first: ` : "") + explain));
    if (distribution) parts.push(element("figure", {}, parseSvg(distribution[this.dark ? "dark" : "light"])));
    this.detail.hidden = parts.length === 0;
    this.detail.replaceChildren(...parts);
  }
}

export default live(PrecisionPage);
