// The weights of a node as small pictures: how often each value, and the largest magnitude of each channel.

const SMALL = { width: 290, height: 54 };

function bars(values, label, low, high) {
  const most = Math.max(...values) || 1;
  const wide = SMALL.width / values.length;
  const path = values.map((value, at) => `M${(at * wide).toFixed(2)},${SMALL.height}v${(-(SMALL.height - 2) * value) / most}h${Math.max(wide * 0.9, 0.4).toFixed(2)}V${SMALL.height}Z`);
  const picture = drawn("svg", { viewBox: `0 0 ${SMALL.width} ${SMALL.height}`, class: "wb-small", role: "img", "aria-label": label, preserveAspectRatio: "none" }, drawn("path", { d: path.join("") }));
  const ends = element("div", { class: "wb-ends" }, element("span", {}, low), element("span", {}, label), element("span", {}, high));
  return element("figure", {}, picture, ends);
}

const digits = (value) => String(Number(value.toPrecision(4)));

function weightPanel(page, { name, text, low, high, mean, zeros, bins, channels, count }) {
  const save = button("save", { title: `Write ${name} to an .npy file beside the notebook`, "data-keep": `save ${name}` }, () => page.ask({ type: "save", weight: name }));
  const parts = [element("div", { class: "wb-weight" }, element("span", { title: name }, name), element("span", {}, text), save)];
  if (bins) parts.push(bars(bins.map((one) => Math.log10(1 + one)), "values, logarithmic counts", digits(low), digits(high)));
  if (channels?.length > 1) {
    const sorted = [...channels].sort((a, b) => b - a);
    const named = (value) => `#${channels.indexOf(value)} ${digits(value)}`;
    parts.push(bars(sorted, `largest of ${count} channels`, named(sorted[0]), named(sorted.at(-1))));
  }
  if (mean !== undefined) parts.push(element("div", { class: "wb-note" }, `mean ${digits(mean)}, ${(100 * zeros).toPrecision(3)} % zero`));
  return element("div", { class: "wb-weights" }, ...parts);
}
