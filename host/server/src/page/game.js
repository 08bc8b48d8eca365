// The panel of the game: a board of 64 by 64 cells, of which a part is shown large enough to be hit.

import { button, callVisitor, el, field, form, log, sender, visitor } from "/_wharf/elements.js";

const SIDE = 64;
/** Numbers of cells that are shown in a row, from near to far. */
const ZOOMS = [8, 10, 16, 24, 32, 64];
/** Size of the drawing of the board, and of the map, in pixels. */
const BOARD = 768;
const MAP = 128;
const COLORS = ["#d6336c", "#ae3ec9", "#4263eb", "#0ca678", "#e8890c", "#e03131"];

export const game = {
  id: "game",
  title: "Play",
  heading: "Play on one board",
  path: "/game/:game_id",
  about: "Claim cells, one each turn. The board is the state of a room, where moves are handled one at a time: however many "
    + "click at once, a cell is never claimed twice.",
  forMany: "and play against yourself: a turn is over when all who have joined have moved.",
  tries: ["Join, then claim cells. The map shows the whole board; choose there which part you see.",
    "Claim a cell twice, or claim one without joining: only you are told."],

  start(panel) {
    const [list, entry] = log("Moves");
    list.dataset.empty = "No moves yet.";
    const view = new Board((x, y) => claim(x, y));
    const [nameField, name] = field("Name", { value: visitor(), maxLength: 40, autocomplete: "nickname", required: true });
    const [colorField, color] = field("Colour", { type: "color", value: COLORS[Math.floor(Math.random() * COLORS.length)] });
    const cell = (label) => field(label, { type: "number", min: 0, max: SIDE - 1, value: 0, required: true });
    const [[xField, x], [yField, y]] = [cell("x"), cell("y")];
    const channel = panel.connect("/game/demo", { queueLength: 0 });
    const send = sender(channel, entry);
    const claim = (column, row) => {
      [x.value, y.value] = [column, row];
      send({ type: "move", x: column, y: row });
    };
    channel.on("player_joined", ({ player, players }) => entry("notice", `${player} has joined, ${players} playing`));
    channel.on("player_left", ({ player, players }) => entry("notice", `${player} has left, ${players} playing`));
    channel.on("turn", ({ turn }) => entry("notice", `turn ${turn}`));
    channel.on("error", (message) => entry("error", message.message));
    channel.on("new_board", () => view.clear());
    // Each connection begins with the board as it is.
    channel.on("board", ({ cells }) => view.show(Array.isArray(cells) ? cells : []));
    channel.on("move_made", (move) => {
      view.claim(move);
      entry("got", `${move.number}. ${move.player} claims ${move.x}, ${move.y}`);
    });
    const join = () => {
      callVisitor(name.value);
      send({ type: "join_game", player_name: name.value, color: color.value });
    };
    panel.work.append(
      form(join, nameField, colorField, el("button", {}, "Join"), button("Leave", () => send({ type: "leave_game" }))),
      el("div", { className: "table" }, view.node,
        el("div", { className: "beside" },
          el("h4", {}, "Whole board"), view.map, view.zooms,
          form(() => claim(Number(x.value), Number(y.value)), xField, yField, el("button", {}, "Move")))),
      el("h4", {}, "Moves"), list);
  },
};

/** The board: the part that is shown, and the map of all of it. */
class Board {
  #cells = new Map();
  #across = matchMedia("(max-width: 36rem)").matches ? 10 : 24;
  /** The cell in the upper left corner, and the one that the keyboard would claim. */
  #left = 0;
  #top = 0;
  #at = null;
  #context;
  #overview;
  #colors;

