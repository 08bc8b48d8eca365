// The parts that the pages of the dashboard are built of.

import { chart } from "./chart.js";
import { $, el } from "./elements.js";
import { text, span } from "./figures.js";

export { el };

/** The life of a view: everything that it began ends with it. */
export class Scope {
  #ends = new AbortController();

  get signal() {
    return this.#ends.signal;
  }

  /** Calls `stop` when the view ends. */
  until(stop) {
    this.signal.addEventListener("abort", stop, { once: true });
  }

  /** Does something now and again and again, each time after it was done. A page that nobody sees rests. */
  repeat(pause, task) {
    let timer;
    let turns = 0;
    const turn = async () => {
      clearTimeout(timer);
      turns += 1;
      const own = turns;
      if (this.signal.aborted) return;
      if (!document.hidden) await task();
      // Another turn may have begun meanwhile, and goes on in place of this one.
      if (!this.signal.aborted && own === turns) timer = setTimeout(turn, pause);
    };
    const shown = () => document.hidden || turn();
    document.addEventListener("visibilitychange", shown);
    this.until(() => { clearTimeout(timer); document.removeEventListener("visibilitychange", shown); });
    turn();
    return turn;
  }

  end() {
    this.#ends.abort();
  }
}

let saying;

/** Says what has happened, for the eye and for screen readers. */
export function say(message, kind = "good") {
  clearTimeout(saying);
  const line = $("said");
  line.className = `said ${kind}`;
  line.hidden = false;
  line.textContent = message;
  saying = setTimeout(() => (line.hidden = true), 8_000);
}

/** Makes a heading of a view, with the way to it above. */
export function title(name, way = [], ...beside) {
  const steps = way.map(([label, href]) => el("li", {}, el("a", { href }, label)));
  return el("div", { className: "title" },
    way.length > 0 && el("nav", { ariaLabel: "Way" }, el("ol", { className: "way" }, ...steps)),
    el("div", { className: "title-line" }, el("h1", { tabIndex: -1 }, name), ...beside));
}

export function section(name, ...content) {
  const heading = el("h2", {}, name);
  return el("section", { className: "part" }, heading, ...content);
}

/** Makes a section with things beside its heading. */
export function sectionWith(name, beside, ...content) {
  return el("section", { className: "part" },
    el("div", { className: "part-head" }, el("h2", {}, name), ...beside), ...content);
}

/** Tells that there is nothing, and what to do next. */
export function empty(what, ...next) {
  return el("div", { className: "empty-state" }, el("p", { className: "what" }, what), next.length > 0 && el("p", {}, ...next));
}

export function pill(label, kind) {
  return el("span", { className: `pill ${kind}` }, label);
}

/** Makes a list of facts, whose values can be changed: `set` takes them by their names. */
export function facts(names) {
  const values = new Map(names.map((name) => [name, el("dd", {}, "–")]));
  const list = [...values].map(([name, value]) => el("div", {}, el("dt", {}, name), value));
  const node = el("dl", { className: "facts" }, ...list);
  const set = (known) => {
    for (const [name, value] of Object.entries(known)) {
      const place = values.get(name);
      const shown = value ?? "–";
      if (shown instanceof Node) {
        if (place.dataset.of !== shown.textContent) place.replaceChildren(shown);
        place.dataset.of = shown.textContent;
      } else {
        delete place.dataset.of;
        if (place.textContent !== String(shown)) place.replaceChildren(String(shown));
      }
    }
  };
  return { node, set };
}

