// The screen: steps, graph, table, inspector and recipe around one selection. Parts have models of their own, which
// are found by name; all of them are in this module.

const PAGES = { graph: AppGraphPage, nodes: NodesPage, inspector: InspectorPage, threshold: AppThresholdPage };

class AppPage extends Page {
  build() {
    this.steps = new Steps(this);
    this.form = new StepForm(this);
    this.progress = new Progress(this);
    this.timeline = new Timeline(this);
    this.slots = Object.fromEntries(Object.keys(PAGES).map((name) => [name, element("div", { class: `wb-slot wb-slot-${name}` })]));
    this.verdict = element("section", { class: "wb-verdict", "aria-label": "Verdict", "aria-live": "polite" });
    this.foot = element("div", { class: "wb-foot" }, this.verdict, this.progress.root);
    this.notice = element("div", { class: "wb-said", hidden: "" }, this.error, this.done, button("×", { "aria-label": "Close the message", class: "wb-close" }, () => (this.notice.hidden = true)));
    const left = element("section", { class: "wb-left", "aria-label": "Graph" }, this.slots.graph);
    const middle = element("section", { class: "wb-middle", "aria-label": "Nodes" }, this.slots.nodes, this.foot);
    const right = element("section", { class: "wb-right", "aria-label": "Selection" }, this.slots.inspector);
    const body = element("div", { class: "wb-body" }, left, middle, right);
    this.kept = element("section", { class: "wb-kept", hidden: "", "aria-label": "Kept recipe" });
    this.code = element("section", { class: "wb-code", hidden: "", onkeydown: (event) => event.key === "Escape" && this.closeCode() });
    return element("div", { class: "wb-app" }, element("div", { class: "wb-inner" }, this.steps.root, this.kept, body, this.timeline.root, this.form.root, this.notice, this.code));
  }

  open(el) {
    this.children = {};
    super.open(el);
  }

  close() {
    for (const page of Object.values(this.children)) page?.close();
    super.close();
  }

  draw(scene) {
    this.steps.draw(scene);
    this.timeline.draw(scene);
    this.judge(scene.verdict);
    this.keep(scene.kept);
    if (!this.loading) this.loading = this.load(scene.parts);
  }

  mark() {}

  async load(parts) {
    for (const [name, Kind] of Object.entries(PAGES)) {
      const model = await this.model.widget_manager.get_model(parts[name]);
      const page = new Kind(model);
      this.children[name] = page;
      const { answer, ask } = page;
      page.answer = (message) => (message.type === "error" || message.type === "done" ? this.answer(message) : answer.call(page, message));
      page.ask = (request) => {
        this.notice.hidden = true;
        this.form.asked = null;
        ask.call(page, request);
      };
      page.open(this.slots[name]);
    }
    const { graph, inspector } = this.children;
    inspector.app = this;
    inspector.edits.append(graph.side);
    inspector.tensor.append(this.slots.threshold);
    this.root.classList.add("wb-ready");
  }

  /** Say that an earlier recipe is there, until somebody decides; or why nothing is kept. */
  keep({ offer, problem, file }) {
    this.kept.hidden = !offer && !problem;
    const choose = (go_on) => this.ask({ type: "resume", go_on });
    const steps = offer === 1 ? "1 step" : `${offer} steps`;
    const parts = offer
      ? [element("span", {}, `${steps} of an earlier session are kept in ${file}.`), button(`Go on with ${steps}`, { class: "wb-primary" }, () => choose(true)), button("Start over", {}, () => choose(false))]
      : [element("span", {}, problem ?? "")];
    this.kept.replaceChildren(...parts);
  }

  judge(verdict) {
    this.verdict.className = `wb-verdict wb-verdict-${verdict?.kind ?? "none"}`;
    if (!verdict) return this.verdict.replaceChildren(element("span", { class: "wb-note" }, "Calibrate, and measure which layer loses most; what to think of it stands here."));
    const signs = { good: "✓", fair: "△", bad: "✗" };
    const act = { worst: ["Show it", () => this.act({ ask: "worst" })], search: ["Search…", () => this.openForm("Tune")], build: ["Build engine", () => this.ask({ type: "build" })], save: ["Save", () => this.ask({ type: "save" })] }[verdict.ask];
    const notes = verdict.notes.map((note) => element("div", { class: "wb-note" }, note));
    const text = element("div", {}, element("b", {}, `${signs[verdict.kind]} ${verdict.text.replace(/[^.!?]$/, "$&.")} `), verdict.next);
    this.verdict.replaceChildren(
      element("div", { class: "wb-words", tabindex: "0" }, text, ...notes), // a long one scrolls, and its button stays
      ...(act ? [button(act[0], {}, act[1])] : []),
    );
  }

