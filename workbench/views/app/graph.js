// The graph of the screen: the canvas of graph.js with a list of hits as one types, and ways back.

const TYPED_MS = 120;
const ICONS = {
  back: "M6 3 2 7l4 4M2 7h7a4 4 0 0 1 0 8H7",
  close: "M2 2h12v12H2zM5 8h6",
  target: "M8 1v4M8 11v4M1 8h4M11 8h4M8 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8",
  large: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4",
};

/** A sign that no font need have. */
const icon = (name) => drawn("svg", { viewBox: "0 0 16 16", class: "wb-icon", "aria-hidden": "true" }, drawn("path", { d: ICONS[name] }));

class AppGraphPage extends GraphPage {
  build() {
    const root = super.build();
    this.search.placeholder = "search";
    this.search.addEventListener("input", () => {
      this.went = false;
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.ask({ type: "typed", pattern: this.search.value }), TYPED_MS);
    });
    this.hits = element("ul", { class: "wb-hits", role: "listbox", "aria-label": "Nodes found", hidden: "", onclick: (event) => this.hit(event) });
    this.search.setAttribute("role", "combobox");
    this.search.setAttribute("aria-expanded", "false");
    this.hits.id = `wb-hits-${Math.random().toString(36).slice(2)}`;
    this.search.setAttribute("aria-controls", this.hits.id);
    const act = (face, title, action) => {
      const tool = button("", { title, "aria-label": title, class: "wb-tool" }, action);
      tool.append(ICONS[face] ? icon(face) : face);
      return tool;
    };
    this.back = act("back", "Back to what was open before (Backspace)", () => this.ask({ type: "back" }));
    const bar = root.querySelector(".wb-bar");
    bar.replaceChildren(
      this.search,
      this.colour,
      act("close", "Close all scopes", () => this.ask({ type: "collapse" })),
      this.back,
      act("target", "Go to the selection (s)", () => this.ask({ type: "reveal" })),
      act("fit", "Show the whole graph (0)", () => this.active.whole()),
    );
    const gestures = "wheel zooms · drag pans · click selects · double-click opens · / searches · f neighbours · ⌫ back";
    this.gestures = element("div", { class: "wb-gestures", title: gestures }, gestures);
    this.side.remove();
    root.append(this.hits, this.gestures);
    return root;
  }

  draw(scene) {
    super.draw(scene);
    this.sizes.hidden = true;
    for (const option of this.colour.options) option.textContent = option.value.replace("_", " ").replace("macs", "MACs");
    this.colour.title = `Colour by ${this.colour.selectedOptions[0]?.textContent}`;
  }

  facts() {
    return [];
  }

  mark(marks) {
    super.mark(marks);
    this.follow(marks.selected.join("\n"));
    this.back.disabled = !marks.back;
    const open = marks.hits.length > 0 && document.activeElement === this.search && !this.went;
    this.hits.hidden = !open;
    this.search.setAttribute("aria-expanded", String(open));
    const row = ({ id, op, path }, at) =>
      element("li", { role: "option", "data-id": id, "aria-selected": String(at === 0), title: id }, element("b", {}, op), ` ${id.split("/").pop()} `, element("span", {}, path));
    this.hits.replaceChildren(...marks.hits.map(row));
    if (marks.more) this.hits.append(element("li", { class: "wb-note", role: "option", "aria-disabled": "true" }, `and ${marks.more} more`));
  }

  answer(message) {
    if (message.type === "revealed") return this.toSelection();
    super.answer(message);
  }

  hit(event) {
    const id = event.target.closest("li[data-id]")?.dataset.id;
    if (id !== undefined) this.goTo(id);
  }

  goTo(id) {
    this.went = this.hits.hidden = true; // until something else is typed
    this.ask({ type: "go", name: id });
  }

  typed(event) {
    event.stopPropagation();
    const rows = [...this.hits.querySelectorAll("li[data-id]")];
    const at = rows.findIndex((row) => row.getAttribute("aria-selected") === "true");
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 }[event.key];
    if (to !== undefined && rows[to]) {
      event.preventDefault();
      rows.forEach((row, place) => row.setAttribute("aria-selected", String(place === to)));
      rows[to].scrollIntoView({ block: "nearest" });
    }
    if (event.key === "Enter" && rows[at]) this.goTo(rows[at].dataset.id);
    if (event.key === "Escape") {
      this.search.value = "";
      this.hits.hidden = true;
      this.ask({ type: "typed", pattern: "" });
      this.root.focus({ preventScroll: true });
    }
  }

  key(event) {
    const own = { Backspace: () => this.ask({ type: "back" }), s: () => this.ask({ type: "reveal" }) }[event.key];
    if (own && !event.target.closest("input, select, textarea, button") && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      event.stopPropagation();
      return own();
    }
    super.key(event);
  }

  /** What is selected elsewhere and lies outside of the view is brought there, as large as things are. */
  follow(selected) {
    const before = this.followed;
    this.followed = selected;
    if (!selected || before === selected || this.root.contains(document.activeElement)) return;
    const pane = this.active;
    const { w, h } = pane.size();
    const { x, y, zoom } = pane.view;
    const faces = this.chosenFaces();
    const inside = (face) => face.x < x + w / zoom && face.x + face.width > x && face.y < y + h / zoom && face.y + face.height > y;
    if (!faces.length || faces.some(inside)) return;
    const first = faces.reduce((a, b) => (a.y <= b.y ? a : b));
    pane.moved = true;
    pane.look({ x: first.x + first.width / 2 - w / zoom / 2, y: first.y + first.height / 2 - h / zoom / 2, zoom });
    pane.clear();
  }

  chosenFaces() {
    const pane = this.active;
    return pane.cards.filter((card) => card.classList.contains("wb-selected")).map((card) => pane.centre(card).face);
  }

  /** Show all that is selected, as large as it fits. */
  toSelection() {
    const pane = this.active;
    const faces = this.chosenFaces();
    if (!faces.length) return;
    const left = Math.min(...faces.map((face) => face.x)), right = Math.max(...faces.map((face) => face.x + face.width));
    const top = Math.min(...faces.map((face) => face.y)), foot = Math.max(...faces.map((face) => face.y + face.height));
    const { w, h } = pane.size();
    const zoom = Math.min(w / (right - left + 60), h / (foot - top + 60), 1.25);
    pane.moved = true;
    pane.look({ x: (left + right - w / zoom) / 2, y: (top + foot - h / zoom) / 2, zoom });
    pane.clear();
  }
}
