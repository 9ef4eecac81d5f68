// What a step asks for before it runs, in a panel under its button. What is typed is of the moment; Python has the rest.

const FORMS = {
  Look: (form) => [form.text("Click a node, or a row of the table. Nothing selected shows the model as a whole."), form.run("Show the model", () => form.app.ask({ type: "choose", nodes: [] }))],
  Edit: (form) => [
    form.text("Preparing folds constants and batch normalization, and raises the operator set where Q/DQ needs it; each edit is checked by running both graphs. Other edits are in the inspector, for what is selected."),
    form.run("Prepare the graph", () => form.app.ask({ type: "prepare" })),
  ],
  Calibrate: (form, { methods, method, batch }) => [
    ...form.samples(),
    form.field("method", form.select("method", methods, method), "how a threshold is picked; others follow without another pass"),
    form.field("batch", form.input("batch", { type: "number", min: "1", value: String(batch) }), "samples a run, where the model's batch is free"),
    form.peek(),
    form.run("Calibrate", () => form.app.ask({ type: "calibrate", ...form.samplesAsked(), method: form.value("method"), batch: Number(form.value("batch")) || 1 })),
  ],
  Precision: (form, { presets }) => [
    form.field("preset", form.select("preset", presets, "int8"), "rules to start from; single nodes are set in the inspector"),
    form.row(
      form.run("Use the preset", () => form.app.ask({ type: "preset", name: form.value("preset") })),
      form.run("Measure sensitivity", () => form.app.ask({ type: "sensitivity" })),
    ),
  ],
  Tune: (form, { measures, goal }) => [
    form.text("Tuning writes the plan into the graph. A search finds the fewest nodes to leave in floating point; every plan it tries is run on all samples. Where it measures, it builds engines and takes the fastest plan that reaches the goal, which may be floating point."),
    form.field("at least, dB", form.input("goal", { type: "number", step: "any", value: String(goal) }), "SQNR of the worst output; 20 dB is an error of a hundredth, 30 of a thousandth"),
    form.field("measure", form.select("measure", measures, measures[0]), "builds engines on this and times them beside floating point; nothing: plans are rated by bytes and MACs"),
    form.field("builds", form.input("builds", { type: "number", min: "2", value: "8" }), "engines at most, where it measures"),
    form.row(
      form.run("Search", () => form.app.ask({ type: "search", goal: Number(form.value("goal")), measure: form.value("measure"), builds: Number(form.value("builds")) })),
      form.run("Tune by the plan as it is", () => form.app.ask({ type: "tune" })),
    ),
  ],
  Compare: (form) => [
    ...form.samples("samples that were not calibrated on; left empty, the calibration's"),
    form.field("labels", form.input("labels", { placeholder: "labels.npy (optional)" }), "one class index a sample measures top-1"),
    form.run("Compare", () => form.app.ask({ type: "compare", ...form.samplesAsked(), labels: form.value("labels") })),
  ],
  Engine: (form) => [
    form.text("Built on ONNX Runtime it tells how this machine fuses the graph; its speed says nothing of a GPU. The files of a TensorRT engine are read as trtexec exports them."),
    form.run("Build on ONNX Runtime", () => form.app.ask({ type: "build" })),
    form.field("layers", form.input("graph", { placeholder: "graph.json" }), "--exportLayerInfo"),
    form.field("times", form.input("profile", { placeholder: "profile.json (optional)" }), "--exportProfile"),
    form.run("Read the engine", () => form.app.ask({ type: "read", graph: form.value("graph"), profile: form.value("profile") })),
  ],
};

class StepForm {
  constructor(app) {
    this.app = app;
    this.typed = {}; // by step, what was in its fields
    this.root = element("section", { class: "wb-form-of", hidden: "", onkeydown: (event) => event.key === "Escape" && this.close() });
  }

