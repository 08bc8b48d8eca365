// Elements of a document in Markdown: the part of it that the documents of Wharf use. Text never
// becomes HTML.

import { json, rust } from "/_wharf/code.js";
import { el } from "/_wharf/elements.js";

/** Returns the anchor of a heading, as code forges make it. */
export function slug(heading) {
  return heading.trim().toLowerCase().replace(/[^\p{L}\p{N}\-_ ]/gu, "").replace(/ /g, "-");
}

/** Returns the elements of a document. `follow` returns the address of a link, or nothing. */
export function markdown(text, follow) {
  return blocks(text.replace(/<!--[^]*?-->/g, "").split("\n"), follow);
}

function blocks(lines, follow) {
  const nodes = [];
  const inline = (text) => spans(text, follow);
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    const fence = line.match(/^\s*(```+)(\w*)/);
    const heading = line.match(/^(#{1,6}) (.*)/);
    const item = line.match(/^(\s*)([-*]|\d+\.) /);
    if (fence) {
      const end = lines.findIndex((other, index) => index > at && other.trim() === fence[1]);
      nodes.push(code(lines.slice(at + 1, end < 0 ? undefined : end).join("\n"), fence[2]));
      at = end < 0 ? lines.length : end + 1;
    } else if (heading) {
      nodes.push(el(`h${heading[1].length}`, {}, ...inline(heading[2])));
      at += 1;
    } else if (/^\s*\|/.test(line)) {
      const end = next(lines, at, (other) => !/^\s*\|/.test(other));
      nodes.push(table(lines.slice(at, end), inline));
      at = end;
    } else if (item) {
      const indent = item[0].length;
      const isOf = (other) => other.trim() === "" || other.search(/\S/) >= item[1].length + 2 || /^\s*([-*]|\d+\.) /.test(other);
      let end = next(lines, at, (other) => !isOf(other));
      while (lines[end - 1].trim() === "") end -= 1;
      nodes.push(list(lines.slice(at, end), item, indent, follow));
      at = end;
    } else if (line.startsWith(">")) {
      const end = next(lines, at, (other) => !other.startsWith(">"));
      nodes.push(el("blockquote", {}, ...blocks(lines.slice(at, end).map((quoted) => quoted.replace(/^> ?/, "")), follow)));
      at = end;
    } else if (line.trim() === "" || /^\s*<\/?[a-z]/.test(line)) {
      at += 1;
    } else {
      const end = next(lines, at, (other) => other.trim() === "" || /^(\s*```|#{1,6} |\||[-*] |\d+\. )/.test(other));
      nodes.push(el("p", {}, ...inline(lines.slice(at, end).join(" "))));
      at = end;
    }
  }
  return nodes;
}

/** Returns the next line that is another's, at least one further. */
function next(lines, at, isOther) {
  const found = lines.findIndex((line, index) => index > at && isOther(line));
  return found < 0 ? lines.length : found;
}

function code(text, language) {
  const painted = { rust, json, jsonc: json }[language]?.(text) ?? [text];
  return el("pre", { className: "code", tabIndex: 0, role: "region", ariaLabel: language ? `Code, ${language}` : "Code" }, ...painted);
}

function list(lines, [, indent, mark], width, follow) {
  const items = [];
  for (const line of lines) {
    const start = line.match(/^(\s*)(?:[-*]|\d+\.) (.*)/);
    if (start && start[1].length === indent.length) items.push([start[2]]);
    else items.at(-1)?.push(line.slice(Math.min(width, Math.max(0, line.search(/\S/)))));
  }
  const node = el(/\d/.test(mark) ? "ol" : "ul", {});
  for (const item of items) {
    const content = blocks(item, follow);
    // A short item is no paragraph.
    const [first] = content;
    node.append(el("li", {}, ...(first?.tagName === "P" ? [...first.childNodes, ...content.slice(1)] : content)));
  }
  return node;
}

function table(lines, inline) {
  const rows = lines.map((line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|")));
  const [head, , ...body] = rows;
  const row = (cells, tag) => el("tr", {}, ...cells.map((cell) => el(tag, {}, ...inline(cell))));
  return el("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Table" },
    el("table", {}, el("thead", {}, row(head, "th")), el("tbody", {}, ...body.map((cells) => row(cells, "td")))));
}

const SPANS = /(?<ticks>`+)(?<code>.+?)\k<ticks>(?!`)|(?<image>!?)\[(?<text>(?:`[^`]*`|[^\][]|\[[^\]]*\])*)\]\((?<target>[^)]*)\)|\*\*(?<bold>.+?)\*\*|\*(?<slanted>[^*\s][^*]*)\*|<(?<address>https?:[^>]*)>/g;

function spans(text, follow) {
  const nodes = [];
  let end = 0;
  for (const { index, 0: whole, groups } of text.matchAll(SPANS)) {
    nodes.push(text.slice(end, index));
    end = index + whole.length;
    if (groups.code) nodes.push(el("code", {}, groups.code.trim()));
    else if (groups.bold) nodes.push(el("strong", {}, ...spans(groups.bold, follow)));
    else if (groups.slanted) nodes.push(el("em", {}, ...spans(groups.slanted, follow)));
    else if (groups.address) nodes.push(el("a", { href: groups.address }, groups.address));
    else if (groups.image) nodes.push(el("em", {}, groups.text));
    else nodes.push(link(groups.text, follow(groups.target), follow));
  }
  return [...nodes, text.slice(end)];
}

function link(text, href, follow) {
  return href ? el("a", { href }, ...spans(text, follow)) : el("span", {}, ...spans(text, follow));
}