/** Makes a figure with its chart. `format` makes the text of a value and its unit. */
export function tile({ label, format, floor, lines, names, height = 44, large = false }) {
  const [value, unit] = [el("span", { className: "value" }, "–"), el("span", { className: "unit" })];
  const note = el("p", { className: "note" });
  const drawing = chart({ label: `${label}, the last minutes`, height, floor, lines });
  const legend = names && el("p", { className: "legend" },
    ...names.map((name, index) => el("span", { className: lines[index] }, name)));
  const node = el("div", { className: large ? "tile large" : "tile", role: "group", ariaLabel: label },
    el("p", { className: "label" }, label), el("p", { className: "figure" }, value, unit), note, legend ?? false, drawing.node);
  let now = [];
  let said = "";
  let isPointed = false;
  const show = (values, remark) => {
    const [shown, its] = format(values[0]);
    if (value.textContent !== shown) value.textContent = shown;
    if (unit.textContent !== its) unit.textContent = its;
    if (note.textContent !== remark) note.textContent = remark;
  };
  const pointed = (event) => {
    const points = drawing.at(event.clientX);
    if (!points[0]) return;
    isPointed = true;
    const others = points.slice(1).map((point, index) => (point ? `${names[index + 1]} ${text(format(point[1]))}, ` : ""));
    show([points[0][1]], `${others.join("")}${new Date(points[0][0]).toLocaleTimeString()}`);
  };
  const left = () => { isPointed = false; drawing.leave(); show(now, said); };
  drawing.node.addEventListener("pointermove", pointed);
  drawing.node.addEventListener("pointerleave", left);
  const draw = (series, remark, values) => {
    now = values ?? series.map((points) => points.at(-1)?.[1] ?? null);
    said = remark ?? (large ? `the last ${span(drawing.length())}` : "");
    drawing.draw(...series);
    if (!isPointed) show(now, said);
  };
  return { node, draw };
}

/** Returns content that a plugin keeps, as it can be read. */
export function content(shown) {
  if (shown.too_big) return el("p", { className: "muted" }, "More than 1 MiB: it is not shown here.");
  const [kind, written] = "json" in shown ? ["JSON", JSON.stringify(shown.json, null, 2)]
    : "text" in shown ? ["text", shown.text] : ["bytes in base64", shown.binary];
  return el("pre", { className: "code", tabIndex: 0, role: "region", ariaLabel: `Content, ${kind}` }, written ?? "");
}

/** Shows the reason in a place where something should be. */
export function problem(error) {
  return el("p", { className: "problem", role: "alert" }, error.message);
}

/**
 * Asks before an act, and says what has happened. `act` gets the values of the fields, and returns the sentence to say.
 */
export function ask({ heading, explanation, fields = [], action, danger = false, act }) {
  const trouble = el("p", { className: "problem", role: "alert", hidden: true });
  const inputs = fields.map(({ label, hint, tag = "input", ...properties }) => {
    const input = el(tag, { id: `field-${properties.name}`, ...properties });
    const node = el("div", { className: "field" }, el("label", { htmlFor: input.id }, label), input,
      hint ? el("p", { className: "hint", id: `${input.id}-hint` }, hint) : false);
    if (hint) input.setAttribute("aria-describedby", `${input.id}-hint`);
    return { input, node };
  });
  const go = el("button", { type: "submit", className: danger ? "act danger-act" : "act" }, action);
  const dialog = el("dialog", { className: "card", ariaLabelledby: "dialog-title" },
    el("form", {
      async onsubmit(event) {
        event.preventDefault();
        go.disabled = true;
        trouble.hidden = true;
        try {
          const done = await act(Object.fromEntries(inputs.map(({ input }) => [input.name, input.type === "checkbox" ? input.checked : input.value])));
          dialog.close();
          say(done);
        } catch (error) {
          trouble.textContent = error.message;
          trouble.hidden = false;
          go.disabled = false;
          go.focus();
        }
      },
    },
    el("h2", { id: "dialog-title" }, heading), el("p", { className: "muted" }, explanation), ...inputs.map(({ node }) => node), trouble,
    el("div", { className: "dialog-acts" }, el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), go)));
  dialog.setAttribute("aria-labelledby", "dialog-title");
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  inputs[0]?.input.focus();
  return dialog;
}

export function actButton(label, onclick, danger = false) {
  return el("button", { type: "button", className: danger ? "small danger-text" : "small", onclick }, label);
}
