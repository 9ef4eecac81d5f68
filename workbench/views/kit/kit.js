// What every live view has in common: elements, a page with its life cycle, theme and messages, and a table.
// A notebook loads a widget's script as one file: this one, then the view's own, which ends with `export default`.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

const element = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
const drawn = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);
const button = (text, attributes, action) => element("button", { type: "button", ...attributes, onclick: action }, text);

function parseSvg(text) {
  return document.importNode(new DOMParser().parseFromString(text, "image/svg+xml").documentElement, true);
}

/** A spot of a colour; styled here and not in its text, so that a sanitizing page keeps it. */
function swatch(colour) {
  const node = element("span", { class: "wb-swatch" });
  node.style.background = colour;
  return node;
}

const adds = (event) => event.ctrlKey || event.metaKey;

/** A view's page: a subclass builds its root, draws the scene, marks what is selected. All state is in Python. */
class Page {
  constructor(model) {
    this.model = model;
    this.error = element("div", { class: "wb-error", role: "alert", hidden: "" });
    this.done = element("div", { class: "wb-done", role: "status", hidden: "" });
    this.handlers = {
      "change:scene": () => this.keeping(() => this.redraw()),
      "change:marks": () => this.keeping(() => this.mark(this.marks)),
      "msg:custom": (message) => this.answer(message),
    };
  }

  open(el) {
    this.root = this.build();
    this.root.classList.add("wb");
    // A notebook's own shortcuts must not see plain keys, nor what is typed into a field: two d's delete its cell.
    this.root.addEventListener("keydown", (event) => {
      if (event.target.closest("input, select, textarea") || !(event.altKey || adds(event))) event.stopPropagation();
    });
    el.append(this.root);
    for (const [name, handler] of Object.entries(this.handlers)) this.model.on(name, handler);
    this.watch = new MutationObserver(() => this.theme());
    this.watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    this.theme();
    this.redraw();
    this.model.send({ type: "shown" });
  }

  close() {
    try {
      this.model.send({ type: "hidden" });
    } catch {
      // The kernel is gone, and with it who would want to know.
    }
    for (const [name, handler] of Object.entries(this.handlers)) this.model.off(name, handler);
    this.watch.disconnect();
  }

  get scene() {
    return this.model.get("scene");
  }

  get marks() {
    return this.model.get("marks");
  }

  get dark() {
    const light = document.body.dataset.jpThemeLight;
    return light === undefined ? matchMedia("(prefers-color-scheme: dark)").matches : light === "false";
  }

  theme() {
    this.root.classList.toggle("wb-dark", this.dark);
    this.restyle();
  }

  restyle() {}

  redraw() {
    this.error.hidden = true;
    this.draw(this.scene);
    this.mark(this.marks);
  }

  /** Draw anew, and keep the place of whoever works by keyboard: on what took its place, or around it. */
  keeping(draw) {
    const held = this.root.contains(document.activeElement) ? document.activeElement : null;
    const around = held?.parentElement.closest("[tabindex]");
    draw();
    if (!held || held.isConnected || this.root.contains(document.activeElement)) return;
    const name = CSS.escape(held.dataset.keep ?? held.dataset.id ?? "");
    const again = [...this.root.querySelectorAll(`[data-keep="${name}"], tr[data-id="${name}"]`)].at(-1);
    (again ?? around)?.focus({ preventScroll: true });
  }

  /** Ask Python for something; it knows by the version what was shown here. */
  ask(request) {
    this.error.hidden = this.done.hidden = true;
    this.model.send({ ...request, version: this.marks.version });
  }

  answer({ type, text }) {
    const line = { error: this.error, done: this.done }[type];
    if (!line) return;
    line.textContent = text;
    line.hidden = false;
  }
}

const STRETCH = 60; // more rows than a screen has

/**
 * Rows to select and columns to sort by. `pick` gets the rows that a click means, and whether they come on top.
 * Lines are made as far down as somebody looks: a page lays out all that it has, again and again.
 */
class Table {
  constructor(page, label, pick = (rows, add) => page.ask({ type: "select", rows, add })) {
    this.page = page;
    this.pick = pick;
    this.anchor = null;
    this.head = element("thead");
    this.body = element("tbody", { onclick: (event) => this.choose(event), onkeydown: (event) => this.key(event) });
    this.table = element("table", {}, this.head, this.body);
    this.root = element("div", { class: "wb-scroll", tabindex: "0", role: "region", "aria-label": label, onscroll: () => this.scrolled() }, this.table);
    this.chosen = new Set();
  }

  draw(columns, rows) {
    const heads = columns.map(({ key, label, kind, title }) => {
      const sort = () => this.page.ask({ type: "sort", column: key });
      const text = this.plain ? label : button(label, {}, sort);
      return element("th", { scope: "col", "data-key": key, title, class: kind === "text" ? null : "wb-number" }, text);
    });
    this.head.replaceChildren(element("tr", {}, ...heads));
    this.columns = columns;
    this.rows = rows;
    this.byId = new Map(rows.map((row) => [row.id, row]));
    this.shown = null;
  }

