// The few pieces that the examples are built of. Text from others only ever becomes text.

export const $ = (id) => document.getElementById(id);

export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== false));
  return node;
}

export function field(label, properties = {}, ...children) {
  const input = el(children.length > 0 ? "select" : "input", properties, ...children);
  return [el("label", {}, label, input), input];
}

export function button(text, onclick) {
  return el("button", { type: "button", onclick }, text);
}

export function form(onsubmit, ...children) {
  return el("form", {
    onsubmit(event) {
      event.preventDefault();
      onsubmit();
    },
  }, ...children);
}

const MOST_ENTRIES = 500;

/** A list of what happened, which stays at its end unless somebody has scrolled up to read. */
export function log(label) {
  const list = el("ol", { className: "log", role: "log", ariaLabel: label, tabIndex: 0 });
  let isAtEnd = true;
  const stay = () => { if (isAtEnd) list.scrollTop = list.scrollHeight; };
  list.addEventListener("scroll", () => {
    isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  });
  new ResizeObserver(stay).observe(list);
  const add = (kind, ...content) => {
    list.append(el("li", { className: kind }, ...content));
    while (list.childElementCount > MOST_ENTRIES) list.firstElementChild.remove();
    stay();
  };
  return [list, add];
}

// Where a browser keeps nothing for pages, a name lasts as long as the page.
export function remember(key, value) {
  try { sessionStorage.setItem(key, value); } catch { /* as said */ }
}
export function remembered(key) {
  try { return sessionStorage.getItem(key); } catch { return null; }
}
