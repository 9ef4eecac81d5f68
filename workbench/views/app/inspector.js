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
    this.findings = element("div");
    const section = (title, ...parts) => element("details", { open: "" }, element("summary", {}, title), element("div", { class: "wb-part" }, ...parts));
    this.sections = {
      tensor: section("distribution", this.tensor, this.unseen),
      precision: section("precision", this.precision),
      edits: section("edits that apply here", this.edits),
      weights: section("weights", this.weights),
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
    const apply = button("Apply", { class: "wb-primary wb-apply-precision", title: line }, () => this.ask({ type: "set", precision: previewed }));
    this.preview.replaceChildren(...(previewed ? [element("span", {}, `${previewed} here: ${preview}. `), apply] : []));
  }

  finding({ title, evidence, fix, line, cost, at }) {
    const mend = line ? [button("Fix", { title: line }, () => this.ask({ type: "fix", at }))] : [];
    const head = element("div", {}, element("strong", {}, title), cost ? ` ${cost}` : "");
    return element("div", { class: "wb-finding" }, head, element("div", {}, `${evidence}. ${fix}. `, ...mend));
  }
}