  act({ ask, step }) {
    if (ask === "form") return this.openForm(step);
    if (ask === "worst") return this.ask({ type: "worst" });
    this.ask({ type: ask });
  }

  openForm(step, refused = false) {
    this.form.open(step, this.steps.root.querySelector(`[data-step="${step}"]`), refused);
  }

  ask(request) {
    this.notice.hidden = true;
    this.form.asked = null;
    super.ask(request);
  }

  answer(message) {
    if (message.type === "progress") return this.progress.show(message.progress);
    if (message.type === "peek") return this.form.look(message);
    if (message.type === "points") return this.comparePoints(message.rows);
    if (message.type === "code") return void insertCell(this.root, message.code).then((done) => done || this.python(message.code));
    this.error.hidden = this.done.hidden = true;
    super.answer(message);
    this.notice.hidden = this.error.hidden && this.done.hidden;
    clearTimeout(this.saying);
    if (message.type === "error") this.form.refused();
    if (message.type === "done") this.saying = setTimeout(() => (this.notice.hidden = true), 8000);
  }

  redraw() {
    this.draw(this.scene);
    this.mark(this.marks);
  }

  /** Ask for two points of the recipe, and show what is measured of them. */
  comparePoints(rows) {
    const { steps } = this.scene;
    const names = ["0: as opened", ...steps.map(({ text }, at) => `${at + 1}: ${text}`)];
    const pick = (label, at) => {
      const select = element("select", { "aria-label": label }, ...names.map((name, value) => element("option", { value }, name)));
      select.value = at;
      return select;
    };
    const last = Math.max(steps.length - 1, 0);
    const field = (label, placeholder) => element("input", { type: "text", spellcheck: "false", "aria-label": label, placeholder });
    const [from, to, samples, labels] = rows ? this.pointsAsked : [pick("Before", last), pick("After", steps.length), field("Samples", "the calibration's samples"), field("Labels, for top-1", "labels.npy (optional)")];
    this.pointsAsked = [from, to, samples, labels];
    const go = button("Compare", { class: "wb-primary" }, () => this.ask({ type: "points", points: [Number(from.value), Number(to.value)], samples: samples.value, labels: labels.value }));
    const close = button("×", { class: "wb-close", "aria-label": "Close" }, () => this.closeCode());
    const table = rows ? [element("table", { class: "wb-points" }, ...rows.map((row, at) => element("tr", {}, ...row.map((cell, column) => (!at === !column ? element("td", {}, cell) : element("th", { scope: at ? "row" : "col" }, cell))))))] : [];
    this.code.replaceChildren(element("div", { class: "wb-form-title" }, element("strong", {}, "Two points of the recipe"), close), element("div", { class: "wb-form-row" }, from, "→", to), element("div", { class: "wb-form-row" }, samples, labels, go), ...table);
    this.code.setAttribute("aria-label", "Two points of the recipe");
    this.code.hidden = false;
    (rows ? go : from).focus();
  }

  closeCode() {
    this.code.hidden = true;
    this.timeline.points.focus({ preventScroll: true });
  }

  python(code) {
    const close = button("×", { class: "wb-close", "aria-label": "Close" }, () => this.closeCode());
    const copy = button("copy", { class: "wb-primary" }, async () => {
      await navigator.clipboard.writeText(code);
      copy.textContent = "copied";
    });
    this.code.replaceChildren(element("div", { class: "wb-form-title" }, element("strong", {}, "These steps in Python"), copy, close), element("pre", {}, code));
    this.code.setAttribute("aria-label", "Python");
    this.code.hidden = false;
    copy.focus();
  }

  fillScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen();
  }
}

export default live(AppPage);
