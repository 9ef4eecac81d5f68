// A table by itself, with a search where rows have something to search in.

class TablePage extends Page {
  build() {
    this.table = new Table(this, "Rows");
    this.search = element("input", {
      type: "search",
      class: "wb-find",
      placeholder: "search",
      "aria-label": "Search rows",
      spellcheck: "false",
      oninput: () => this.mark(this.marks),
    });
    this.count = element("span", { class: "wb-count" });
    this.top = element("div", { class: "wb-bar" }, this.search, this.count);
    this.legend = element("div", { class: "wb-keys" });
    this.note = element("div", { class: "wb-note" });
    return element("div", { class: "wb-rows" }, this.top, this.error, this.table.root, this.legend, this.note);
  }

  draw({ columns, rows, legend, note, sorted }) {
    this.table.sorted = sorted; // there are more rows than were sent, so Python sorts them
    this.table.draw(columns, rows);
    this.top.hidden = rows.every((row) => !row.search);
    this.legend.replaceChildren(...(legend ?? []).map(([colour, text]) => element("span", {}, swatch(colour), text)));
    this.note.textContent = note ?? "";
  }

  mark({ selected, order }) {
    const words = this.search.value.toLowerCase();
    this.table.fill(order, (row) => !words || row.search.toLowerCase().includes(words));
    this.table.mark(selected);
    const all = this.table.rows.length;
    const shown = this.table.shown.length;
    this.count.textContent = shown === all ? `${all} rows` : `${shown} of ${all} rows`;
  }
}

export default live(TablePage);
