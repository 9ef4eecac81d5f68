// The surgery panel beneath a graph: what applies to the selection, a form for any edit, its preview, and the recipe.
// It is one module with kit.js, which has `element` and `parseSvg`. All it knows comes from Python with the marks.

/** Enter does what a field is for. */
function entered(field, enter) {
  field.addEventListener("keydown", (event) => event.key === "Enter" && field.tagName !== "TEXTAREA" && enter());
  return field;
}

function picker(app, marks) {
  if (!marks.all) return [];
  const selector = element("input", {
    class: "wb-selector",
    placeholder: "select: op:Conv & scope:/encoder/*",
    "aria-label": "Select nodes by a selector",
    "data-keep": "selector",
    spellcheck: "false",
  });
  selector.value = app.selector ?? "";
  selector.addEventListener("input", () => (app.selector = selector.value));
  entered(selector, () => app.ask({ type: "pick", selector: selector.value }));
  const undo = marks.undo ? { title: `Take back ${marks.undo}` } : { disabled: "" };
  const redo = marks.redo ? { title: `Do again ${marks.redo}` } : { disabled: "" };
  const few = marks.selected.length < 2 ? { disabled: "" } : {};
  return [
    element(
      "div",
      { class: "wb-pick" },
      selector,
      button("between", { title: "Select what is on a path from the first to the last selected node", "data-keep": "between", ...few }, () =>
        app.ask({ type: "between" }),
      ),
      element("span", { class: "wb-space" }),
      button("Undo", { "data-keep": "undo", ...undo }, () => app.ask({ type: "undo" })),
      button("Redo", { "data-keep": "redo", ...redo }, () => app.ask({ type: "redo" })),
    ),
  ];
}

/** One edit that applies; at which of several places is chosen from a list. */
function offer(app, marks, name, places) {
  const [first] = places;
  const attributes = { title: first.doc, "data-edit": name, "data-keep": `edit ${name}` };
  if (places.length === 1) {
    const pressed = { class: "wb-edit", "aria-pressed": String(marks.preview?.index === first.index) };
    return button(name, { ...attributes, ...pressed }, () => app.ask({ type: "preview", index: first.index }));
  }
  const list = element(
    "select",
    { class: "wb-more", "aria-label": name, ...attributes, onchange: () => list.value && app.ask({ type: "preview", index: Number(list.value) }) },
    element("option", { value: "" }, `${name}: ${places.length} places…`),
    ...places.map(({ at, index }) => element("option", { value: index }, `${name}: ${at}`)),
  );
  list.value = places.some(({ index }) => index === marks.preview?.index) ? marks.preview.index : "";
  return list;
}

function offers(app, marks) {
  const named = new Map();
  marks.edits.forEach((edit, index) => named.set(edit.name, [...(named.get(edit.name) ?? []), { ...edit, index }]));
  const list = [...named].map(([name, places]) => offer(app, marks, name, places));
  if (marks.all) {
    const more = element(
      "select",
      { class: "wb-more", "aria-label": "Any edit", "data-keep": "more", onchange: () => more.value && app.ask({ type: "form", edit: more.value }) },
      element("option", { value: "" }, "any edit…"),
      ...marks.all.map((edit) => element("option", { value: edit.edit }, edit.title)),
    );
    more.value = marks.form?.edit ?? "";
    list.push(more);
  }
  const title = marks.edits.length ? "Edits that apply" : marks.table.rows.length ? "No edit applies by itself here" : "Select nodes to see the edits that apply";
  return [element("div", { class: "wb-heading" }, title), element("div", { class: "wb-edits" }, ...list)];
}

function field(spec, submit) {
  const common = { "data-field": spec.name, "data-keep": `field ${spec.name}`, "aria-label": spec.name, spellcheck: "false" };
  let input;
  if (spec.kind === "choice") {
    input = element("select", common, ...spec.choices.map((choice) => element("option", { value: choice }, choice)));
  } else if (spec.kind === "flag") {
    input = element("input", { ...common, type: "checkbox" });
    input.checked = Boolean(spec.value);
  } else {
    input = element(spec.kind === "lines" ? "textarea" : "input", { ...common, placeholder: spec.required ? "needed" : "" });
    if (spec.kind === "lines") input.rows = 4;
  }
  if (spec.kind !== "flag") input.value = spec.value;
  entered(input, submit);
  const name = element("span", { class: "wb-name" }, spec.required ? `${spec.name} *` : spec.name);
  return element("label", { title: spec.help }, name, input, element("span", { class: "wb-help" }, spec.help));
}

function form(app, marks) {
  if (!marks.form?.fields.length) return [];
  const shown = marks.form;
  const read = (input) => (input.type === "checkbox" ? input.checked : input.value);
  const submit = () => {
    const inputs = [...box.querySelectorAll("[data-field]")];
    app.ask({ type: "try", edit: shown.edit, arguments: Object.fromEntries(inputs.map((input) => [input.dataset.field, read(input)])) });
  };
  const box = element("div", { class: "wb-form", role: "group", "aria-label": shown.title, "data-form": shown.edit });
  box.append(...shown.fields.map((one) => field(one, submit)), button("Preview", { "data-keep": "try", class: "wb-try" }, submit));
  return [element("div", { class: "wb-doc" }, element("strong", {}, shown.title), `: ${shown.doc}`), box];
}

function preview(app, marks) {
  if (!marks.preview) return [];
  const shown = marks.preview;
  const picture = (text, svg) => element("figure", {}, element("figcaption", {}, text), parseSvg(svg));
  return [
    ...(marks.form?.fields.length ? [] : [element("div", { class: "wb-doc" }, shown.doc)]),
    element("div", { class: "wb-previews" }, picture("before", shown.before), picture("after", shown.after)),
    ...(shown.check ? [element("div", { class: "wb-check" }, `Check: ${shown.check}`)] : []),
    element(
      "div",
      { class: "wb-apply" },
      element("code", {}, shown.line),
      button("Apply", { class: "wb-primary", "data-keep": "apply" }, () => app.ask({ type: "apply" })),
    ),
  ];
}

/** The panel, or nothing where the view is for looking only. */
function surgeryPanel(app, marks) {
  if (!marks.edits) return [];
  const refused = marks.refused ? [element("div", { class: "wb-refused-text", role: "alert" }, marks.refused.text)] : [];
  const parts = [...picker(app, marks), ...offers(app, marks), ...form(app, marks), ...refused, ...preview(app, marks)];
  if (marks.done) parts.push(element("div", { class: "wb-check", role: "status" }, `Applied ${marks.done}`));
  if (marks.log?.length) {
    parts.push(element("div", { class: "wb-heading" }, "In the recipe"), element("pre", { class: "wb-log" }, marks.log.join("\n")));
  }
  return [element("section", { class: "wb-surgery", "aria-label": "Edits" }, ...parts)];
}