  constructor(claim) {
    this.node = el("canvas", {
      className: "board", width: BOARD, height: BOARD, tabIndex: 0, role: "application", ariaLabel: "The board: arrow keys choose a cell, Enter claims it",
    });
    this.map = el("canvas", { className: "map", width: MAP, height: MAP, role: "img", ariaLabel: "Map of the whole board, 64 by 64 cells" });
    this.#context = this.node.getContext("2d");
    this.#overview = this.map.getContext("2d");
    const zoom = (step) => {
      const next = ZOOMS[ZOOMS.indexOf(this.#across) + step];
      if (next) this.#look(next, this.#left + (this.#across - next) / 2, this.#top + (this.#across - next) / 2);
    };
    const [nearer, further] = [button("+", () => zoom(-1)), button("−", () => zoom(1))];
    nearer.setAttribute("aria-label", "Nearer");
    further.setAttribute("aria-label", "Further away");
    this.zooms = el("div", { className: "row", role: "group", ariaLabel: "Zoom" }, nearer, further);
    this.node.addEventListener("click", (event) => {
      const size = this.node.clientWidth / this.#across;
      claim(this.#left + this.#cell(event.offsetX / size), this.#top + this.#cell(event.offsetY / size));
    });
    this.map.addEventListener("click", ({ offsetX, offsetY }) => {
      const size = this.map.clientWidth / SIDE;
      this.#look(this.#across, offsetX / size - this.#across / 2, offsetY / size - this.#across / 2);
    });
    this.node.addEventListener("keydown", (event) => this.#key(event, claim));
    this.node.addEventListener("blur", () => this.#choose(null));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
    // Styles apply once the board is in the page.
    requestAnimationFrame(() => this.#draw());
  }

  /** Shows these claimed cells, and no others. */
  show(cells) {
    this.#cells.clear();
    cells.forEach((cell) => this.#keep(cell));
    this.#draw();
  }

  claim(cell) {
    this.#keep(cell);
    this.#draw();
  }

  #keep({ x, y, color }) {
    if (Number.isInteger(x) && Number.isInteger(y)) this.#cells.set(y * SIDE + x, String(color));
  }

  clear() {
    this.#cells.clear();
    this.#draw();
  }

  #cell(at) {
    return Math.min(this.#across - 1, Math.max(0, Math.floor(at)));
  }

  #look(across, left, top) {
    this.#across = across;
    [this.#left, this.#top] = [left, top].map((at) => Math.min(SIDE - across, Math.max(0, Math.round(at))));
    this.#draw();
  }

  #key(event, claim) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) {
      const from = this.#at ?? [this.#left - step[0], this.#top - step[1]];
      this.#choose(from.map((at, axis) => Math.min(SIDE - 1, Math.max(0, at + step[axis]))));
    } else if ((event.key === "Enter" || event.key === " ") && this.#at) {
      claim(...this.#at);
    } else {
      return;
    }
    event.preventDefault();
  }

  #choose(at) {
    this.#at = at;
    if (at) {
      const [x, y] = at;
      this.node.setAttribute("aria-label", `The board: ${x}, ${y}, ${this.#cells.has(y * SIDE + x) ? "claimed" : "free"}; Enter claims it`);
      const into = (value, from) => Math.min(value, Math.max(from, value - this.#across + 1));
      return this.#look(this.#across, into(x, this.#left), into(y, this.#top));
    }
    this.#draw();
  }

  #draw() {
    const style = getComputedStyle(this.node);
    this.#colors = Object.fromEntries(["surface", "line", "accent", "sunk"].map((name) => [name, style.getPropertyValue(`--${name}`)]));
    this.#paint(this.#context, BOARD, this.#left, this.#top, this.#across, true);
    this.#paint(this.#overview, MAP, 0, 0, SIDE, false);
    const scale = MAP / SIDE;
    this.#overview.strokeStyle = this.#colors.accent;
    this.#overview.lineWidth = 2;
    this.#overview.strokeRect(this.#left * scale + 1, this.#top * scale + 1, this.#across * scale - 2, this.#across * scale - 2);
  }

  #paint(context, pixels, left, top, across, hasGrid) {
    const size = pixels / across;
    context.fillStyle = this.#colors.surface;
    context.fillRect(0, 0, pixels, pixels);
    if (hasGrid) {
      context.fillStyle = this.#colors.line;
      for (let line = 1; line < across; line++) {
        context.fillRect(Math.round(line * size) - 1, 0, 1, pixels);
        context.fillRect(0, Math.round(line * size) - 1, pixels, 1);
      }
    }
    for (const [number, color] of this.#cells) {
      const [x, y] = [number % SIDE - left, Math.floor(number / SIDE) - top];
      context.fillStyle = color;
      if (x >= 0 && y >= 0 && x < across && y < across) context.fillRect(x * size, y * size, size - (hasGrid ? 1 : 0), size - (hasGrid ? 1 : 0));
    }
    if (hasGrid && this.#at) {
      context.strokeStyle = this.#colors.accent;
      context.lineWidth = 4;
      context.strokeRect((this.#at[0] - left) * size + 2, (this.#at[1] - top) * size + 2, size - 4, size - 4);
    }
  }
}
