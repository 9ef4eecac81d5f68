// A chart as Python drew it, once a theme, with spots that tell more and can be selected.

class ChartPage extends Page {
  build() {
    this.figure = element("div", {
      class: "wb-figure",
      onpointerover: (event) => this.point(event),
      onfocusin: (event) => this.point(event),
      onclick: (event) => this.choose(event),
      onkeydown: (event) => (event.key === "Enter" || event.key === " ") && this.choose(event),
    });
    this.line = element("div", { class: "wb-line-of", "aria-live": "polite" });
    return element("div", { class: "wb-chart" }, this.error, this.figure, this.line);
  }

  draw(scene) {
    const svg = parseSvg(scene[this.dark ? "dark" : "light"]);
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", "chart");
    svg.style.maxWidth = `min(100%, ${1.25 * svg.viewBox.baseVal.width * (96 / 72)}px)`; // larger, its words would shout
    this.spots = new Map(scene.spots.map(({ key, text }) => [key, { text, node: svg.getElementById(`spot-${key}`) }]));
    for (const [, { text, node }] of this.spots) filled(node, { class: "wb-spot", tabindex: 0, role: "button", "aria-label": text }, []);
    this.line.hidden = !scene.spots.length;
    this.figure.replaceChildren(svg);
  }

  restyle() {
    if (this.spots) this.redraw();
  }

  mark({ selected }) {
    for (const [key, { node }] of this.spots) {
      node.classList.toggle("wb-chosen", selected.includes(key));
      node.setAttribute("aria-pressed", String(selected.includes(key)));
    }
    if (selected.length) this.line.textContent = selected.map((key) => this.spots.get(key).text).join(" · ");
    else if (!this.line.textContent) this.line.textContent = "Point at a part of the chart, or click it.";
  }

  spotOf(event) {
    return event.target.closest(".wb-spot")?.id.slice("spot-".length);
  }

  point(event) {
    const spot = this.spots.get(this.spotOf(event));
    if (spot) this.line.textContent = spot.text;
  }

  choose(event) {
    const key = this.spotOf(event);
    if (key === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.ask({ type: "select", key, add: adds(event) });
  }
}

export default live(ChartPage);
