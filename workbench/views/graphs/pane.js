// One graph on a canvas: it pans, zooms, and knows where things are; what it shows is drawn by Python.
// It keeps only what is of the moment: where it is looking, and what the pointer and the keyboard are at.

const OPENABLE = new Set(["scope", "block", "fold"]);
const ZOOM_MIN = 0.05;
const ZOOM_MAX = 6;
const LEGIBLE = 0.65; // names are read down to this

/** One graph on a canvas that pans and zooms. */
class Pane {
  constructor(index, host) {
    this.index = index;
    this.host = host;
    this.view = { x: 0, y: 0, zoom: 1 };
    this.moved = false; // until a person has moved, the view fits whatever room there is
    this.current = null;
    this.holder = element("div", { class: "wb-canvas" });
    this.map = element("canvas", { class: "wb-map", title: "The whole graph: click to go there" });
    this.caption = element("div", { class: "wb-caption" });
    this.refusal = element("div", { class: "wb-refusal", hidden: "" });
    this.root = element("div", { class: "wb-pane" }, this.caption, this.holder, this.map, this.refusal);
    this.listen();
  }

  listen() {
    let drag = null;
    this.holder.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.host.root.focus({ preventScroll: true });
      drag = { x: event.clientX, y: event.clientY, view: { ...this.view }, moved: false };
    });
    this.holder.addEventListener("pointermove", (event) => {
      if (!drag) return this.host.hover(this, event);
      const dx = event.clientX - drag.x;
      const dy = event.clientY - drag.y;
      if (!drag.moved && Math.hypot(dx, dy) < 4) return;
      if (!drag.moved) this.holder.setPointerCapture(event.pointerId);
      drag.moved = this.moved = true;
      this.look({ ...drag.view, x: drag.view.x - dx / drag.view.zoom, y: drag.view.y - dy / drag.view.zoom });
    });
    this.holder.addEventListener("pointerup", (event) => {
      const moved = drag?.moved;
      drag = null;
      if (!moved && event.button === 0) this.click(event);
    });
    this.holder.addEventListener("pointercancel", () => (drag = null));
    this.holder.addEventListener("pointerleave", () => this.host.hover(this, null));
    this.holder.addEventListener("dblclick", (event) => {
      const target = this.target(event);
      if (target) this.toggle(target);
    });
    this.holder.addEventListener(
      "wheel",
      (event) => {
        // The page scrolls unless the graph has been clicked, or Ctrl is held: nobody gets stuck in a cell.
        if (!event.ctrlKey && !this.host.root.contains(document.activeElement)) return;
        event.preventDefault();
        const box = this.holder.getBoundingClientRect();
        this.zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top);
      },
      { passive: false },
    );
    this.map.addEventListener("pointerdown", (event) => {
      const box = this.map.getBoundingClientRect();
      const scale = this.width / box.width;
      const x = (event.clientX - box.left) * scale;
      const y = (event.clientY - box.top) * scale;
      const { w, h } = this.size();
      this.moved = true;
      this.look({ ...this.view, x: x - w / this.view.zoom / 2, y: y - h / this.view.zoom / 2 });
    });
    new ResizeObserver(() => this.svg && (this.moved ? this.keep() : this.fit())).observe(this.holder);
  }

  size() {
    return { w: this.holder.clientWidth || 600, h: this.holder.clientHeight || 400 };
  }

  target(event) {
    return event.target.closest?.(".wb-card, .wb-frame, .wb-hull") ?? null;
  }

  click(event) {
    const target = this.target(event);
    if (!target || target.classList.contains("wb-frame")) {
      if (!target) this.host.ask({ type: "select", pane: this.index, id: null, add: false });
      return;
    }
    this.go(target, event.shiftKey || event.ctrlKey || event.metaKey);
  }

  go(card, add = false) {
    this.current = card.dataset.id;
    this.host.active = this;
    this.mark();
    this.host.say(this.titles.get(card)?.split("\n").join(", ") ?? card.dataset.id);
    this.host.ask({ type: "select", pane: this.index, id: card.dataset.id, add });
  }

  toggle(target) {
    if (!OPENABLE.has(target.dataset.kind)) return;
    const { x, y } = this.centre(target);
    this.moved = true;
    // Hold the thing under the pointer still while the drawing around it changes.
    this.anchor = { id: target.dataset.id, x: (x - this.view.x) * this.view.zoom, y: (y - this.view.y) * this.view.zoom };
    this.host.ask({ type: "toggle", pane: this.index, id: target.dataset.id });
  }

  centre(node) {
    const face = node.querySelector(".wb-face").getBBox();
    return { x: face.x + face.width / 2, y: face.y + Math.min(face.height / 2, 20), face };
  }

  find(id) {
    return this.byId.get(id) ?? null;
  }

  draw(data) {
    const first = !this.svg;
    this.width = data.width;
    this.height = data.height;
    this.svg = parseSvg(data.svg);
    this.svg.removeAttribute("width");
    this.svg.removeAttribute("height");
    this.titles = new Map();
    this.byId = new Map();
    for (const group of this.svg.querySelectorAll("g.wb-card, g.wb-frame, g.wb-hull, g.wb-wire")) {
      const title = group.querySelector("title");
      if (title) {
        this.titles.set(group, title.textContent);
        title.remove(); // the tooltip here says it at once, and more
      }
      if (group.dataset.id && !group.classList.contains("wb-frame-title")) this.byId.set(group.dataset.id, group);
    }
    this.caption.textContent = this.caption.title = data.caption;
    this.holder.replaceChildren(this.svg);
    const anchor = this.anchor && this.find(this.anchor.id);
    if (first || data.fit || !this.moved) this.fit();
    else if (anchor) {
      const { x, y } = this.centre(anchor);
      this.look({ ...this.view, x: x - this.anchor.x / this.view.zoom, y: y - this.anchor.y / this.view.zoom });
    } else this.look(this.view);
    this.anchor = null;
    this.mark();
  }

  mark() {
    if (!this.svg) return;
    const marks = this.host.marksOf(this.index);
    const selected = new Set(marks.selected);
    const matches = new Set(marks.matches);
    for (const [id, group] of this.byId) {
      group.classList.toggle("wb-selected", selected.has(id));
      group.classList.toggle("wb-match", matches.has(id));
      group.classList.toggle("wb-current", id === this.current);
      group.classList.toggle("wb-refused", id === marks.refused?.id);
    }
    this.refusal.textContent = marks.refused?.text ?? "";
    this.pin();
    const chosen = (id) => selected.has(id) && this.find(id)?.matches(".wb-card");
    for (const wire of this.svg.querySelectorAll(".wb-wire")) {
      wire.classList.toggle("wb-near", Boolean(chosen(wire.dataset.tail) || chosen(wire.dataset.head)));
    }
    this.svg.classList.toggle("wb-searching", matches.size > 0);
  }

  /** Keep what an edit was refused for beside the node that it is about. */
  pin() {
    const text = this.refusal.textContent;
    const target = text && this.find(this.host.marksOf(this.index).refused.id);
    this.refusal.hidden = !target;
    if (!target) return;
    const { x, face } = this.centre(target);
    const { w, h } = this.size();
    const top = (face.y + face.height - this.view.y) * this.view.zoom + this.holder.offsetTop + 6;
    const left = (x - this.view.x) * this.view.zoom - this.refusal.offsetWidth / 2;
    this.refusal.style.left = `${Math.min(Math.max(left, 8), Math.max(w - this.refusal.offsetWidth - 8, 8))}px`;
    this.refusal.style.top = `${Math.min(Math.max(top, 8), h)}px`;
  }

  reveal(id) {
    const target = this.find(id);
    if (!target) return;
    const { x, y } = this.centre(target);
    const { w, h } = this.size();
    const zoom = Math.max(this.view.zoom, 0.7);
    this.moved = true;
    this.look({ x: x - w / zoom / 2, y: y - h / zoom / 2, zoom });
    this.clear();
  }

  fit() {
    const { w, h } = this.size();
    // Readable before complete: a large graph starts at its top, and the map shows the rest.
    const zoom = Math.max(Math.min(w / this.width, Math.max(h / this.height, 0.75), 1.25), LEGIBLE);
    const tall = this.height * zoom > h;
    const wide = this.width * zoom > w;
    const x = wide ? Math.min(Math.max(this.top() - w / zoom / 2, 0), this.width - w / zoom) : (this.width - w / zoom) / 2;
    this.look({ x, y: tall ? 0 : (this.height - h / zoom) / 2, zoom });
    this.clear();
  }

  get cards() {
    return [...this.byId.values()].filter((group) => group.classList.contains("wb-card"));
  }

  /** Where the graph begins, across. */
  top() {
    const centres = this.cards.map((card) => this.centre(card));
    return centres.length ? centres.reduce((a, b) => (a.y <= b.y ? a : b)).x : this.width / 2;
  }

  /** Put the map into that corner in which it hides less. */
  clear() {
    if (this.map.hidden) return;
    const { w, h } = this.size();
    const [wide, high] = [this.map.offsetWidth + 8, this.map.offsetHeight + 8];
    const hidden = (left) => {
      let area = 0;
      for (const card of this.cards) {
        const { x, y, width, height } = this.centre(card).face;
        const [from, top] = [(x - this.view.x) * this.view.zoom, (y - this.view.y) * this.view.zoom];
        const across = Math.min(from + width * this.view.zoom, left + wide) - Math.max(from, left);
        const down = Math.min(top + height * this.view.zoom, h) - Math.max(top, h - high);
        area += Math.max(across, 0) * Math.max(down, 0);
      }
      return area;
    };
    this.map.classList.toggle("wb-map-left", hidden(0) < hidden(w - wide));
  }

  whole() {
    this.moved = true;
    const { w, h } = this.size();
    const zoom = Math.min(w / this.width, h / this.height, 1.25);
    this.look({ x: (this.width - w / zoom) / 2, y: (this.height - h / zoom) / 2, zoom });
    this.clear();
  }

  zoom(by, px = this.size().w / 2, py = this.size().h / 2) {
    this.moved = true;
    const zoom = Math.min(Math.max(this.view.zoom * by, ZOOM_MIN), ZOOM_MAX);
    const x = this.view.x + px / this.view.zoom - px / zoom;
    const y = this.view.y + py / this.view.zoom - py / zoom;
    this.look({ x, y, zoom });
  }

  /** Keep what is in the middle there, in whatever room there is now. */
  keep() {
    const { w, h } = this.size();
    const { x, y, zoom } = this.view;
    this.look({ x: x + (this.room.w - w) / 2 / zoom, y: y + (this.room.h - h) / 2 / zoom, zoom }, false);
  }

  look(view, tell = true) {
    this.view = view;
    const { w, h } = (this.room = this.size());
    this.svg.setAttribute("viewBox", `${view.x} ${view.y} ${w / view.zoom} ${h / view.zoom}`);
    this.drawMap();
    this.pin();
    if (tell) this.host.moved(this);
  }

  drawMap() {
    const { w, h } = this.size();
    const share = w < 450 ? 0.24 : 0.4; // where room is short the graph needs it more
    const most = { w: Math.min(w * 0.22, 140), h: Math.min(h * share, 200) };
    const scale = Math.min(most.w / this.width, most.h / this.height);
    const fine = window.devicePixelRatio || 1;
    this.map.style.width = `${Math.max(this.width * scale, 12)}px`;
    this.map.style.height = `${Math.max(this.height * scale, 12)}px`;
    this.map.width = this.width * scale * fine;
    this.map.height = this.height * scale * fine;
    const all = this.width * this.view.zoom <= w + 1 && this.height * this.view.zoom <= h + 1;
    this.map.hidden = all;
    if (all) return;
    const pen = this.map.getContext("2d");
    const style = getComputedStyle(this.host.root);
    pen.scale(scale * fine, scale * fine);
    for (const [, group] of this.byId) {
      if (group.classList.contains("wb-hull")) continue;
      const face = group.querySelector(".wb-face");
      const number = (name) => Number(face.getAttribute(name));
      pen.fillStyle = style.getPropertyValue(group.classList.contains("wb-frame") ? "--wb-line" : "--wb-edge");
      if (group.matches(".wb-card.wb-selected")) pen.fillStyle = style.getPropertyValue("--wb-accent");
      pen.fillRect(number("x"), number("y"), number("width"), number("height"));
    }
    pen.strokeStyle = style.getPropertyValue("--wb-accent");
    pen.lineWidth = 2 / scale;
    pen.strokeRect(this.view.x, this.view.y, w / this.view.zoom, h / this.view.zoom);
  }

  /** The card nearest to the current one in a direction, judged by distance along it and twice that across. */
  step(dx, dy) {
    const { cards } = this;
    if (!cards.length) return;
    const from = this.current && this.find(this.current);
    if (!from) return this.arrive(cards.reduce((a, b) => (this.centre(a).y <= this.centre(b).y ? a : b)));
    const start = this.centre(from);
    let best = null;
    let least = Infinity;
    for (const card of cards) {
      const { x, y } = this.centre(card);
      const along = (x - start.x) * dx + (y - start.y) * dy;
      const across = Math.abs((x - start.x) * dy) + Math.abs((y - start.y) * dx);
      if (card !== from && along > 1 && along + 2 * across < least) [best, least] = [card, along + 2 * across];
    }
    if (best) this.arrive(best);
  }

  arrive(card) {
    const { x, y } = this.centre(card);
    const { w, h } = this.size();
    const px = (x - this.view.x) * this.view.zoom;
    const py = (y - this.view.y) * this.view.zoom;
    if (px < 40 || py < 40 || px > w - 40 || py > h - 40) {
      this.moved = true;
      this.look({ ...this.view, x: x - w / this.view.zoom / 2, y: y - h / this.view.zoom / 2 });
    }
    this.go(card);
  }
}

