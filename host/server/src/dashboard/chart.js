// Small charts of the last minutes: one or two lines, as wide as their place.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const SHORTEST_MS = 20_000;
const LONGEST_MS = 300_000;

function shape(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** Returns the smallest round number that is not below a value, so that a chart does not jump at each point. */
export function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 7.5, 10].map((step) => step * power).find((step) => step >= value);
}

/**
 * Makes a chart. `lines` are the classes of its lines; `draw` takes one list of points for each. `floor` is the least
 * value at its upper edge.
 */
export function chart({ label, height = 40, lines = ["one"], floor = 0 }) {
  const svg = shape("svg", {
    viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", class: "chart", role: "img", "aria-label": label, height,
  });
  const drawn = lines.map((name, index) => {
    const area = index === 0 ? shape("path", { class: `area ${name}` }) : undefined;
    const line = shape("path", { class: `line ${name}`, "vector-effect": "non-scaling-stroke" });
    if (area) svg.append(area);
    svg.append(line);
    return { area, line };
  });
  const pointer = shape("path", { class: "pointer", "vector-effect": "non-scaling-stroke" });
  svg.append(pointer);
  let last = [];
  let range = { from: 0, to: 1 };

  const draw = (...all) => {
    last = all;
    const first = Math.min(...all.map((points) => points[0]?.[0] ?? Infinity));
    const now = Math.max(...all.map((points) => points.at(-1)?.[0] ?? -Infinity));
    if (!Number.isFinite(now)) return;
    const length = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, now - first));
    range = { from: now - length, to: now };
    const top = ceiling(Math.max(floor, ...all.flatMap((points) => points.map(([, value]) => value))));
    const x = (at) => ((at - range.from) / length) * WIDTH;
    const y = (value) => height - 1.5 - (value / top) * (height - 4);
    all.forEach((points, index) => {
      const shown = points.filter(([at]) => at >= range.from);
      const path = shown.map(([at, value], place) => `${place === 0 ? "M" : "L"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
      const { area, line } = drawn[index];
      line.setAttribute("d", path);
      if (area && shown.length > 1) {
        area.setAttribute("d", `${path}L${WIDTH} ${height}L${x(shown[0][0]).toFixed(1)} ${height}Z`);
      }
    });
  };

  /** Returns the points of all lines that are nearest to a place in the window; none without a place. */
  const at = (clientX) => {
    const box = svg.getBoundingClientRect();
    const time = range.from + ((clientX - box.left) / box.width) * (range.to - range.from);
    const nearest = (points) => points.reduce(
      (best, point) => (best && Math.abs(best[0] - time) <= Math.abs(point[0] - time) ? best : point), undefined,
    );
    const points = last.map(nearest);
    if (points[0]) {
      const place = (((points[0][0] - range.from) / (range.to - range.from)) * WIDTH).toFixed(1);
      pointer.setAttribute("d", `M${place} 0V${height}`);
    }
    return points;
  };
  const leave = () => pointer.removeAttribute("d");
  return { node: svg, draw, at, leave, length: () => range.to - range.from };
}