  line(row) {
    const cells = this.columns.map(({ key, kind }) => {
      const text = row.texts[key] ?? "";
      const look = row.looks?.[key];
      // A name that ends in what tells it from others is cut at its beginning, and reads from left to right all the same.
      const shown = key === this.tail ? element("bdi", {}, text) : text;
      const cell = element("td", { "data-key": key, class: kind === "text" ? null : "wb-number", title: text }, shown);
      if (kind === "bar" && look) {
        const share = drawn("rect", { width: Math.max(look.share * 100, look.share > 0 ? 0.7 : 0), height: 10 });
        share.style.fill = look.colour;
        cell.append(drawn("svg", { class: "wb-share", viewBox: "0 0 100 10", preserveAspectRatio: "none" }, share));
      }
      if (kind === "colour" && look) cell.prepend(swatch(look.colour));
      return cell;
    });
    const chosen = this.chosen.has(row.id);
    return element("tr", { tabindex: "0", "data-id": row.id, title: row.title || null, class: row.kind ? `wb-${row.kind}` : null, "aria-selected": chosen }, ...cells);
  }

  /** Make lines until there are so many; below them room is kept for the rest. */
  grow(count) {
    const lines = this.body.childElementCount;
    if (count > lines) this.body.append(...this.shown.slice(lines, count).map((id) => this.line(this.byId.get(id))));
    this.table.style.setProperty("--wb-rest", Math.max(0, this.shown.length - this.body.childElementCount));
  }

  /** Make the lines that are scrolled to, and a stretch beyond them. */
  scrolled() {
    const lines = this.body.childElementCount;
    this.down = this.root.scrollTop;
    if (!lines || lines === this.shown.length) return;
    const seen = ((this.down + this.root.clientHeight) / this.body.offsetHeight) * lines;
    if (seen > lines - STRETCH / 3) this.grow(Math.ceil(seen) + STRETCH);
  }

  /** Show the rows that pass, in their order; without a key they come as Python sent them. */
  fill([key, down] = ["", false], passes = () => true) {
    const rows = this.rows.filter(passes);
    if (key && !this.sorted) {
      const place = new Map(this.rows.map((row, at) => [row, at]));
      rows.sort((a, b) => {
        const [x, y] = [a.values[key] ?? null, b.values[key] ?? null];
        // What is unknown comes last, whichever way the rest is sorted.
        if (x === null || y === null) return (x === null) - (y === null) || place.get(a) - place.get(b);
        const order = typeof x === "string" ? x.localeCompare(y) : x - y;
        return (down ? -order : order) || place.get(a) - place.get(b);
      });
    }
    for (const head of this.head.querySelectorAll("th")) {
      head.setAttribute("aria-sort", head.dataset.key === key ? (down ? "descending" : "ascending") : "none");
    }
    const ids = rows.map((row) => row.id);
    if (ids.join("\n") === this.shown?.join("\n")) return;
    this.shown = ids;
    this.table.setAttribute("aria-rowcount", ids.length + 1);
    const lines = this.down ? this.body.childElementCount : 0; // who has scrolled down stays there
    this.body.replaceChildren();
    this.grow(Math.max(lines, STRETCH));
  }

  mark(selected) {
    this.chosen = new Set(selected);
    for (const line of this.body.children) {
      const on = String(this.chosen.has(line.dataset.id));
      if (line.getAttribute("aria-selected") !== on) line.setAttribute("aria-selected", on);
    }
    const place = this.shown.findIndex((id) => this.chosen.has(id));
    if (place < 0 || this.root.contains(document.activeElement)) return;
    // Chosen elsewhere: bring it into view, and move nothing but this table.
    this.grow(place + STRETCH / 2);
    const first = this.body.children[place];
    const top = first.offsetTop - this.head.offsetHeight;
    const { scrollTop, clientHeight } = this.root;
    if (top < scrollTop || first.offsetTop + first.offsetHeight > scrollTop + clientHeight) this.root.scrollTop = top;
  }

  choose(event) {
    const id = event.target.closest("tr[data-id]")?.dataset.id;
    // The second click of two is no other wish: it would take back the first.
    if (id !== undefined && !(event.detail > 1)) this.select(id, event);
  }

  /** A row alone, one more or less (Ctrl), or all up to it (Shift). */
  select(id, event) {
    if (event.shiftKey && this.shown.includes(this.anchor)) {
      getSelection()?.removeAllRanges();
      const [from, to] = [this.shown.indexOf(this.anchor), this.shown.indexOf(id)].sort((a, b) => a - b);
      return this.pick(this.shown.slice(from, to + 1), false);
    }
    this.anchor = id;
    this.pick([id], adds(event));
  }

  key(event) {
    const line = event.target.closest("tr[data-id]");
    if (line && line === this.body.lastElementChild) this.grow(this.body.childElementCount + STRETCH);
    const next = { ArrowDown: line?.nextElementSibling, ArrowUp: line?.previousElementSibling }[event.key];
    if (next) next.focus();
    else if (event.key === "Enter" || event.key === " ") this.choose(event);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/** What anywidget wants of a module. */
const live = (Kind) => ({
  render({ model, el }) {
    const page = new Kind(model);
    page.open(el);
    return () => page.close();
  },
});