  open(step, anchor, refused = false) {
    if (!this.root.hidden && this.step === step) return this.close();
    this.keep();
    this.step = step;
    this.anchor = anchor;
    this.fields = new Map();
    const close = button("×", { class: "wb-close", "aria-label": "Close" }, () => this.close());
    this.root.setAttribute("aria-label", step);
    this.root.replaceChildren(element("div", { class: "wb-form-title" }, element("strong", {}, step), close), ...FORMS[step](this, this.app.scene.forms));
    for (const [name, value] of Object.entries(this.typed[step] ?? {})) {
      const field = this.fields.get(name);
      if (field && (refused || !field.value)) field.value = value;
    }
    this.root.hidden = false;
    const left = Math.min(anchor.offsetLeft, this.app.root.clientWidth - this.root.offsetWidth - 12);
    this.root.style.left = `${Math.max(left, 8)}px`;
    anchor.setAttribute("aria-expanded", "true");
    this.root.querySelector("input, select, button:not(.wb-close)")?.focus({ preventScroll: true });
  }

  /** Remember what is typed; what Python fills in at first stays its own. */
  keep() {
    if (!this.root.hidden) this.typed[this.step] = Object.fromEntries([...this.fields].map(([name, field]) => [name, field.value]));
  }

  /** What was asked for last was refused: go on where it was typed. */
  refused() {
    const { asked } = this;
    this.asked = null;
    if (asked && this.root.hidden) this.app.openForm(asked, true);
  }

  close() {
    if (this.root.hidden) return;
    this.keep();
    this.root.hidden = true;
    this.app.root.querySelector(`[data-step="${this.step}"]`)?.setAttribute("aria-expanded", "false");
    this.app.root.querySelector(`[data-step="${this.step}"]`)?.focus({ preventScroll: true });
  }

  text(words) {
    return element("p", {}, words);
  }

  row(...parts) {
    return element("div", { class: "wb-form-row" }, ...parts);
  }

  field(label, input, help) {
    return element("label", { class: "wb-form-field" }, element("span", {}, label), input, element("small", {}, help));
  }

  input(name, attributes = {}) {
    const input = element("input", { type: "text", spellcheck: "false", ...attributes });
    this.fields.set(name, input);
    return input;
  }

  select(name, options, chosen) {
    const select = element("select", {}, ...options.map((one) => element("option", { value: one }, one)));
    select.value = chosen;
    this.fields.set(name, select);
    return select;
  }

  value(name) {
    return this.fields.get(name)?.value ?? "";
  }

  run(text, action) {
    const act = () => {
      action();
      if (text === "look at one") return;
      this.close();
      this.asked = this.step;
    };
    return button(text, { class: "wb-primary" }, act);
  }

  samples(help = "an .npz, an .npy or a folder of images") {
    const { sources, preprocessings } = this.app.scene.forms;
    const list = (id, rows) => element("datalist", { id }, ...rows.map(([value, label]) => element("option", { value, label })));
    const id = `wb-${Math.random().toString(36).slice(2)}`;
    const samples = this.input("samples", { list: `${id}-samples`, placeholder: sources[0]?.path ?? "samples.npz" });
    const how = this.input("preprocessing", { list: `${id}-how`, placeholder: "color=RGB,scale=1/255" });
    samples.addEventListener("input", () => {
      const stated = sources.find(({ path }) => path === samples.value)?.how;
      if (stated) how.value = stated;
      this.looked?.replaceChildren();
    });
    return [
      list(`${id}-samples`, sources.map(({ path, kind }) => [path, `${path} · ${kind}`])),
      list(`${id}-how`, preprocessings.map(([label, value]) => [value, label])),
      this.field("samples", samples, help),
      this.field("preprocessing", how, "of images: how a pixel becomes a number, as the model was trained; never guessed"),
    ];
  }

  samplesAsked() {
    return { samples: this.value("samples"), preprocessing: this.value("preprocessing") };
  }

  peek() {
    this.looked = element("div", { class: "wb-looked", "aria-live": "polite" });
    return element("div", {}, this.row(this.run("look at one", () => this.app.ask({ type: "peek", ...this.samplesAsked() }))), this.looked);
  }

  look({ picture, text, how }) {
    const seen = picture ? [element("img", { src: `data:image/png;base64,${picture}`, alt: "What the model sees of the first sample" })] : [];
    this.looked?.replaceChildren(...seen, element("div", {}, element("div", {}, how), element("div", {}, text)));
  }
}
