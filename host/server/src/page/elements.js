// The elements that the examples are built of. Text from others never becomes HTML.

export const $ = (id) => document.getElementById(id);

export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    // Older browsers have no properties for these attributes.
    const [, aria] = name.match(/^aria([A-Z]\w*)$/) ?? [];
    if (aria || name === "role") node.setAttribute(aria ? `aria-${aria.toLowerCase()}` : name, value);
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== false));
  return node;
}

/** Makes elements of a text of the page, in which `backticks` stand around code. */
export function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

export function field(label, properties = {}, ...children) {
  const input = el(children.length > 0 ? "select" : "input", properties, ...children);
  return [el("label", {}, label, input), input];
}

export function choice(label, ...values) {
  return field(label, {}, ...values.map((value) => el("option", {}, value)));
}

export function button(text, onclick) {
  return el("button", { type: "button", onclick }, text);
}

/** Returns a number with its noun, such as `1 swap`. */
export function plural(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Copies a text, and says so on the button. */
export async function copy(text, button) {
  const caption = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Browsers copy on https: and localhost only, and only if the visitor lets them.
    button.textContent = "Not allowed here";
  }
  setTimeout(() => (button.textContent = caption), 1_500);
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

/** Makes a list of events, which stays at its end unless the visitor has scrolled up to read. */
export function log(label, properties) {
  const list = el("ol", { className: "log", role: "log", ariaLabel: label, tabIndex: 0, ...properties });
  list.classList.add("empty");
  list.dataset.empty = "Nothing yet.";
  let isAtEnd = true;
  const stay = () => { if (isAtEnd) list.scrollTop = list.scrollHeight; };
  list.addEventListener("scroll", () => {
    isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  });
  new ResizeObserver(stay).observe(list);
  const add = (kind, ...content) => {
    list.classList.remove("empty");
    list.append(el("li", { className: kind }, ...content));
    while (list.childElementCount > MOST_ENTRIES) list.firstElementChild.remove();
    stay();
  };
  return [list, add];
}

/** Makes a list of the messages sent and received. */
export function exchange(label) {
  const [list, entry] = log(label);
  const sent = (text) => entry("sent", "→ ", text);
  const got = (text) => entry("got", "← ", text);
  return { list, entry, sent, got };
}

/** Returns a function that sends on a channel, or lists the reason why it cannot. */
export function sender(channel, entry) {
  return (message) => {
    try {
      channel.send(message);
      return true;
    } catch (error) {
      entry("error", error.message);
      return false;
    }
  };
}

const NAMES = ["Ada", "Bo", "Cleo", "Dag", "Edda", "Finn", "Gro", "Hal", "Ines", "Jon", "Kim", "Liv"];
const guest = `${NAMES[Math.floor(Math.random() * NAMES.length)]} ${Math.ceil(Math.random() * 99)}`;

/** Returns the visitor's name: one for each tab of the browser, kept when the page is reloaded. */
export function visitor() {
  // If a browser keeps nothing for pages, a name lasts as long as the page.
  try { return sessionStorage.getItem("name") ?? guest; } catch { return guest; }
}
export function callVisitor(name) {
  try { sessionStorage.setItem("name", name); } catch { /* as said */ }
}
