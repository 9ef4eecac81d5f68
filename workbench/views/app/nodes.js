// The table of the screen: a filter as one types, as many columns as fit, and a window of rows.

const SPARE = ["shape", "range", "requested", "op", "latency", "realized", "gets"]; // what goes first where room is short

class NodesPage extends Page {
  build() {
    this.table = new Table(this, "Rows of nodes");
    this.table.tail = "node";
    this.filter = element("input", {
      type: "search", class: "wb-filter", spellcheck: "false", placeholder: "filter: op:Conv & scope:/head",
      "aria-label": "List what a selector names", oninput: () => this.typed(), onkeydown: (event) => event.key === "Enter" && this.ask({ type: "filtered" }),
    });
    this.all = button("all", { title: "Select all that is listed (Enter in the filter)" }, () => this.ask({ type: "filtered" }));
    this.count = element("span", { class: "wb-count", "aria-live": "polite" });
    this.problem = element("div", { class: "wb-problem", role: "status", hidden: "" });
    this.choices = element("div", { class: "wb-choices" });
    this.menu = element("details", { class: "wb-columns" }, element("summary", { "aria-label": "Columns" }, "columns"), this.choices);
    this.shownBy = new Map(); // what a person has chosen to see or not, of the moment
    const step = (by) => this.ask({ type: "window", first: this.scene.first + by * this.scene.window });
    this.earlier = button("▴ rows before", {}, () => step(-1));
    this.later = button("▾ rows after", {}, () => step(1));
    this.around = element("div", { class: "wb-around" }, this.earlier, this.later);
    const { root, body } = this.table;
    new ResizeObserver(() => root.clientWidth !== this.fittedTo && this.fitted()).observe(root);
    // Lines that were made since may be wider.
    root.addEventListener("scroll", () => body.childElementCount !== this.fittedLines && root.scrollWidth > root.clientWidth && this.fitted());
    return element("div", { class: "wb-nodes" }, element("div", { class: "wb-bar" }, this.filter, this.all, this.count, this.menu), this.problem, this.table.root, this.around);
  }

  typed() {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.ask({ type: "filter", selector: this.filter.value }), 100);
  }

  draw({ columns, rows, count, filter, problem, first, total, window }) {
    const scrolled = this.table.root.scrollTop;
    this.table.sorted = true;
    this.table.draw(columns, rows);
    // Where another row is the worst, it is what one wants to see.
    this.table.root.scrollTop = rows[0]?.id === this.top ? scrolled : 0;
    this.top = rows[0]?.id;
    this.count.textContent = problem ? "nothing" : count;
    this.problem.textContent = problem;
    this.problem.hidden = !problem;
    this.filter.setAttribute("aria-invalid", String(Boolean(problem)));
    this.filter.title = problem;
    if (document.activeElement !== this.filter) this.filter.value = filter;
    this.around.hidden = total <= window;
    this.earlier.disabled = first === 0;
    this.later.disabled = first + window >= total;
    const choice = ({ key, label }) => {
      const box = element("input", { type: "checkbox", "data-key": key, onchange: () => (this.shownBy.set(key, box.checked), this.fitted()) });
      return element("label", {}, box, ` ${label}`);
    };
    this.choices.replaceChildren(...columns.slice(1).map(choice));
    this.refit = true;
    this.empty = new Set(columns.map(({ key }) => key).filter((key) => rows.every((row) => row.texts[key] === "—")));
  }

  mark({ selected, order }) {
    this.table.fill(order);
    this.table.mark(selected);
    if (this.refit) this.fitted(); // a selection alone changes no width
    this.refit = false;
  }

  /** Hide columns until the rest fits; what a person chose to see stays. */
  fitted() {
    if (!this.table.columns) return;
    const hidden = new Set([...this.shownBy].filter(([, on]) => !on).map(([key]) => key));
    const order = [...SPARE.filter((key) => this.empty.has(key)), ...SPARE.filter((key) => !this.empty.has(key))];
    const show = () => (this.root.dataset.hide = [...hidden].join(" "));
    show();
    const { root, head } = this.table;
    // Where there is too much every column is as narrow as it can be, so that widths add up and one look is enough.
    const widths = new Map([...head.querySelectorAll("th")].map((cell) => [cell.dataset.key, cell.offsetWidth]));
    this.fittedTo = root.clientWidth;
    this.fittedLines = this.table.body.childElementCount;
    let over = root.scrollWidth - root.clientWidth;
    for (const key of order) {
      if (over <= 0) break;
      if (this.shownBy.get(key) || hidden.has(key)) continue;
      hidden.add(key);
      over -= widths.get(key);
    }
    show();
    for (const box of this.choices.querySelectorAll("input")) box.checked = !hidden.has(box.dataset.key);
    this.menu.querySelector("summary").textContent = hidden.size ? `columns +${hidden.size}` : "columns";
  }
}
