// The steps at the top: a button each with its state and figure, and the next sensible one.

class Steps {
  constructor(app) {
    this.app = app;
    this.list = element("ol", { class: "wb-stages", "aria-label": "Steps" });
    this.go = button("", { class: "wb-go" }, () => app.act(app.scene.next));
    this.root = element("div", { class: "wb-steps" }, this.list, this.go);
  }

  draw({ stages, next }) {
    this.list.replaceChildren(
      ...stages.map(({ name, done, figure, title }) => {
        const now = name === next.step;
        const look = `wb-step${done ? " wb-is-done" : ""}${now ? " wb-is-next" : ""}`;
        const state = done ? "done" : now ? "next" : "to do";
        const act = button("", { class: look, title, "data-step": name, "data-keep": `step ${name}`, "aria-expanded": "false" }, () => this.app.openForm(name));
        act.append(element("b", {}, name), element("span", {}, figure), element("i", { class: "wb-hidden" }, `, ${state}`));
        return element("li", {}, act);
      }),
    );
    this.go.textContent = `${next.text} ▸`;
    this.go.dataset.ask = next.ask;
  }
}

/** What runs: how far, the best so far, time left, and an end that keeps what is computed. */
class Progress {
  constructor(app) {
    this.app = app;
    this.text = element("div", { class: "wb-doing", "aria-live": "polite" });
    this.bar = element("progress", { max: "1", "aria-label": "Progress" });
    this.best = element("div", { class: "wb-best" });
    this.stop = button("Stop", { class: "wb-stop", title: "End it now; what was computed stays" }, () => {
      this.stop.disabled = true;
      this.stop.textContent = "Stopping…";
      app.ask({ type: "stop" });
    });
    this.root = element("div", { class: "wb-progress", hidden: "" }, this.text, this.bar, this.stop, this.best);
  }

  show(progress) {
    this.root.hidden = !progress;
    if (!progress) {
      this.stop.disabled = false;
      this.stop.textContent = "Stop";
      return;
    }
    const left = progress.left === null ? "" : `, about ${duration(progress.left)} left`;
    this.text.textContent = `${progress.doing} ${progress.count} · ${duration(progress.spent)}${left}`;
    if (progress.share === null) this.bar.removeAttribute("value");
    else this.bar.value = progress.share;
    this.best.textContent = progress.best ? `best so far: ${progress.best}` : "";
  }
}

const duration = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);
