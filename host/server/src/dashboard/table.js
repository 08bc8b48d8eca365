// Tables whose rows stay in place while their figures change, sorted by any column; on a phone each row is a card.

import { el } from "./elements.js";

/**
 * Makes a table. A column has a `title`, the `text` of a row's cell, and maybe the `node` that shows it, the value to
 * `sort` by, `number: true` for figures, `main: true` for the head of a row, and `bare: true` for
 * a cell that needs no name on a card. `key` tells rows apart.
 */
export function table({ caption, columns, key, sorted, whenEmpty, scroll = false }) {
  const order = { column: sorted?.column ?? null, isDown: sorted?.isDown ?? false };
  const rows = new Map();
  let shown = [];
  const sortable = columns.filter((column) => column.sort);

  const heads = columns.map((column) => {
    const button = column.sort && el("button", { type: "button", className: "sort", onclick: () => by(column) }, column.title);
    const head = el("th", { scope: "col", role: "columnheader", className: column.number ? "number" : "" }, button || column.title);
    if (column.hint) head.title = column.hint;
    return head;
  });
  const choice = el("select", { onchange: () => by(sortable[Number(choice.value)]) },
    ...sortable.map((column, index) => el("option", { value: String(index) }, column.title)));
  const chooser = el("label", { className: "sort-choice" }, "Sort by", choice);
  const body = el("tbody", { role: "rowgroup" });
  const node = el("table", { role: "table", className: scroll ? "figures" : "figures cards" },
    el("caption", {}, caption), el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads)), body);
  const box = el("div", { className: "table-box", role: "region", ariaLabel: caption, tabIndex: scroll ? 0 : -1 }, node);
  const empty = el("div", {}, ...(whenEmpty ? [whenEmpty] : []));
  const whole = el("div", { className: "table" }, sortable.length > 1 && !scroll ? chooser : false, box, empty);

  function by(column) {
    order.isDown = order.column === column.title ? !order.isDown : Boolean(column.number);
    order.column = column.title;
    update(shown);
  }

  function compare(a, b) {
    const column = columns.find(({ title }) => title === order.column);
    if (!column?.sort) return 0;
    const [one, other] = [column.sort(a), column.sort(b)];
    const difference = typeof one === "string" ? one.localeCompare(other) : (one ?? -1) - (other ?? -1);
    return order.isDown ? -difference : difference;
  }

  function row(entry) {
    const cells = columns.map((column) => {
      const cell = el(column.main ? "th" : "td", {
        role: column.main ? "rowheader" : "cell", className: [column.number && "number", column.main && "main", column.wide && "wide", column.bare && "bare"].filter(Boolean).join(" "),
      });
      if (column.main) cell.scope = "row";
      cell.dataset.title = column.title;
      return cell;
    });
    return { node: el("tr", { role: "row" }, ...cells), cells, texts: [] };
  }

  function update(entries) {
    shown = entries;
    const ordered = order.column ? [...entries].sort(compare) : entries;
    const keys = new Set();
    let place = body.firstElementChild;
    for (const entry of ordered) {
      const name = key(entry);
      keys.add(name);
      const known = rows.get(name) ?? row(entry);
      rows.set(name, known);
      columns.forEach((column, index) => {
        const written = column.text(entry);
        if (known.texts[index] === written) return;
        known.texts[index] = written;
        const cell = known.cells[index];
        if (column.node) cell.replaceChildren(column.node(entry));
        else cell.textContent = written;
        cell.classList.toggle("zero", Boolean(column.number) && /^[0–]$|^0[^.\d]/.test(written));
      });
      if (place === known.node) place = place.nextElementSibling;
      // A row that has not moved keeps the focus of what is in it.
      else body.insertBefore(known.node, place);
    }
    for (const [name, { node: gone }] of rows) {
      if (!keys.has(name)) {
        gone.remove();
        rows.delete(name);
      }
    }
    columns.forEach((column, index) => {
      if (!column.sort) return;
      const state = order.column === column.title ? (order.isDown ? "descending" : "ascending") : "none";
      heads[index].setAttribute("aria-sort", state);
    });
    const chosen = sortable.findIndex(({ title }) => title === order.column);
    if (chosen >= 0) choice.value = String(chosen);
    box.hidden = entries.length === 0;
    chooser.hidden = entries.length < 2;
    empty.hidden = entries.length > 0;
  }

  update([]);
  return { node: whole, update };
}
