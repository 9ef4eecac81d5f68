// The inspector: what there is to say of the selection. The distribution and the edits are parts that the screen puts in.

class AppThresholdPage extends ThresholdPage {
  draw(scene) {
    if (scene.edges) super.draw(scene);
  }

  mark(marks) {
    if (marks.amax !== undefined && this.sides) super.mark(marks);
  }
}

class InspectorPage extends Page {
  build() {
    this.title = element("h3");
    this.about = element("span");
    this.facts = element("table", { class: "wb-rowsof" });
    this.weights = element("div");
    this.tensor = element("div");
    this.unseen = element("div", { class: "wb-note" });
    this.precision = element("div", { class: "wb-chooser" });
    this.edits = element("div");
    this.layers = element("div", { class: "wb-layers" });
    this.findings = element("div");
    const section = (title, ...parts) => element("details", { open: "" }, element("summary", {}, title), element("div", { class: "wb-part" }, ...parts));
    this.sections = {
      tensor: section("distribution", this.tensor, this.unseen),
      precision: section("precision", this.precision),
      edits: section("edits that apply here", this.edits),
      weights: section("weights", this.weights),
      layers: section("layers of the engine", this.layers),
      findings: section("findings of the engine", this.findings),
    };
    const head = element("div", { class: "wb-head" }, this.title, this.about);
    return element("div", { class: "wb-inspector", tabindex: "0", role: "region", "aria-label": "Inspector" }, head, this.facts, ...Object.values(this.sections));
  }

  draw(scene) {
    this.title.textContent = this.title.title = scene.title;
    this.about.textContent = scene.about;
    const row = ([name, value]) => element("tr", {}, element("th", { scope: "row", title: name }, name), element("td", {}, value));
    this.facts.replaceChildren(...scene.rows.map(row));
    this.weights.replaceChildren(...(scene.weights ?? []).map((one) => weightPanel(this, one)));
    this.sections.weights.hidden = !scene.weights?.length;
    this.sections.tensor.hidden = scene.kind !== "node";
    this.tensor.hidden = !scene.tensor;
    const look = scene.again ? [button("Run the samples again", { title: "Shows what flows here; no step comes of it" }, () => this.app.ask({ type: "observe" }))] : [];
    this.unseen.replaceChildren(...(scene.tensor ? [] : [scene.unseen ?? "", ...look]));
    this.sections.tensor.querySelector("summary").textContent = scene.tensor ? `distribution of ${scene.tensor}` : "distribution";
    this.sections.precision.hidden = !scene.precision;
    if (scene.precision) this.choose(scene.precision);
    const { rows, more, note } = scene.layers;
    const words = (text) => (text ? [element("div", { class: "wb-note" }, text)] : []);
    this.sections.layers.hidden = !rows.length;
    this.layers.replaceChildren(...words(note), ...rows.map((one) => this.layer(one)), ...words(more && `and ${more} more`));
    this.sections.findings.hidden = !scene.findings.length;
    this.findings.replaceChildren(...scene.findings.map((one) => this.finding(one)));
    if (scene.title !== this.last) this.root.scrollTop = 0;
    this.last = scene.title;
  }

  choose({ options, now, explain }) {
    const pick = (name) => {
      const one = button(name, { class: "wb-option", "data-precision": name, "data-keep": name, title: `What ${name} here would change` }, () => this.ask({ type: "preview", precision: name }));
      one.prepend(swatch(`var(--wb-${name})`));
      return one;
    };
    this.preview = element("div", { class: "wb-preview", "aria-live": "polite" });
    this.now = now;
    const story = element("div", { class: "wb-note", title: explain }, now === "mixed" ? "several precisions" : explain || `all ${now}`);
    this.precision.replaceChildren(element("div", { class: "wb-options", role: "group", "aria-label": "Precision" }, ...options.map(pick)), story, this.preview);
  }

  mark({ previewed, preview, line }) {
    for (const option of this.precision.querySelectorAll(".wb-option")) {
      option.classList.toggle("wb-now", option.dataset.precision === this.now);
      option.setAttribute("aria-pressed", String(option.dataset.precision === (previewed || this.now)));
    }
    if (!this.preview) return;
    const apply = button("Apply", { class: "wb-primary wb-apply-precision", title: line, "data-keep": previewed }, () => this.ask({ type: "set", precision: previewed }));
    this.preview.replaceChildren(...(previewed ? [element("span", {}, `${previewed} here: ${preview}. `), apply] : []));
  }

  /** A layer as a button that selects the nodes it came from. */
  layer({ name, label, precision, ms, nodes }) {
    const title = nodes ? `${name}\nSelect the nodes that it came from: ${nodes}` : `${name}\nno node of the model: the compiler added it`;
    const one = button("", { class: "wb-layer", title, "data-keep": `layer ${name}` }, () => this.ask({ type: "layer", name }));
    one.disabled = !nodes;
    one.append(swatch(`var(--wb-${precision}, var(--wb-unknown))`), element("span", {}, label), element("span", {}, ms));
    return one;
  }

  finding({ title, evidence, fix, line, cost, at }) {
    const mend = line ? [button("Fix", { title: line }, () => this.ask({ type: "fix", at }))] : [];
    const head = element("div", {}, element("strong", {}, title), cost ? ` ${cost}` : "");
    return element("div", { class: "wb-finding" }, head, element("div", {}, `${evidence}. ${fix}. `, ...mend));
  }
}
