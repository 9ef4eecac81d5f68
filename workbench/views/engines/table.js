// A table of an engine's layers, or of groups of layers of several engines: sorted and searched here, with one row
// selected. The selection is a trait of its own, `selected`, so that Python may link it with anything.

const SVG = "http://www.w3.org/2000/svg";

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

/** A bar beside a number: drawn, not styled, so that a sanitizing page keeps it. */
function bar(share, colour) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "wbe-bar");
  svg.setAttribute("viewBox", "0 0 100 10");
  svg.setAttribute("preserveAspectRatio", "none");
  const rect = document.createElementNS(SVG, "rect");
  rect.setAttribute("width", String(Math.max(share * 100, share > 0 ? 0.7 : 0)));
  rect.setAttribute("height", "10");
  rect.style.fill = colour;
  svg.append(rect);
  return svg;
}

class EngineTable {
  constructor(model, el) {
    this.model = model;
    this.order = null;
    this.search = element("input", {
      type: "search",
      placeholder: "search layers",
      "aria-label": "Search layers",
      spellcheck: "false",
      oninput: () => this.rows(),
      onkeydown: (event) => event.stopPropagation(), // a notebook's own shortcuts must not see what is typed here
    });
    this.count = element("span", { class: "wbe-count" });
    this.head = element("thead");
    this.body = element("tbody", {
      onclick: (event) => this.choose(event),
      onkeydown: (event) => this.key(event),
    });
    this.scroll = element("div", { class: "wbe-scroll" }, element("table", {}, this.head, this.body));
    this.legend = element("div", { class: "wbe-legend" });
    this.root = element(
      "div",
      { class: "wbe" },
      element("div", { class: "wbe-top" }, this.search, this.count),
      this.scroll,
      this.legend,
    );
    el.append(this.root);
    this.handlers = { "change:scene": () => this.draw(), "change:selected": () => this.mark(true) };
    for (const [name, handler] of Object.entries(this.handlers)) model.on(name, handler);
    this.watch = new MutationObserver(() => this.theme());
    this.watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    this.draw();
  }

  close() {
    for (const [name, handler] of Object.entries(this.handlers)) this.model.off(name, handler);
    this.watch.disconnect();
  }

  theme() {
    const said = document.body.dataset.jpThemeLight;
    const dark = said === undefined ? matchMedia("(prefers-color-scheme: dark)").matches : said === "false";
    const colours = this.model.get("scene").themes[dark ? "dark" : "light"];
    for (const [name, value] of Object.entries(colours)) this.root.style.setProperty(`--wb-${name}`, value);
    this.root.style.colorScheme = dark ? "dark" : "light";
  }

  draw() {
    const { columns, legend } = this.model.get("scene");
    this.theme();
    this.order ??= this.model.get("scene").order;
    const heads = columns.map(({ key, label, kind, title }) =>
      element(
        "th",
        { scope: "col", "data-key": key, title, class: kind === "text" ? null : "wbe-number" },
        element("button", { type: "button", onclick: () => this.sort(key) }, label),
      ),
    );
    this.head.replaceChildren(element("tr", {}, ...heads));
    const swatch = (colour) => {
      const node = element("span", { class: "wbe-swatch" });
      node.style.background = colour;
      return node;
    };
    this.legend.replaceChildren(...legend.map(([colour, text]) => element("span", {}, swatch(colour), text)));
    this.rows();
  }

  sort(key) {
    const numbers = this.model.get("scene").columns.find((column) => column.key === key).kind !== "text";
    const down = this.order.key === key ? !this.order.down : numbers;
    this.order = { key, down };
    this.rows();
  }

  rows() {
    const { columns, rows } = this.model.get("scene");
    const words = this.search.value.toLowerCase();
    const { key, down } = this.order;
    const shown = rows.filter((row) => !words || row.search.toLowerCase().includes(words));
    // What is unknown comes last, whichever way the rest is sorted.
    shown.sort((a, b) => {
      const [x, y] = [a.values[key], b.values[key]];
      if (x === y) return 0;
      if (x === null || x === undefined) return 1;
      if (y === null || y === undefined) return -1;
      return (x < y ? -1 : 1) * (down ? -1 : 1);
    });
    for (const head of this.head.querySelectorAll("th")) {
      const on = head.dataset.key === key;
      head.setAttribute("aria-sort", on ? (down ? "descending" : "ascending") : "none");
    }
    this.body.replaceChildren(...shown.map((row) => this.row(row, columns)));
    this.count.textContent = shown.length === rows.length ? `${rows.length} rows` : `${shown.length} of ${rows.length} rows`;
    this.mark(false);
  }

  row(row, columns) {
    const cells = columns.map(({ key, kind }) => {
      const said = row.texts[key];
      const look = row.looks?.[key];
      const cell = element("td", { "data-key": key, class: kind === "text" ? null : "wbe-number", title: said }, said);
      if (kind === "bar" && look) cell.append(bar(look.share, look.colour));
      if (kind === "colour" && look) {
        const mark = element("span", { class: "wbe-swatch" });
        mark.style.background = look.colour;
        cell.prepend(mark);
      }
      return cell;
    });
    return element("tr", { tabindex: "0", "data-id": row.id }, ...cells);
  }

  mark(reveal) {
    const selected = this.model.get("selected");
    for (const row of this.body.children) {
      const on = row.dataset.id === selected;
      row.setAttribute("aria-selected", String(on));
      if (!on || !reveal || this.scroll.contains(document.activeElement)) continue;
      const top = row.offsetTop - this.head.offsetHeight;
      const hidden = top < this.scroll.scrollTop || row.offsetTop + row.offsetHeight > this.scroll.scrollTop + this.scroll.clientHeight;
      if (hidden) this.scroll.scrollTop = top;
    }
  }

  choose(event) {
    const row = event.target.closest("tr[data-id]");
    if (!row) return;
    this.model.set("selected", row.dataset.id);
    this.model.save_changes();
    this.mark(false);
  }

  key(event) {
    const row = event.target.closest("tr[data-id]");
    const next = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling }[event.key];
    if (next) next.focus();
    else if (event.key === "Enter" || event.key === " ") this.choose(event);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

export default {
  render({ model, el }) {
    const table = new EngineTable(model, el);
    return () => table.close();
  },
};
