// The recipe at the bottom: a chip a step, undo and redo by name, and ways to take it away.

class Timeline {
  constructor(app) {
    this.app = app;
    this.steps = element("ol", { class: "wb-chips", tabindex: "0", "aria-label": "Recipe" });
    const act = (title, action) => button("", { title }, action);
    this.undo = act("", () => app.ask({ type: "undo" }));
    this.redo = act("", () => app.ask({ type: "redo" }));
    this.points = button("compare two points", { title: "Set two points of the recipe against each other" }, () => app.comparePoints());
    this.code = button("insert as cell", { title: "The Python of the steps that clicks made" }, () => app.ask({ type: "code" }));
    this.save = button("save", { title: "Write tuned.onnx and recipe.yaml into ./tuned, or ./tuned-2 where that holds something else" }, () => app.ask({ type: "save" }));
    this.large = button("", { title: "Fill the screen", "aria-label": "Fill the screen", class: "wb-tool" }, () => app.fillScreen());
    this.large.append(icon("large"));
    new ResizeObserver(() => this.last()).observe(this.steps);
    this.root = element("div", { class: "wb-timeline" }, this.steps, this.undo, this.redo, this.points, this.code, this.save, this.large);
  }

  /** Show the last steps, in whatever room there is. */
  last() {
    this.steps.scrollLeft = this.steps.scrollWidth;
  }

  draw({ steps, undone, undo, redo }) {
    const chip = ({ text, title, clicked }, at) =>
      element("li", { class: clicked ? "wb-clicked" : null, title: clicked ? `${title}\n(made by a click)` : title, "data-at": at }, text);
    const gone = ({ text, title }) => element("li", { class: "wb-gone", title: `undone: ${title}` }, text);
    this.steps.replaceChildren(element("li", { class: "wb-start" }, "open"), ...steps.map(chip), ...undone.map(gone));
    for (const [control, what, sign, verb] of [[this.undo, undo, "⟲", "undo"], [this.redo, redo, "⟳", "redo"]]) {
      control.disabled = !what;
      control.textContent = what ? `${sign} ${verb} “${what.length > 18 ? `${what.slice(0, 17)}…` : what}”` : `${sign} ${verb}`;
      control.title = what ? `${verb} ${what}` : `nothing to ${verb}`;
    }
    requestAnimationFrame(() => this.last()); // once it is laid out
    this.points.disabled = steps.length < 1;
    this.save.disabled = this.code.disabled = !steps.length;
  }
}
