// Colours for Rust and JSON: small scanners that make elements, and no HTML.

import { el } from "/_wharf/elements.js";

const KEYWORDS = new Set(("as async await const crate dyn else enum false fn for if impl in let loop match mod move mut pub ref return self "
  + "static struct super trait true type unsafe use where while").split(" "));

/** Parts of Rust: comments, strings and characters, attributes and macros, numbers, words. */
const RUST = /(?<comment>\/\/[^\n]*|\/\*[^]*?\*\/)|(?<string>b?"(?:\\[^]|[^"\\])*"|b?r(?<hashes>#*)"[^]*?"\k<hashes>|'(?:\\.[^']*|[^'\\\n])')|(?<attribute>#!?\[[^\]]*\])|(?<number>\b\d[\w.]*)|(?<macro>\b[a-z_]\w*!(?!=))|(?<word>[A-Za-z_]\w*)/gu;

/** Returns the elements of a text of Rust. */
export function rust(text) {
  return painted(text, RUST, ({ comment, string, attribute, number, macro, word }) => {
    if (comment) return "s";
    if (string) return "i";
    if (attribute || macro) return "em";
    if (number) return "em";
    if (KEYWORDS.has(word)) return "b";
    return /^[A-Z]/.test(word) ? "u" : undefined;
  });
}

/** Parts of JSON: keys, strings, numbers and words. */
const JSON_PARTS = /(?<key>"(?:\\.|[^"\\])*"(?=:))|(?<string>"(?:\\.|[^"\\])*")|(?<number>-?\d[\d.eE+-]*)|(?<word>true|false|null)/g;

/** Returns the elements of a text of JSON. */
export function json(text) {
  return painted(text, JSON_PARTS, ({ key, string }) => {
    if (key) return key === '"type"' ? "b" : "u";
    return string ? "i" : "em";
  });
}

function painted(text, parts, colour) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(parts)) {
    const tag = colour(match.groups);
    if (!tag) continue;
    nodes.push(text.slice(end, match.index), el(tag, {}, match[0]));
    end = match.index + match[0].length;
  }
  return [...nodes, text.slice(end)];
}

/** Longest value on one line, in characters. */
const LINE = 40;

/** Returns a message as it is read best: `type` first, and indented if it is long. Other texts stay as they are. */
export function pretty(text) {
  let value;
  try { value = JSON.parse(text); } catch { return { text, isJson: false }; }
  if (value?.type !== undefined) {
    const { type, ...rest } = value;
    value = { type, ...rest };
  }
  return { text: laidOut(value, ""), isJson: true };
}

/** Returns a value on one line, or each of its members on lines of their own. */
function laidOut(value, indent) {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const isList = Array.isArray(value);
  const members = (deeper) => Object.entries(value).map(([key, member]) =>
    `${isList ? "" : `${JSON.stringify(key)}: `}${laidOut(member, deeper)}`);
  const [open, close, gap] = isList ? ["[", "]", ""] : ["{", "}", " "];
  const line = members("").join(", ");
  if (!line.includes("\n") && indent.length + line.length <= LINE) return line ? `${open}${gap}${line}${gap}${close}` : `${open}${close}`;
  const deeper = `${indent}  `;
  return `${open}\n${members(deeper).map((member) => deeper + member).join(",\n")}\n${indent}${close}`;
}
