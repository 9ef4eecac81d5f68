// What JupyterLab and Notebook show of a view: the live widget while its kernel has it, else the picture that was saved.
//
// ipywidgets' own renderer says "Loading widget…" or "model not found" of a widget that is gone, and looks at nothing
// else that the output holds. A view's output therefore has a type of its own, which this draws with the two renderers
// that the notebook has. Written as what a bundler would make of it, a container of module federation.

(() => {
  const VIEW = "application/vnd.trt-workbench.view+json";
  const WIDGET = "application/vnd.jupyter.widget-view+json";
  const PICTURES = ["image/svg+xml", "image/png"];
  /** Below ipywidgets' -10, so that a notebook that knows both types takes this one. */
  const RANK = -20;
  /** Milliseconds in which a widget comes where there is one: no picture flashes before it. */
  const PATIENCE = 500;
  const STYLE = `
    .trt-workbench-picture img { max-width: 100%; height: auto; }
    body[data-jp-theme-light="false"] .trt-workbench-picture img { color-scheme: dark; }`;
  /** What a kernel says when all that it knew is gone. */
  const ENDED = ["restarting", "autorestarting", "terminating", "dead"];
  let shared;

  /** The classes of a package that JupyterLab has loaded. */
  async function loaded(name) {
    const versions = Object.values(shared[name]);
    return (await (versions.find((one) => one.loaded) ?? versions.at(-1)).get())();
  }

  /** A renderer of both: which of them is seen depends on whether the widget has put anything on the page. */
  function both(Panel, rendermime, session) {
    return class extends Panel {
      constructor() {
        super();
        this.heard = (_, status) => {
          if (!ENDED.includes(status) || !this.live?.widgets.length) return;
          this.ended = true;
          this.choose();
        };
        session?.statusChanged.connect(this.heard);
        this.addClass("trt-workbench-view");
        this.watch = new MutationObserver(() => this.choose());
      }

      async renderModel(model) {
        const { data } = model;
        this.model = model;
        this.kind = PICTURES.find((kind) => kind in data);
        // ipywidgets writes into what it is given when a widget ends; what is saved stays as it is.
        const asked = { trusted: model.trusted, data: { [WIDGET]: { ...data[VIEW] } }, metadata: {}, setData() {} };
        for (const one of [...this.widgets]) one.dispose();
        this.watch.disconnect();
        this.live = rendermime.getFactory(WIDGET) ? rendermime.createRenderer(WIDGET) : new Panel();
        this.picture = undefined;
        this.waited = this.ended = false;
        this.live.hide();
        this.addWidget(this.live);
        this.watch.observe(this.live.node, { childList: true });
        setTimeout(() => {
          this.waited = true;
          this.choose();
        }, PATIENCE);
        this.live.renderModel?.(asked);
      }

      choose() {
        if (this.isDisposed || !this.live) return;
        const alive = !this.ended && this.live.widgets.length > 0;
        this.live.setHidden(!alive);
        if (!alive && this.waited && !this.picture && this.kind) {
          this.picture = rendermime.createRenderer(this.kind);
          this.picture.addClass("trt-workbench-picture");
          this.addWidget(this.picture);
          this.picture.renderModel(this.model);
        }
        this.picture?.setHidden(alive);
      }

      dispose() {
        session?.statusChanged.disconnect(this.heard);
        this.watch.disconnect();
        super.dispose();
      }
    };
  }

  const plugin = {
    id: "trt-workbench:picture",
    description: "Shows the picture of a view of the workbench where its kernel is gone",
    autoStart: true,
    activate: async (app) => {
      const { Panel } = await loaded("@lumino/widgets");
      document.head.append(Object.assign(document.createElement("style"), { textContent: STYLE }));
      app.docRegistry?.addWidgetExtension("Notebook", {
        createNew: ({ content: { rendermime }, sessionContext }) => {
          const Both = both(Panel, rendermime, sessionContext);
          rendermime.addFactory({ safe: false, mimeTypes: [VIEW], createRenderer: () => new Both() }, RANK);
        },
      });
    },
  };

  window._JUPYTERLAB ??= {};
  window._JUPYTERLAB["trt-workbench"] = {
    init: (scope) => void (shared = scope),
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
