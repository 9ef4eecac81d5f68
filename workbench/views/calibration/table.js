// The table of tensors: shows the rows that Python sends, in the order that Python sorts them, and asks for another
// order or another selection.

function element(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function render({ model, el }) {
  const head = element("thead", {}), body = element("tbody", {}), note = element("div", { class: "note" });
  const scroll = element("div", { class: "scroll", tabindex: 0 }, element("table", {}, head, body));
  el.append(element("div", { class: "wb-tensors" }, scroll, note));

  function draw() {
    const { columns, rows, order, note: text } = model.get("data");
    const cells = columns.map(([key, heading]) => {
      const sorted = order[0] === key;
      const mark = sorted ? (order[1] ? " ▾" : " ▴") : "";
      const button = element("button", { type: "button" }, heading + mark);
      button.addEventListener("click", () => model.send({ type: "sort", column: key }));
      const direction = order[1] ? "descending" : "ascending";
      return element("th", { scope: "col", "aria-sort": sorted ? direction : "none" }, button);
    });
    head.replaceChildren(element("tr", {}, ...cells));
    body.replaceChildren(
      ...rows.map((row) => {
        const line = element("tr", { tabindex: 0, "data-name": row[0] }, ...row.map((cell) => element("td", {}, cell)));
        line.firstChild.title = row[0];
        return line;
      }),
    );
    note.textContent = text;
    mark();
  }

  function mark() {
    const selected = new Set(model.get("selected"));
    let first = null;
    for (const line of body.children) {
      const on = selected.has(line.dataset.name);
      line.setAttribute("aria-selected", on);
      if (on && !first) first = line;
    }
    if (!first || scroll.contains(document.activeElement)) return;
    // Chosen elsewhere: bring it into view, and move nothing but this table.
    const top = first.offsetTop - head.offsetHeight;
    if (top < scroll.scrollTop || first.offsetTop + first.offsetHeight > scroll.scrollTop + scroll.clientHeight)
      scroll.scrollTop = top;
  }

  function choose(event) {
    const line = event.target.closest("tr[data-name]");
    if (!line) return;
    const add = event.shiftKey || event.ctrlKey || event.metaKey;
    model.send({ type: "select", name: line.dataset.name, add });
  }

  body.addEventListener("click", choose);
  body.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    choose(event);
  });
  model.on("change:data", draw);
  model.on("change:selected", mark);
  draw();
  return () => {
    model.off("change:data", draw);
    model.off("change:selected", mark);
  };
}

export default { render };
