// A cell below the one that shows a page. JupyterLab and Notebook 7 give a page no way to ask for one, so this does what
// a person does: it presses the button that inserts a cell, and pastes. Where there is no such button it says so.

const INSERT = '[data-command="notebook:insert-cell-below"]';

const soon = () => new Promise((done) => setTimeout(done, 120));

/** Return whether a cell was made. */
async function insertCell(root, code) {
  const cell = root.closest(".jp-CodeCell");
  const notebook = cell?.closest(".jp-Notebook");
  const prompt = cell?.querySelector(".jp-InputArea-prompt");
  if (!prompt) return false;
  const options = { bubbles: true, cancelable: true, button: 0 };
  for (const kind of ["mousedown", "mouseup", "click"]) prompt.dispatchEvent(new MouseEvent(kind, options));
  await soon();
  const press = cell.querySelector(INSERT) ?? notebook.closest(".jp-NotebookPanel")?.querySelector(INSERT);
  if (!press) return false;
  const before = new Set(notebook.querySelectorAll(".jp-Cell"));
  press.click();
  await soon();
  const inserted = [...notebook.querySelectorAll(".jp-Cell")].find((one) => !before.has(one));
  const text = inserted?.querySelector(".cm-content");
  if (!text) return false;
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", code);
  text.focus();
  text.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  return true;
}
